"""etcd: the members that agree on who leads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Optional

import msgspec

from runbook.declare import steps
from runbook.declare.answers import lines_of, of_json, one
from runbook.declare.facts import Fact, Facts
from runbook.declare.step import Handler, Step, Steps
from runbook.declare.work import one_by_one
from runbook.errors import MissingFact, RunbookError
from runbook.inventory.cluster import Cluster, Host
from runbook.inventory.entry import IPV4, named

from ..shared import tls
from ..shared.firewall import let_in
from ..shared.roles import POSTGRES
from ..shared.transport import Speaks
from .common import CONFIGURED, ETCD_CONF, ETCD_TLS, etcd_url, etcdctl, members, section
from .transport import TRANSPORT, etcd_speaks


@dataclass(frozen=True)
class EtcdMember:
    """A member as etcd lists it; one that never started has no name."""

    id: str
    name: str
    peer: str

    @property
    def at(self) -> str:
        """The address and port of its peers' listener, however it speaks."""
        return self.peer.partition("://")[2]


@dataclass(frozen=True)
class Etcd:
    """What a server knows: whether it holds a member's data, and the members if it runs.

    `quorum`: whether it reaches a majority of them.
    """

    has_data: bool
    listed: tuple[EtcdMember, ...]
    quorum: bool = False


RESTART = Handler("restart-etcd", "etcd has to restart, one member after the other")


def data(cluster: Cluster) -> str:
    """etcd's data directory."""
    return f"/var/lib/etcd/{cluster.name}.etcd"


def peer_at(host: Host) -> str:
    """The address and port at which the other members reach this one."""
    return f"{host.address}:2380"


def peer(host: Host, speaks: Speaks) -> str:
    """The URL at which the other members reach this one."""
    scheme = "https" if speaks == Speaks.TLS else "http"
    return f"{scheme}://{peer_at(host)}"


def configuration(host: Host, cluster: Cluster, speaks: Speaks) -> Step:
    """etcd's settings, which take effect when it restarts."""
    schemes = {Speaks.CLEAR: ["http"], Speaks.BOTH: ["http", "https"], Speaks.TLS: ["https"]}
    context = {
        "host": host,
        "data": data(cluster),
        "peer": peer(host, speaks),
        "listens": [
            f"{scheme}://{address}:2379"
            for scheme in schemes[speaks]
            for address in (host.address, "127.0.0.1")
        ],
        "advertised": f"{schemes[speaks][0]}://{host.address}:2379",
        "ca": tls.TRUSTED,
        "tls": ETCD_TLS if speaks else None,
    }
    return steps.template(ETCD_CONF, "postgres/etcd.conf.j2", context)


Presence = Annotated[str, named("`data`, `empty`", "data|empty")]
Peer = Annotated[str, named("etcd's address: `http://10.0.0.1:2380`", rf"https?://{IPV4}:2380")]
NameOrNone = Annotated[str, named("name of a member, or nothing", "[A-Za-z0-9._-]{0,63}")]


class _Listed(msgspec.Struct):
    """A member as etcd lists it; one that never started has no name."""

    ID: Annotated[str, named("number", "[0-9]{1,20}")]
    peerURLs: list[Peer]
    name: NameOrNone = ""


class _Listing(msgspec.Struct):
    members: list[_Listed] = []


class _Health(msgspec.Struct):
    health: str = ""


def parse(text: str) -> Etcd:
    """Parse the answer of ETCD: `data` or `empty`, then two answers of etcd, which may be empty."""
    first, listing, health = [*lines_of(text, 1, 3), "", ""][:3]
    found = of_json(listing, _Listing).members if listing else []
    return Etcd(
        one(first, Presence) == "data",
        tuple(EtcdMember(f"{int(it.ID):x}", it.name, it.peerURLs[0]) for it in found),
        bool(health) and of_json(health, _Health).health == "true",
    )


ETCD = Fact(
    "the state of etcd",
    on=POSTGRES,
    command=lambda cluster, host: (
        f"[[ -d {data(cluster)}/member ]] && echo data || {{ echo empty; exit; }}\n"
        f"curl -s -m 3 -d '{{}}' {etcd_url(host.address)}/v3/cluster/member/list; echo\n"
        f"curl -s -m 3 {etcd_url(host.address)}/health || :"
    ),
    parse=parse,
    absent="a new etcd cluster is created only when every member can be asked whether it already "
    "holds data; make the member reachable, or remove it from hosts.yaml",
)
"""A member lists the others without asking them, in all versions of etcd; etcdctl 3.5 asks them."""


