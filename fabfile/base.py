"""Step 1.1: what every server needs before it gets its role."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec

from runbook.declare import steps
from runbook.declare.facts import Facts
from runbook.declare.operations import Part
from runbook.declare.probes import OK, WARN, Answer, Finding, Findings, Probes, Verdict, probe
from runbook.declare.section import Section
from runbook.declare.step import Steps
from runbook.errors import MissingFact
from runbook.inventory.cluster import Cluster, Host
from runbook.inventory.entry import HostName, PackageName
from runbook.inventory.schema import Objection, Settings, Understood

from .shared.sources import Sources, urls
from .shared.vitals import CAUSES, NO_TIME_SOURCE, TIME, VITALS, findings_of, in_short

if TYPE_CHECKING:
    from runbook.execute.run import Run


REQUIRED = ("firewalld", "chrony")


class Base(Settings, frozen=True):
    """Settings of the section `base`."""

    packages: list[PackageName] = msgspec.field(
        default_factory=lambda: ["vim", "curl", "wget", "rsync", "nfs-utils", "firewalld", "chrony"]
    )
    """What every server gets; firewalld and chrony have to be among them."""
    ntp: list[HostName] = msgspec.field(default_factory=list)
    """Time servers; empty keeps the distribution's."""

    def objections(self, inventory: Understood) -> Iterator[Objection]:
        """Packages whose services Section 1 starts, and that are not among them."""
        lacking = [name for name in REQUIRED if name not in self.packages]
        if lacking:
            sentence = f"{' and '.join(lacking)} must be among them; Section 1 starts the service"
            yield Objection(sentence, ("base", "packages"))


section = Section(
    "base",
    on="all",
    runbook="1.1",
    about="Prepare every server: packages, user, time, firewall.",
    settings=Base,
    after=("base.update",),
    parts=(Part("base.update", ("ssh.bootstrap",), on_request=True, planned=False),),
    part="hosts",
)


section.may_find(*CAUSES)


@section.task
def packages(host: Host, cluster: Cluster) -> Steps:
    """Install the packages that every server has in common."""
    yield steps.packages(*cluster[Base].packages)


def epel(cluster: Cluster) -> Steps:
    """EPEL's repository, for the sections that need more than the distribution has."""
    source = cluster[Sources].epel
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
    opened = [port for role in cluster.roles_of(host) for port in role.ports if not port.callers]
    ports = [port.number for port in opened if "/" in port.number]
    if ssh_port != 22:
        ports.append(f"{ssh_port}/tcp")
    if ports:
        yield steps.firewall_ports(*dict.fromkeys(ports))
    for protocol in dict.fromkeys(port.number for port in opened if "/" not in port.number):
        yield steps.firewall_protocol(protocol)
    yield from private_ports(host, cluster)


def private_ports(host: Host, cluster: Cluster) -> Steps:
    """The ports that only the hosts of one role may reach."""
    for role in cluster.roles_of(host):
        for callers in dict.fromkeys(port.callers for port in role.ports if port.callers):
            private = [port.number for port in role.ports if port.callers == callers]
            addresses = [other.address for other in cluster.group(callers) if other != host]
            if addresses:
                yield steps.firewall_ports_from(addresses, private)


@section.task
def time(host: Host, cluster: Cluster) -> Steps:
    """Keep the clock right with chrony."""
    if cluster[Base].ntp:
        servers = [f"server {server} iburst" for server in cluster[Base].ntp]
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


@section.cluster_check(needs=[TIME, VITALS])
def check_cluster(cluster: Cluster, facts: Facts) -> Findings:
    """How the servers are, and whether their clocks agree."""
    yield from findings_of(cluster, facts)


def in_batches(run: Run, hosts: Sequence[Host]) -> Iterator[Sequence[Host]]:
    """As in cluster.reboot; imported late, as a list of tasks needs none of it."""
    from runbook.operate.rolling import updates

    return updates(run, hosts)


@section.task(alone=True, rolling=in_batches)
def update(host: Host, cluster: Cluster) -> Steps:
    """Bring all packages up to date (dnf upgrade), in batches. By name only.

    New packages may restart services. So servers at work are updated like `inv cluster.reboot`
    reboots them: never two with a role in common, leaders last, the next ones only when all checks
    are fine again. It refuses to begin while a check finds an error.
    """
    yield steps.updated()


@section.status_line
def line(cluster: Cluster, facts: Facts, findings: Sequence[Finding]) -> str:
    """How many answer, how far their clocks are apart, the fullest disk."""
    return in_short(cluster, facts)


section.collect(
    units=("sshd", "chronyd", "firewalld"),
    files=("/etc/hosts", "/etc/chrony.conf", "/etc/os-release", "/etc/selinux/config"),
    commands=(
        "uptime",
        "uname -a",
        "df -hT; df -i",
        "free -m",
        "ip -br addr; ip route",
        "ss -lntu",
        "chronyc -n tracking",
        "systemctl --failed --no-pager",
        "firewall-cmd --list-all",
        "ps -eo pid,user,pcpu,pmem,etimes,comm --sort=-pmem | head -40",
    ),
)
