"""keepalived: an address that is always on one of its members. Both VIPs use it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Annotated

from runbook.declare import steps
from runbook.declare.answers import Interface, MacAddress, lines_of, one
from runbook.declare.facts import Fact, Facts
from runbook.declare.operations import Arrow, Marks
from runbook.declare.probes import (
    ERROR,
    OK,
    UNKNOWN,
    Cause,
    Finding,
    Findings,
    Probe,
    Verdict,
    probe,
    says,
)
from runbook.declare.step import Steps
from runbook.errors import RunbookError
from runbook.inventory.cluster import Cluster, Host, Vip
from runbook.inventory.entry import Address, between, named
from runbook.secrets.vault import Rule, Secret

from .firewall import let_in

SCRIPTS = "/usr/libexec/keepalived"
"""The folder of keepalived's scripts: only root may write there, and SELinux lets them work."""

SERVICE = "keepalived.service"

PASSWORD = Rule("[A-Za-z0-9_.-]{1,8}", "one to eight letters, digits, `_`, `.` or `-`")
"""VRRP allows eight characters; others have a meaning in keepalived's configuration."""

NOBODY = Cause("VIP_NOBODY", "connections to this address fail")
TWICE = Cause("VIP_TWICE", "clients reach one server or the other at random")
STRANGER = Cause("VIP_STRANGER", "clients reach a machine that is not part of the cluster")
CAUSES = (NOBODY, TWICE, STRANGER)

# The file alone lacks the globals, without which keepalived complains about its scripts. If built
# with BFD, keepalived exits with 0 despite complaints; it prints nothing for a valid file.
JUDGED_BY_KEEPALIVED = """bash -c '
main=$(mktemp)
trap "rm -f $main" EXIT
grep -v ^include /etc/keepalived/keepalived.conf >"$main"
echo "include $1" >>"$main"
code=0
complaints=$(keepalived -t -f "$main" 2>&1) || code=$?
if [[ $complaints ]]; then echo "$complaints"; exit 1; fi
exit $code' -"""


Prefix = Annotated[int, between(1, 32)]
Hardware = Annotated[str, named("hardware address", "[0-9a-f:.]{1,59}")]
"""Of any device; tunnels have an IP address there."""


@dataclass(frozen=True)
class Service:
    """The service behind an address: what checks its health, and what is run when it moves.

    `check` and `notify` are names of scripts in SCRIPTS. `preempt`: the preferred member takes the
    address back when it returns. `away`: a file; the member where it exists is the last to be
    chosen. `generation`: a file with a number; the higher one wins.
    """

    role: str
    password: Secret
    check: str
    interval: int = 1
    preempt: bool = True
    notify: str = ""
    away: str = ""
    generation: str = ""


@dataclass(frozen=True)
class Place:
    """A member's network: its interface, the VIPs that it holds, and what answers for addresses."""

    interface: str
    prefix: int
    macs: frozenset[str]
    holds: frozenset[str]
    answers: dict[str, frozenset[str]]
    """MAC addresses of others that answer for a VIP, or for another member's address."""


def vips(cluster: Cluster, role: str) -> list[Vip]:
    """The addresses of a role."""
    return [vip for vip in cluster.vips.values() if vip.role == role]


def members(cluster: Cluster, vip: Vip) -> list[Host]:
    """The hosts between which an address moves, the preferred one first."""
    names = sorted(vip.members, key=lambda name: -vip.members[name])
    return [cluster.hosts[name] for name in names]


def candidates(cluster: Cluster, role: str) -> list[Host]:
    """All hosts that may hold an address of this role."""
    wanted = {name for vip in vips(cluster, role) for name in vip.members}
    return [host for host in cluster.hosts.values() if host.name in wanted]


