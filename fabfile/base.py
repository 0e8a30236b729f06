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
from runbook.declare.step import Step, Steps
from runbook.declare.templates import script
from runbook.errors import MissingFact
from runbook.inventory.cluster import Cluster, Host
from runbook.inventory.entry import HostName, PackageName, UnitName
from runbook.inventory.schema import SSH, Objection, Settings, Understood

from .preflight import preflight, trouble
from .shared import forecast, timers
from .shared.firewall import SHELL, closed_to_others, only_wanted, stays_connected
from .shared.sources import Sources
from .shared.vitals import APART, CAUSES, NO_TIME_SOURCE, TIME, VITALS, apart, findings_of, in_short

if TYPE_CHECKING:
    from runbook.execute.run import Run


REQUIRED = ("firewalld", "chrony")
SCRIPTS = "/usr/libexec/airflow-runbook"


class Base(Settings, frozen=True):
    """Settings of the section `base`."""

    packages: list[PackageName] = msgspec.field(
        default_factory=lambda: ["vim", "curl", "wget", "rsync", "nfs-utils", "firewalld", "chrony"]
    )
    """Packages for every server; firewalld and chrony must be among them."""
    ntp: list[HostName] = msgspec.field(default_factory=list)
    """Time servers; empty keeps the distribution's."""
    ignored_units: list[UnitName] = msgspec.field(default_factory=list)
    """systemd units that may fail, such as kdump.service on a server with little memory; checks
    ignore them. `*` matches any characters.
    """

    def objections(self, inventory: Understood) -> Iterator[Objection]:
        """Missing packages whose services Section 1 starts."""
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
    parts=(
        Part("base.preflight", ("ssh.trust",), planned=False, preflight=True),
        Part("base.update", ("ssh.bootstrap",), on_request=True, planned=False),
    ),
    part="hosts",
)


SELINUX_TOOLS = ("policycoreutils-python-utils", "libselinux-utils")
"""semanage, and the commands for labels and booleans (RHEL 8, "Using SELinux")."""


section.may_find(*CAUSES)
section.port(SSH, "SSH, by key: the controller operates the server", SHELL)

WIDE = section.cause("FIREWALL_WIDE", "a service can be reached from where nobody needs it")
section.on_controller(preflight, alone=True)


@section.task
def packages(host: Host, cluster: Cluster) -> Steps:
    """Install the packages that every server has in common."""
    tools = () if cluster.selinux == "disabled" else SELINUX_TOOLS
    yield supported()
    yield steps.packages(*cluster[Base].packages, *tools)


@section.cluster_preflight(needs=[TIME])
def clocks(cluster: Cluster, facts: Facts) -> Findings:
    """Warn about clocks that differ: chrony sets them later, if a time source answers."""
    for name, far in apart(facts).items():
        if far > APART:
            sentence = f"{far:.1f} s away from the others"
            way_out = "run chronyc makestep, or set base.ntp to time servers that answer"
            yield trouble.impairs(name, "clock", sentence, way_out)


def supported() -> Step:
    """The server runs Enterprise Linux 8 or 9, whose repositories, modules and units are known."""
    return steps.precondition(
        "the server runs Enterprise Linux 8 or 9",
        "grep -qx 'PLATFORM_ID=\"platform:el[89]\"' /etc/os-release",
        """. /etc/os-release
echo "${PRETTY_NAME:-This system} is not supported: this project sets up Enterprise Linux 8 and 9."
echo 'Install Rocky Linux or Red Hat Enterprise Linux 8 or 9.'""",
    )