def founding(cluster: Cluster, facts: Facts) -> bool:
    """Whether the cluster is new: no server holds data, or the data was never used.

    MissingFact if a server does not answer.
    """
    if any(known.has_data for known in facts.known(ETCD).values()):
        return cut_off(cluster, facts)
    return not any(facts.of(ETCD, member).has_data for member in members(cluster))


def cut_off(cluster: Cluster, facts: Facts) -> bool:
    """Whether creating it never reached a quorum: no server lists members or has a database.

    A member that starts later has the identity that the others gave it (etcd, "Clustering Guide").
    """
    states, databases = facts.known(ETCD), facts.known(CONFIGURED)
    asked = all(own.name in states and own.name in databases for own in members(cluster))
    return asked and not lists(facts) and not any(databases.values())


def lists(facts: Facts) -> dict[str, tuple[EtcdMember, ...]]:
    """The members as each server lists them whose etcd runs."""
    return {name: known.listed for name, known in facts.known(ETCD).items() if known.listed}


def listed(facts: Facts) -> tuple[EtcdMember, ...]:
    """The members as the cluster that runs lists them; none if it does not run.

    Refused unless a majority agrees on the list: it decides which data is moved aside.
    """
    said, listing = lists(facts), agreed(facts)
    if listing or not said:
        return listing
    holders = [name for name, known in facts.known(ETCD).items() if known.has_data]
    raise RunbookError(
        f"{_told(said)}: a majority has to agree on etcd's members, of the servers that hold data "
        f"({', '.join(holders)}) and of the members. Nothing was changed. See fab postgres.check."
    )


def agreed(facts: Facts) -> tuple[EtcdMember, ...]:
    """The members that a majority lists, of the servers with data and of those members.

    Empty if there is no such majority: the word of one server is not enough.
    """
    said = lists(facts)
    if not said:
        return ()
    listing, servers = _most_frequent(said)
    holders = [name for name, known in facts.known(ETCD).items() if known.has_data]
    return listing if 2 * len(servers) > max(len(holders), len(listing)) else ()


def _most_frequent(
    said: Mapping[str, tuple[EtcdMember, ...]],
) -> tuple[tuple[EtcdMember, ...], list[str]]:
    """The list that most servers have, and these servers; the order of members does not count."""
    servers: dict[frozenset[EtcdMember], list[str]] = {}
    for name, listing in said.items():
        servers.setdefault(frozenset(listing), []).append(name)
    alike = max(servers.values(), key=len)
    return said[alike[0]], alike


def _told(said: Mapping[str, tuple[EtcdMember, ...]]) -> str:
    """Which members each server lists, in words."""
    return "; ".join(
        f"{name} lists {', '.join(f'{member.name or member.peer} ({member.id})' for member in own)}"
        for name, own in said.items()
    )


@section.task(needs=[ETCD, CONFIGURED, TRANSPORT])
def etcd(host: Host, cluster: Cluster, facts: Facts) -> Steps:
    """Create the etcd cluster, all members at once; start those that have data."""
    yield from let_in(host, cluster)
    speaks = etcd_speaks(host, cluster, facts)
    yield settings_folder()
    yield configuration(host, cluster, speaks).then(RESTART)
    if founding(cluster, facts):
        founders = ",".join(f"{one.name}={peer(one, speaks)}" for one in members(cluster))
        shared = {"cluster": cluster, "founders": founders}
        yield steps.template("/etc/etcd/join.conf", "postgres/etcd-join.conf.j2", shared)
    elif not facts.of(ETCD, host).has_data or under_old_address(host, cluster, agreed(facts)):
        return
    yield steps.service("etcd.service").clearing(RESTART)
    yield healthy(host)


def settings_folder() -> Step:
    """Root's folder for etcd's settings, which the package gives to etcd."""
    return steps.directory("/etc/etcd", "0750", group="etcd")


def healthy(host: Host) -> Step:
    """The member answers, and so does its quorum."""
    return steps.wait_for(
        f"etcd on {host.name} is healthy",
        f"{etcdctl([host])} endpoint health",
        timeout=60,
    )


