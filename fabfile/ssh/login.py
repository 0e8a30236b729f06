"""sshd without passwords and without root: switched off so that nobody is locked out.

The server undoes the change by itself, unless the controller has logged in anew and keeps it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from runbook.declare.step import Step, Steps, quote
from runbook.declare.steps import answers, command, precondition, wait_for
from runbook.declare.templates import script
from runbook.execute.relogin import log_in_again
from runbook.inventory.cluster import Cluster, Host

from .common import Ssh, section

if TYPE_CHECKING:
    from runbook.execute.run import Run

CONFIG = "/etc/ssh/sshd_config"
BEGIN, END = "# BEGIN Airflow HA cluster: keys only", "# END Airflow HA cluster: keys only"
# ChallengeResponseAuthentication is also the name of KbdInteractiveAuthentication in newer sshd.
BLOCK = f"""{BEGIN}
PasswordAuthentication no
ChallengeResponseAuthentication no
PermitRootLogin no
{END}"""
WITHOUT = f"/^{BEGIN}$/,/^{END}$/d"
"""What takes the block out, for sed."""

UNDO = "airflow-runbook-undo-login"
SECONDS = 180
"""How long a new login has time to prove that it works."""


def keys_only(cluster: Cluster) -> list[Host]:
    """The servers on which passwords are switched off."""
    return [] if cluster[Ssh].password_login else list(cluster.hosts.values())


@section.task
def login(host: Host, cluster: Cluster) -> Steps:
    """Switch off login with a password and as root, if ssh.password_login is false.

    Refused unless this run itself has logged in by key. If ssh.confirm-login does not follow within
    three minutes, the server undoes it. With `true`, what was switched off is switched on again.
    """
    if cluster[Ssh].password_login:
        yield command(
            f"{CONFIG} is as the server had it",
            f"sed -i {quote(WITHOUT)} {CONFIG}\nsshd -t\nsystemctl reload sshd.service",
            unless=f"! grep -qx {quote(BEGIN)} {CONFIG}",
        )
        return
    user = cluster.user(host)
    yield precondition(
        f"{user} has logged in by key",
        f"[[ ${{SUDO_USER-}} == {user} && $(getent shadow {user}) == {user}:[*!]* ]]",
        f"echo 'Passwords are switched off only in a run that logs in as {user}, by key, because'\n"
        f"echo '{user} has no password. First: fab ssh.bootstrap base.user'",
    )
    yield command(
        "sshd accepts keys only, and not those of root",
        script(
            "ssh/keys-only.sh",
            config=CONFIG,
            block=BLOCK,
            undo=WITHOUT,
            unit=UNDO,
            seconds=SECONDS,
            user=user,
            address=host.address,
            port=cluster.ssh_port(host),
        ),
        unless=f"[[ $(head -n {len(BLOCK.splitlines())} {CONFIG}) == {quote(BLOCK)} ]]",
    )
    yield wait_for("sshd listens", answers(host.address, cluster.ssh_port(host)))


@section.on_controller(on=keys_only)
def confirm_login(run: Run, hosts: Sequence[Host]) -> None:
    """Log in anew where ssh.login changed sshd, and keep the change if that works."""
    waiting = f"systemctl is-active -q {UNDO}.timer"
    kept = Step(
        "a new login works, so the change of sshd is kept",
        test=f"! {waiting}",
        apply=f"systemctl stop {UNDO}.timer",
    )
    otherwise = f"sshd becomes what it was within {SECONDS} s."
    log_in_again(run, hosts, waiting, kept, otherwise)