@cache
def places(role: str) -> Fact[Place]:
    """The network of the members of a role's addresses, and what they see in it."""

    def asked(cluster: Cluster, host: Host) -> str:
        others = [member.address for member in candidates(cluster, role) if member != host]
        addresses = " ".join([*(vip.address for vip in vips(cluster, role)), *others])
        return f"""ip -o -4 addr show to {host.address} | grep . || exit
name=$(ip -o -4 addr show to {host.address} | awk '{{ print $2; exit }}')
echo $(cat /sys/class/net/*/address)
for address in {addresses}; do
  held='' detect=()
  if [[ $(ip -o -4 addr show to "$address") ]]; then held=held detect=(-D); fi
  echo "$address" "${{held:-.}}" $(arping -b -c 2 -w 1 "${{detect[@]}}" -I "$name" "$address" |
    sed -n 's/.* reply from .*\\[\\([^]]*\\)\\].*/\\L\\1/p') &
done
wait"""

    return Fact(
        "the network",
        on=lambda cluster: candidates(cluster, role),
        command=asked,
        parse=parse,
        absent="without it, it is not known whether the address is in use",
    )


def parse(text: str) -> Place:
    """Parse the answer of `places`: the interface's line of `ip`, MACs, a line for each address."""
    own, macs, *lines = lines_of(text, 2)
    words = own.split()
    seen = [line.split() for line in lines]
    return Place(
        interface=one(words[1], Interface),
        prefix=one(words[3].partition("/")[2], Prefix),
        macs=frozenset(one(mac, Hardware) for mac in macs.split()),
        holds=frozenset(one(address, Address) for address, held, *_ in seen if held == "held"),
        answers={
            one(address, Address): frozenset(one(mac, MacAddress) for mac in heard)
            for address, _, *heard in seen
        },
    )


def holders(cluster: Cluster, vip: Vip, facts: Facts) -> list[Host]:
    """The members that hold the address."""
    known = facts.known(places(vip.role))
    return [
        host
        for host in members(cluster, vip)
        if host.name in known and vip.address in known[host.name].holds
    ]


def holding(cluster: Cluster, vip: Vip, facts: Facts) -> list[str]:
    """The names of those that hold the address, as far as that is known."""
    found = [host.name for host in holders(cluster, vip, facts)]
    unseen = heard_holding(cluster, vip, facts)
    return found or [name for name in [unseen] if name]


def all_holding(cluster: Cluster, role: str, facts: Facts) -> list[str]:
    """The names of those that hold an address of a role."""
    return [name for vip in vips(cluster, role) for name in holding(cluster, vip, facts)]


def told(cluster: Cluster, role: str, facts: Facts) -> list[str]:
    """Where the addresses of a role are, in words."""
    return [
        f"{vip.address} on {' and '.join(holding(cluster, vip, facts)) or 'no server'}"
        for vip in vips(cluster, role)
    ]


def vip_marks(cluster: Cluster, role: str, facts: Facts) -> Marks:
    """For the drawing: which hosts hold the addresses of a role, and which may."""
    badges: dict[str, list[str]] = {}
    arrows = []
    for vip in vips(cluster, role):
        held = holding(cluster, vip, facts)
        for name in held:
            badges.setdefault(name, []).append(vip.name)
        for name in vip.members:
            about = f"{vip.name} is on {name}" if name in held else f"{name} may hold {vip.name}"
            arrows.append(Arrow("holds" if name in held else "may-hold", name, vip.name, about))
    return Marks(badges, tuple(arrows))


def stranger(cluster: Cluster, vip: Vip, facts: Facts) -> str:
    """The MAC address of a foreign machine that answers for the address; empty if there is none.

    A member that does not answer questions is known by the MAC that answers for its own address.
    """
    known = facts.known(places(vip.role))
    ours: set[str] = set()
    heard: set[str] = set()
    for place in known.values():
        ours |= place.macs
        for member in members(cluster, vip):
            ours |= place.answers.get(member.address, frozenset())
        heard |= place.answers.get(vip.address, frozenset())
    return min(heard - ours, default="")


def heard_holding(cluster: Cluster, vip: Vip, facts: Facts) -> str:
    """A member that does not answer questions, but whose MAC answers for the VIP; else empty."""
    known = facts.known(places(vip.role))
    nothing: frozenset[str] = frozenset()
    for member in members(cluster, vip):
        if member.name not in known and any(
            place.answers.get(member.address, nothing) & place.answers.get(vip.address, nothing)
            for place in known.values()
        ):
            return member.name
    return ""


