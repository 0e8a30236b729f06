"""What the modules of this section share: its settings, VM1, and what servers show as keys."""

from __future__ import annotations

from collections.abc import Iterator

from runbook.declare.facts import Fact, Facts
from runbook.declare.operations import Part
from runbook.declare.public_keys import public_keys
from runbook.declare.section import Section
from runbook.inventory.cluster import Cluster, Host
from runbook.inventory.entry import perhaps
from runbook.inventory.schema import SSH, Objection, Settings, Understood


class Ssh(Settings, frozen=True):
    """Settings of the section `ssh`."""

    key_host: str = ""
    """The server whose key opens all others; empty: the first one."""
    vm1_sudo: bool = False
    """VM1's key opens a shell with sudo on all other servers, as in the runbook; otherwise it
    opens only the runbook's test of a login, and accepts copies of Python and Airflow.
    """
    password_login: bool = True
    """sshd accepts passwords and logins as root, if the servers are set up so; `false`: neither."""

    def objections(self, inventory: Understood) -> Iterator[Objection]:
        """A key host that is not a host."""
        if self.key_host and self.key_host not in inventory.names:
            known = perhaps(self.key_host, inventory.names)
            yield Objection(f"is not one of the hosts{known}", ("ssh", "key_host"))


section = Section(
    "ssh",
    on="all",
    runbook="1.4",
    about="Give the controller, and then VM1, access to every server by key.",
    settings=Ssh,
    after=("hosts",),
    parts=(Part("ssh.trust"), Part("ssh.bootstrap", ("base.preflight",))),
)


def key_host(cluster: Cluster) -> list[Host]:
    """VM1, whose key opens the others."""
    return [cluster.hosts[cluster[Ssh].key_host or next(iter(cluster.hosts))]]


def others(cluster: Cluster) -> list[Host]:
    """The servers that VM1's key opens."""
    return [host for host in cluster.hosts.values() if host not in key_host(cluster)]


def key_file(cluster: Cluster) -> str:
    """Where VM1 keeps its private key."""
    [vm1] = key_host(cluster)
    return f"/home/{cluster.user(vm1)}/.ssh/id_ed25519"


section.login(lambda cluster, host: cluster.user(host), groups=("wheel",))
section.login(lambda cluster, host: cluster.user(host), by=key_host, groups=("wheel",))


def vm1(cluster: Cluster, host: Host) -> list[Host]:
    """VM1 (`ssh.key_host`)."""
    return key_host(cluster)


section.port(SSH, "SSH, by key: VM1 reaches every server", vm1)


def supported(text: str) -> list[str]:
    """The lines of a server's public host keys; DSA is of no use any more."""
    return [line for line in text.splitlines() if not line.startswith("ssh-dss ")]


HOST_KEYS = Fact(
    "the host keys",
    on="all",
    command=lambda cluster, host: "cat /etc/ssh/ssh_host_*_key.pub",
    parse=supported,
    absent="it does not answer; known_hosts stays as it is until it does",
    used_by=key_host,
)


def host_keys(host: Host, facts: Facts) -> list[str]:
    """The validated host keys of a server, without their comments."""
    shown: list[str] = facts.of(HOST_KEYS, host)
    return public_keys(shown, f"A line of /etc/ssh/*_key.pub on {host.name}")