@section.task(needs=[ETCD, CONFIGURED, TRANSPORT], batches=one_by_one)
def etcd_members(host: Host, cluster: Cluster, facts: Facts) -> Steps:
    """Let new etcd members join, and restart those with new settings, one by one."""
    here = facts.of(ETCD, host)
    cluster_lists = listed(facts)
    if founding(cluster, facts):
        raise MissingFact("the etcd cluster does not exist yet; fab postgres.etcd creates it.")
    if not cluster_lists:
        names = ", ".join(member.name for member in members(cluster))
        raise MissingFact(f"no etcd member answers; start one of {names} first.")
    speaks = etcd_speaks(host, cluster, facts)
    own = [member for member in cluster_lists if member.at == peer_at(host)]
    former = under_old_address(host, cluster, cluster_lists)
    if here.has_data and former:
        yield from moved(host, former, cluster, speaks)
        yield healthy(host)
        return
    own = own or ([former] if former else [])
    if here.has_data and own:
        yield steps.restarted_if_noted("etcd.service", RESTART, "systemctl restart etcd")
        yield healthy(host)
        return
    if here.has_data:
        yield aside(cluster)
    yield from joined(host, cluster, own, speaks)
    yield healthy(host)


def under_old_address(
    host: Host, cluster: Cluster, everybody: Sequence[EtcdMember]
) -> Optional[EtcdMember]:
    """The member of this name, if it is listed with an address that hosts.yaml does not have."""
    addresses = {peer_at(member) for member in members(cluster)}
    if any(member.at == peer_at(host) for member in everybody):
        return None
    named = [one for one in everybody if one.name == host.name and one.at not in addresses]
    return named[0] if len(named) == 1 else None


def moved(host: Host, former: EtcdMember, cluster: Cluster, speaks: Speaks) -> Steps:
    """Tell the others the new address of a member, which keeps its data; then start it there."""
    ctl, there = etcdctl(others(host, cluster)), peer(host, speaks)
    yield steps.command(
        f"etcd knows {host.name} at its new address",
        f"{ctl} member update {former.id} --peer-urls={there}",
        unless=f"{ctl} member list | grep ', {there},' >/dev/null",
        timeout=60,
    )
    yield steps.command(
        f"etcd on {host.name} runs at its new address",
        "systemctl enable etcd\nsystemctl restart etcd",
        unless=f"unit_is etcd.service active enabled && curl -sf -m 3 -o /dev/null "
        f"{etcd_url(host.address)}/version",
    ).clearing(RESTART)


def others(host: Host, cluster: Cluster) -> list[Host]:
    """The other servers of the database cluster."""
    return [member for member in members(cluster) if member != host]


def aside(cluster: Cluster) -> Step:
    """Move aside the data of a removed member, with which etcd would not start."""
    path = data(cluster)
    return steps.command(
        "data of the member that was removed is moved aside",
        f"systemctl stop etcd\n{steps.moved_aside(path, 'removed', 'etcd')}",
        unless=f"[[ ! -d {path}/member ]]",
    )


def joined(host: Host, cluster: Cluster, own: Sequence[EtcdMember], speaks: Speaks) -> Steps:
    """Add the new member to the cluster, then start it with the list of the other members.

    `member add` is refused for some seconds after another one, so it is repeated.
    """
    ctl, there = etcdctl(others(host, cluster)), peer(host, speaks)
    for lost in own:
        if lost.name:
            yield steps.command(
                f"etcd forgets the member {lost.id}, whose data {host.name} has lost",
                f"until {ctl} member remove {lost.id}; do sleep 1; done",
                unless=f"! {ctl} member list | grep -q '^{lost.id},'",
                timeout=60,
            )
    known = f"{ctl} member list | grep ', {there},' >/dev/null"
    yield steps.command(
        f"etcd knows {host.name} as a member",
        f"until {known} || {ctl} member add {host.name} --peer-urls={there}; do sleep 1; done",
        unless=known,
        timeout=60,
    )
    yield settings_folder()
    yield steps.command(
        f"etcd on {host.name} has joined the others",
        f"""initial=$({ctl} member list | awk -F', ' -v name={host.name} -v peer={there} \\
  '{{ printf "%s%s=%s", comma, ($4 == peer ? name : $3), $4; comma = "," }}')
rm -f /etc/etcd/join.conf
printf 'ETCD_INITIAL_CLUSTER=%s\\nETCD_INITIAL_CLUSTER_STATE=existing\\n' "$initial" \\
  >/etc/etcd/join.conf
systemctl enable --now etcd""",
        unless=f"[[ -d {data(cluster)}/member ]] && unit_is etcd.service active enabled",
    ).clearing(RESTART)