def epel(cluster: Cluster) -> Steps:
    """EPEL's repository, for the sections that need more than the distribution has."""
    source = cluster[Sources].epel
    signed = steps.signed(*filter(None, [source.key]), metadata=False)
    yield steps.release_variable()
    yield steps.repository(
        "epel", {"epel": {"name": "EPEL", **cluster[Sources].repository(source.packages), **signed}}
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

    The key comes last: as long as it is missing, `ssh.bootstrap` still logs in as root.
    """
    name = cluster.user(host)
    if not cluster.public_key:
        raise MissingFact(
            f"{cluster.path(cluster.connection.key)}.pub is missing; create a key: ssh-keygen -t "
            f"ed25519 -f {cluster.connection.key} (or, if you have the private key: "
            f"ssh-keygen -y -f {cluster.connection.key} >{cluster.connection.key}.pub)"
        )
    yield steps.user(name, groups=["wheel"])
    yield steps.sudoers(name, f"{name} ALL=(ALL) NOPASSWD:ALL")
    yield steps.password_locked(name)
    yield from steps.authorised_key(name, cluster.public_key, home=f"/home/{name}")


@section.task
def firewall(host: Host, cluster: Cluster) -> Steps:
    """Enable the firewall: each port is open to those who need it, and to nobody else.

    Rules for ports of this project that are no longer wanted are taken back; rules for other ports
    are not touched.
    """
    ssh_port = cluster.ssh_port(host)
    yield from stays_connected(host, cluster)
    yield let_in_before_it_starts(host, ssh_port)
    yield steps.service("firewalld.service")
    yield no_zone_of_sources(host, cluster)
    yield from only_wanted(host, cluster)


def let_in_before_it_starts(host: Host, port: int) -> Step:
    """The zone of the host's address accepts SSH; otherwise, starting firewalld would cut it off.

    A zone that NetworkManager sets for the connection has precedence.
    """
    zone = f"""interface=$(ip -o -4 addr show to {host.address} | awk '{{ print $2; exit }}')
connection=$(nmcli -g GENERAL.CONNECTION device show "$interface" 2>/dev/null) || :
zone=$(nmcli -g connection.zone connection show "$connection" 2>/dev/null) || :
[[ $zone ]] || zone=$(firewall-offline-cmd --get-zone-of-interface="$interface" 2>/dev/null) ||
  zone=$(firewall-offline-cmd --get-default-zone)"""
    ask = 'firewall-offline-cmd --zone="$zone"'
    service = f" || {ask} --query-service=ssh" if port == 22 else ""
    return steps.command(
        f"sshd's port {port} is open before the firewall starts",
        f"{zone}\n{ask} --add-port={port}/tcp",
        unless=f"unit_is firewalld.service active || "
        f"{{ {zone}\n{ask} --query-port={port}/tcp{service}; }}",
    )


def no_zone_of_sources(host: Host, cluster: Cluster) -> Step:
    """No zone with sources takes precedence over the zone of the host's interface.

    The rules are set in the latter. A zone that accepts everything is allowed.
    """
    others = " ".join(other.address for other in cluster.hosts.values() if other != host)
    found = script("base/source-zones.sh", addresses=others)
    return steps.precondition(
        "no firewalld zone has addresses of the cluster among its sources",
        f"[[ $(firewall-cmd --get-active-zones) != *sources:* || ! $( {found} ) ]]",
        f"""{found} | while read -r zone source address; do
  echo "Zone $zone has the source $source, so it applies to packets from $address, but ports"
  echo "are opened in the zone of {host.address}. Remove the source:"
  echo "firewall-cmd --permanent --zone=$zone --remove-source=$source; firewall-cmd --reload"
done""",
    )


@section.task
def time(host: Host, cluster: Cluster) -> Steps:
    """Keep the clock synchronised with chrony."""
    if cluster[Base].ntp:
        servers = [f"server {server} iburst" for server in cluster[Base].ntp]
        yield steps.block("/etc/chrony.conf", "time servers", servers).then(
            steps.restarted("chronyd.service")
        )
    yield steps.service("chronyd.service")


@section.task
def disks(host: Host, cluster: Cluster) -> Steps:
    """Note once a day how full the disks are, for the forecast of a status."""
    program = f"{SCRIPTS}/disk-record"
    yield steps.directory(SCRIPTS)
    yield steps.template(program, "base/disk-record", {}, mode="0755")
    about = {"program": program, "file": forecast.RECORD}
    yield from timers.scheduled(forecast.TIMER, "base/disk-record.service.j2", about)


@section.check
def check(host: Host, cluster: Cluster) -> Probes:
    """Check step 1.1, and clocks, disks, memory and services."""
    yield probe(
        "clock is synchronised",
        "chronyc -n tracking",
        follows_a_source,
        fix="set base.ntp to time servers that answer, then: fab base.time",
        cause=NO_TIME_SOURCE,
        thorough=True,
    )
    yield closed_to_others(host, cluster, WIDE)


def follows_a_source(answer: Answer) -> Verdict:
    """The leap status of chronyc is Normal, which it is once a time source was accepted."""
    if "Not synchronised" in answer.text:
        return Verdict(WARN, "chronyd has no time source that it trusts (yet)")
    return Verdict(OK) if answer.code == 0 else Verdict(WARN, "chronyd does not answer")


@section.cluster_check(needs=[TIME, VITALS])
def check_cluster(cluster: Cluster, facts: Facts) -> Findings:
    """The state of the servers, and whether their clocks agree."""
    yield from findings_of(cluster, facts, ignored=cluster[Base].ignored_units)


def in_batches(run: Run, hosts: Sequence[Host]) -> Iterator[Sequence[Host]]:
    """Batches as in cluster.reboot; imported late, because listing tasks does not need it."""
    from runbook.operate.rolling import updates

    return updates(run, hosts)


@section.task(alone=True, rolling=in_batches)
def update(host: Host, cluster: Cluster) -> Steps:
    """Update all packages (dnf upgrade), in batches. By name only.

    New packages may restart services. So servers in use are updated in the order in which
    `inv cluster.reboot` reboots them: never two with a role in common, leaders last, the next ones
    only when all checks pass again. It refuses to begin while a check finds an error.
    """
    yield steps.updated()


@section.status_line
def line(cluster: Cluster, facts: Facts, findings: Sequence[Finding]) -> str:
    """How many servers answer, how far their clocks are apart, the fullest disk."""
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