def refuse_stranger(cluster: Cluster, vip: Vip, facts: Facts) -> None:
    """Refuse to start anything as long as a foreign machine has the address."""
    mac = stranger(cluster, vip, facts)
    if mac:
        raise RunbookError(
            f"{vip.address} ({vip.name}) is in use: {mac} answers for it, which is none of "
            f"{', '.join(vip.members)}. Free the address, or choose another in hosts.yaml."
        )


def address(host: Host, cluster: Cluster, service: Service, facts: Facts) -> Steps:
    """keepalived, set up so that the host may hold the addresses of a role."""
    yield steps.packages("keepalived")
    yield from let_in(host, cluster)
    yield steps.drop_in(SERVICE, "keepalived/keepalived-airflow.conf.j2")
    yield steps.directory("/etc/keepalived/conf.d")
    reload = steps.reloaded(SERVICE)
    yield steps.template(
        "/etc/keepalived/keepalived.conf", "keepalived/keepalived.conf.j2", {"host": host}
    ).then(reload)
    place = facts.of(places(service.role), host)
    for vip in vips(cluster, service.role):
        if host.name not in vip.members:
            continue
        refuse_stranger(cluster, vip, facts)
        everybody = members(cluster, vip)
        rank = len(everybody) - everybody.index(host)
        yield steps.template(
            f"/etc/keepalived/conf.d/{vip.name}.conf",
            "keepalived/vip.conf.j2",
            {
                "vip": vip,
                "host": host,
                "peers": [member for member in everybody if member != host],
                "interface": place.interface,
                "prefix": place.prefix,
                "priority": rank if service.generation else vip.members[host.name],
                "password": cluster.secret(service.password),
                "service": service,
            },
            mode="0600",
            hide="auth_pass ",
            validate=JUDGED_BY_KEEPALIVED,
        ).then(reload)
    yield steps.service(SERVICE)


def sent_away(path: str) -> str:
    """Commands that create a tracked file, labeled first, because keepalived reads it only once."""
    return f"""echo 1 >{path}.new
if selinuxenabled 2>/dev/null; then restorecon {path}.new; fi
mv {path}.new {path}"""


def one_holder(cluster: Cluster, role: str, facts: Facts) -> Findings:
    """Each address of a role is on exactly one member, and nothing else answers for it."""
    for vip in vips(cluster, role):
        title = f"{vip.name} ({vip.address}) is on one host"
        heard = heard_holding(cluster, vip, facts)
        names = [host.name for host in holders(cluster, vip, facts)]
        mac = stranger(cluster, vip, facts)
        if mac:
            sentence = f"{mac} answers for it, which is none of {', '.join(vip.members)}"
            yield Finding(title, Verdict(ERROR, sentence), "free the address", STRANGER)
        elif len(names) > 1:
            sentence = f"{' and '.join(names)} hold it: they do not hear each other"
            yield Finding(title, Verdict(ERROR, sentence), f"fab {role}.vip", TWICE)
        elif not names and heard:
            sentence = f"{heard} answers for it, but not to questions"
            yield Finding(title, Verdict(UNKNOWN, sentence), about=(heard,))
        elif not names:
            yield Finding(title, Verdict(ERROR, "no server holds it"), f"fab {role}.vip", NOBODY)
        else:
            yield Finding(title, Verdict(OK, names[0]))


def no_other() -> Probe:
    """A probe: keepalived is not running, or has the configuration of this project."""
    return probe(
        "no foreign keepalived",
        f"""if ! systemctl is-active -q {SERVICE}; then echo none
elif grep -q '^# Written by `fab' /etc/keepalived/keepalived.conf; then echo none; fi""",
        says("none", "keepalived runs with a configuration that this project would replace"),
        fix=f"move its addresses to another server, then systemctl disable --now {SERVICE}",
    )
