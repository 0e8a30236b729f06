"""etcd: the members that agree on who leads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from runbook.declare import steps
from runbook.declare.answers import HexId, Unexpected, one
from runbook.declare.facts import Fact, Facts
from runbook.declare.step import Handler, Step, Steps
from runbook.declare.work import one_by_one
from runbook.errors import MissingFact, RunbookError
from runbook.inventory.cluster import Cluster, Host
from runbook.inventory.entry import IPV4, named

from ..shared.firewall import let_in
from ..shared.roles import POSTGRES
from .common import CONFIGURED, endpoints, members, section


@dataclass(frozen=True)
class EtcdMember:
    """A member as etcd lists it; one that never started has no name."""

    id: str
    name: str
    peer: str


@dataclass(frozen=True)
class Etcd:
    """What a server knows: whether it holds a member's data, and the members if it runs."""

    has_data: bool
    listed: tuple[EtcdMember, ...]


RESTART = Handler("restart-etcd", "etcd has to restart, one member after the other")


def data(cluster: Cluster) -> str:
    """etcd's data directory."""
    return f"/var/lib/etcd/{cluster.name}.etcd"


def peer(host: Host) -> str:
    """The address at which the other members reach this one."""
    return f"http://{host.address}:2380"


Presence = Annotated[str, named("`data`, `empty`", "data|empty")]
Peer = Annotated[str, named("etcd's address: `http://10.0.0.1:2380`", rf"https?://{IPV4}:2380")]
NameOrNone = Annotated[str, named("name of a member, or nothing", "[A-Za-z0-9._-]{0,63}")]


def parse(text: str) -> Etcd:
    """Parse the answer of ETCD: `data` or `empty`, then a line for each member."""
    first, *lines = text.splitlines()
    has_data = one(first, Presence) == "data"
    return Etcd(has_data, tuple(map(_member, lines)))


def _member(line: str) -> EtcdMember:
    fields = line.split(", ")
    if len(fields) < 5:
        raise Unexpected(line, "a member as etcdctl lists it")
    return EtcdMember(one(fields[0], HexId), one(fields[2], NameOrNone), one(fields[3], Peer))


