"""Step 1.1: what every server needs before it gets its role."""

from __future__ import annotations

from .engine import steps
from .engine.cluster import Cluster, Host
from .engine.errors import MissingFact
from .engine.probes import OK, WARN, Answer, Findings, Probes, Verdict, probe
from .engine.section import Facts, Section
from .engine.step import Steps
from .sources import urls
from .vitals import NO_TIME_SOURCE, TIME, VITALS, judged

section = Section(
    "base", on="all", runbook="1.1", about="Prepare every server: packages, user, time, firewall."
)

PORTS = {
    "haproxy": ("5000/tcp", "5001/tcp", "7000/tcp", "8081/tcp"),
    "webserver": ("8080/tcp",),
    "flower": ("5555/tcp",),
    "postgres": ("5432/tcp", "8008/tcp"),
    "rabbitmq": ("5672/tcp", "15672/tcp", "15692/tcp"),
    "nfs": ("2049/tcp",),
}
"""Ports that a role serves to the network."""

PRIVATE_PORTS = {
    "postgres": ("postgres", ("2379/tcp", "2380/tcp")),
    "rabbitmq": ("rabbitmq", ("4369/tcp", "25672/tcp", "35672-35682/tcp")),
    "worker": ("webserver", ("8793/tcp",)),
    "triggerer": ("webserver", ("8794/tcp",)),
}
"""Ports that a role opens to the hosts of one role only.

etcd's; epmd, Erlang distribution and the CLI tools; the logs that the web UI fetches.
"""

VRRP_ROLES = ("haproxy", "nfs")
"""Roles whose keepalived talks to its peer; without VRRP let in, both would hold the VIP."""


@section.task
def packages(host: Host, cluster: Cluster) -> Steps:
    """Install the packages that every server has in common."""
    yield steps.packages(*cluster.base.packages)


def epel(cluster: Cluster) -> Steps:
    """EPEL's repository, for the sections that need more than the distribution has."""
    source = cluster.sources.epel
    signed = steps.signed(*filter(None, [source.key]), metadata=False)
    yield steps.release_variable()
    yield steps.repository(
        "epel", {"epel": {"name": "EPEL", "baseurl": urls(source.packages), **signed}}
    )


@section.task
def selinux(host: Host, cluster: Cluster) -> Steps:
    """Set SELinux to the mode that hosts.yaml asks for."""
    yield from steps.selinux_mode(cluster.selinux)


@section.task
def timezone(host: Host, cluster: Cluster) -> Steps:
    """Set the time zone."""
    yield steps.timezone(cluster.timezone)


@section.task
def user(host: Host, cluster: Cluster) -> Steps:
    """Give the administrator an account with sudo and key login, and no password."""
    yield from account(host, cluster)


def account(host: Host, cluster: Cluster) -> Steps:
    """The administrator's account; the runbook's password `111` is replaced by the key.

    The key comes last: as long as it is missing, `ssh.bootstrap` still enters as root.
    """
    name = cluster.user(host)
    if not cluster.public_key:
        raise MissingFact(
            f"{cluster.path(cluster.connection.key)}.pub is missing; make a key: ssh-keygen -t "
            f"ed25519 -f {cluster.connection.key} (or, if you have the key itself: "
            f"ssh-keygen -y -f {cluster.connection.key} >{cluster.connection.key}.pub)"
        )
    yield steps.user(name, groups=["wheel"])
    yield steps.sudoers(name, f"{name} ALL=(ALL) NOPASSWD:ALL")
    yield steps.password_locked(name)
    yield from steps.authorised_key(name, cluster.public_key, home=f"/home/{name}")


@section.task
def firewall(host: Host, cluster: Cluster) -> Steps:
    """Switch the firewall on and open the ports of the host's roles, now and for good."""
    ssh_port = cluster.ssh_port(host)
    if ssh_port != 22:
        yield steps.command(
            f"sshd's port {ssh_port} is open before the firewall starts",
            f"firewall-offline-cmd --add-port={ssh_port}/tcp",
            unless=f"unit_is firewalld.service active || "
            f"firewall-offline-cmd --query-port={ssh_port}/tcp",
        )
    yield steps.service("firewalld.service")
    ports = [port for role in host.roles for port in PORTS.get(role, ())]
    if ssh_port != 22:
        ports.append(f"{ssh_port}/tcp")
    if ports:
        yield steps.firewall_ports(*dict.fromkeys(ports))
    if set(host.roles) & set(VRRP_ROLES):
        yield steps.firewall_protocol("vrrp")
    yield from private_ports(host, cluster)


def private_ports(host: Host, cluster: Cluster) -> Steps:
    """The ports that only the hosts of one role may reach."""
    for role in host.roles:
        if role in PRIVATE_PORTS:
            callers, private = PRIVATE_PORTS[role]
            addresses = [other.address for other in cluster.group(callers) if other != host]
            if addresses:
                yield steps.firewall_ports_from(addresses, private)


@section.task
def time(host: Host, cluster: Cluster) -> Steps:
    """Keep the clock right with chrony."""
    if cluster.base.ntp:
        servers = [f"server {server} iburst" for server in cluster.base.ntp]
        yield steps.block("/etc/chrony.conf", "time servers", servers).then(
            steps.restarted("chronyd.service")
        )
    yield steps.service("chronyd.service")


@section.check
def check(host: Host, cluster: Cluster) -> Probes:
    """Say what differs from step 1.1, and how clocks, disks, memory and services are."""
    yield probe(
        "clock is synchronised",
        "chronyc -n tracking",
        follows_a_source,
        fix="fab base.time, after naming time servers that answer in base.ntp",
        cause=NO_TIME_SOURCE,
        thorough=True,
    )


def follows_a_source(answer: Answer) -> Verdict:
    """chronyc's leap status is Normal once a time source was accepted."""
    if "Not synchronised" in answer.text:
        return Verdict(WARN, "chronyd has no time source that it trusts (yet)")
    return Verdict(OK) if answer.code == 0 else Verdict(WARN, "chronyd does not answer")


@section.verdict(needs=[TIME, VITALS])
def together(cluster: Cluster, facts: Facts) -> Findings:
    """How the servers are, and whether their clocks agree."""
    yield from judged(cluster, facts)
