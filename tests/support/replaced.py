"""A server of the message queue that is lost, and a new one under the same name."""

from __future__ import annotations

from lab.machine import Lab

OURS = (
    "/var/lib/rabbitmq /var/lib/rabbitmq-definitions /var/log/rabbitmq /etc/rabbitmq "
    "/usr/libexec/rabbitmq-ha /etc/systemd/system/rabbitmq* /etc/yum.repos.d/rabbitmq.repo"
)


def lost(lab: Lab, *names: str) -> None:
    """These servers lose power and do not come back."""
    for name in names:
        lab.root_shell(name, "systemctl disable rabbitmq-server")
        lab.fault(name, "power-loss")


def replaced(lab: Lab, *names: str) -> None:
    """Servers after Section 1 take their places: without RabbitMQ, its files and its data."""
    for name in names:
        lab.heal(name)
        done = lab.root_shell(
            name,
            "systemctl stop rabbitmq-definitions.timer && dnf -q -y remove rabbitmq-server erlang"
            f" && rm -rf {OURS} && : >/etc/dnf/plugins/versionlock.list && systemctl daemon-reload",
        )
        assert done.returncode == 0, done.stdout + done.stderr