ETCD = Fact(
    "the state of etcd",
    on=POSTGRES,
    command=lambda cluster, host: (
        f"[[ -d {data(cluster)}/member ]] && echo data || {{ echo empty; exit; }}\n"
        f"etcdctl --endpoints=http://{host.address}:2379 --command-timeout=3s "
        "member list 2>/dev/null || :"
    ),
    parse=parse,
    absent="a new etcd cluster is created only when every member can be asked whether it already "
    "holds data; make the member reachable, or remove it from hosts.yaml",
)


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

    Refused unless a majority of the servers with data, and of those members, agree on the list: it
    decides which data is moved aside, and no server's word is enough for that.
    """
    said = lists(facts)
    if not said:
        return ()
    listing, servers = _most_frequent(said)
    holders = [name for name, known in facts.known(ETCD).items() if known.has_data]
    if 2 * len(servers) > max(len(holders), len(listing)):
        return listing
    raise RunbookError(
        f"{_told(said)}: a majority has to agree on etcd's members, of the servers that hold data "
        f"({', '.join(holders)}) and of the members. Nothing was changed. See fab postgres.check."
    )


def _most_frequent(
    said: Mapping[str, tuple[EtcdMember, ...]],
) -> tuple[tuple[EtcdMember, ...], list[str]]:
    """The list that most servers have, and these servers; the order of members does not count."""
    servers: dict[frozenset[EtcdMember], list[str]] = {}
    for name, listing in said.items():
        servers.setdefault(frozenset(listing), []).append(name)
    agreed = max(servers.values(), key=len)
    return said[agreed[0]], agreed


def _told(said: Mapping[str, tuple[EtcdMember, ...]]) -> str:
    """Which members each server lists, in words."""
    return "; ".join(
        f"{name} lists {', '.join(f'{member.name or member.peer} ({member.id})' for member in own)}"
        for name, own in said.items()
    )


@section.task(needs=[ETCD, CONFIGURED])
def etcd(host: Host, cluster: Cluster, facts: Facts) -> Steps:
    """Create the etcd cluster, all members at once; start those that have data."""
    yield from let_in(host, cluster)
    own = {"host": host, "data": data(cluster)}
    yield settings_folder()
    yield steps.template("/etc/etcd/etcd.conf", "postgres/etcd.conf.j2", own).then(RESTART)
    if founding(cluster, facts):
        founders = ",".join(f"{member.name}={peer(member)}" for member in members(cluster))
        shared = {"cluster": cluster, "founders": founders}
        yield steps.template("/etc/etcd/join.conf", "postgres/etcd-join.conf.j2", shared)
    elif not facts.of(ETCD, host).has_data:
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
        f"etcdctl --endpoints=http://{host.address}:2379 endpoint health",
        timeout=60,
    )


@section.task(needs=[ETCD, CONFIGURED], batches=one_by_one)
def etcd_members(host: Host, cluster: Cluster, facts: Facts) -> Steps:
    """Let new etcd members join, and restart those with new settings, one by one."""
    here = facts.of(ETCD, host)
    cluster_lists = listed(facts)
    if founding(cluster, facts):
        raise MissingFact("the etcd cluster does not exist yet; fab postgres.etcd creates it.")
    if not cluster_lists:
        raise MissingFact(f"no etcd member answers; start one of {endpoints(cluster)} first.")
    own = [member for member in cluster_lists if member.peer == peer(host)]
    if here.has_data and own:
        yield steps.restarted_if_noted("etcd.service", RESTART, "systemctl restart etcd")
        yield healthy(host)
        return
    if here.has_data:
        yield aside(cluster)
    yield from joined(host, cluster, own)
    yield healthy(host)


def aside(cluster: Cluster) -> Step:
    """Move aside the data of a removed member, with which etcd would not start."""
    path = data(cluster)
    return steps.command(
        "data of the member that was removed is moved aside",
        f"systemctl stop etcd\n{steps.moved_aside(path, 'removed', 'etcd')}",
        unless=f"[[ ! -d {path}/member ]]",
    )


def joined(host: Host, cluster: Cluster, own: Sequence[EtcdMember]) -> Steps:
    """Add the new member to the cluster, then start it with the list of the other members.

    `member add` is refused for some seconds after another one, so it is repeated.
    """
    others = ",".join(
        f"http://{member.address}:2379" for member in members(cluster) if member != host
    )
    ctl = f"etcdctl --endpoints={others}"
    for lost in own:
        if lost.name:
            yield steps.command(
                f"etcd forgets the member {lost.id}, whose data {host.name} has lost",
                f"until {ctl} member remove {lost.id}; do sleep 1; done",
                unless=f"! {ctl} member list | grep -q '^{lost.id},'",
                timeout=60,
            )
    known = f"{ctl} member list | grep ', {peer(host)},' >/dev/null"
    yield steps.command(
        f"etcd knows {host.name} as a member",
        f"until {known} || {ctl} member add {host.name} --peer-urls={peer(host)}; do sleep 1; done",
        unless=known,
        timeout=60,
    )
    yield settings_folder()
    yield steps.command(
        f"etcd on {host.name} has joined the others",
        f"""initial=$({ctl} member list | awk -F', ' -v name={host.name} -v peer={peer(host)} \\
  '{{ printf "%s%s=%s", comma, ($4 == peer ? name : $3), $4; comma = "," }}')
rm -f /etc/etcd/join.conf
printf 'ETCD_INITIAL_CLUSTER=%s\\nETCD_INITIAL_CLUSTER_STATE=existing\\n' "$initial" \\
  >/etc/etcd/join.conf
systemctl enable --now etcd""",
        unless=f"[[ -d {data(cluster)}/member ]] && unit_is etcd.service active enabled",
    ).clearing(RESTART)
