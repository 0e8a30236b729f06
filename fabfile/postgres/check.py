"""Checks of the database: is it healthy, and which failure would cause no outage?"""

from __future__ import annotations

import re
from typing import Any

from runbook.declare.facts import Facts
from runbook.declare.probes import (
    ERROR,
    OK,
    UNKNOWN,
    WARN,
    Answer,
    Finding,
    Findings,
    Probes,
    Verdict,
    probe,
)
from runbook.inventory.cluster import Cluster, Host

from .check_backups import backed_up, snapshots, verified
from .check_servers import about_servers
from .common import PATRONICTL, data, etcd_url, members, section
from .etcd import ETCD, lists, peer_at
from .figures import FIGURES
from .major_record import RECORDED
from .members import MEMBER, Member, leading, seen_leading
from .pools import POOLER, poolers
from .repository import BACKUPS
from .retention import RUNS, cleaned
from .settings import Postgres

FAR_BEHIND = 16 * 1024 * 1024
"""Bytes of lag that cause a warning: one WAL segment."""

HEALTHY = re.compile(r'"health": *"?true')
REASON = re.compile(r'"reason": *"([A-Za-z0-9 _:.-]{1,100})"')

NO_LEADER = section.cause("PG_NO_LEADER", "writes fail: tasks neither start nor finish")
TWO_LEADERS = section.cause(
    "PG_TWO_LEADERS", "clients write to both; the rows of one side will be lost"
)
REPLICA = section.cause("PG_REPLICA_DOWN", "one copy of the database fewer; writes continue")
BEHIND = section.cause("PG_REPLICA_BEHIND", "the replica should not take over now")
PAUSED = section.cause("PG_PAUSED", "no replica takes over if the leader fails")
RESTART = section.cause("PG_RESTART_DUE", "changed settings are not active yet")
DISK = section.cause("PG_DISK_FULL", "PostgreSQL stops when its disk is full")
UNFINISHED = section.cause(
    "PG_UPGRADE_UNFINISHED", "the database is down or has fewer copies until it is completed"
)
ETCD_DOWN = section.cause("PG_ETCD_DOWN", "no leader can be elected; the next failure stops writes")
ETCD_MEMBER = section.cause(
    "PG_ETCD_MEMBER_DOWN", "if another member fails, no leader can be elected"
)
ETCD_MEMBERS = section.cause("PG_ETCD_MEMBERS", "etcd counts its quorum over the wrong members")
NO_SPARE = section.cause("PG_NO_SPARE", "the next server failure stops writes")


@section.check
def check(host: Host, cluster: Cluster) -> Probes:
    """Check etcd, leader, replicas, roles, disks and redundancy."""
    if host not in members(cluster):
        return
    yield probe(
        "room for data",
        f"df --output=pcent,avail -BM {data(cluster)} 2>/dev/null | tail -1",
        enough_room,
        fix="use a larger disk, or keep less: look at du -xsh /var/lib/pgsql/*/* there",
        cause=DISK,
    )
    yield probe(
        "etcd's disk and network keep up",
        etcd_said(host),
        etcd_answers,
        fix=f"fab -H {host.name} postgres.etcd",
        cause=ETCD_MEMBER,
    )


def etcd_said(host: Host) -> str:
    """Commands that print whether the member is healthy, together with the others and alone."""
    return f"""systemctl is-active -q etcd || exec echo inactive
for how in '' '?serializable=true'; do
  curl -s -m 3 {etcd_url(host.address)}"/health$how"; echo
done"""


def enough_room(answer: Answer) -> Verdict:
    """The file system is less than 80 % full.

    df prints ` 42% 1234M`, or nothing if the data directory does not exist yet.
    """
    if not answer.words:
        return Verdict(UNKNOWN, "there is no data directory")
    used, left = int(answer.words[0].rstrip("%")), answer.words[1]
    if used >= 95:
        return Verdict(ERROR, f"{used} % used, {left} left; PostgreSQL stops when it is full")
    return Verdict(WARN if used >= 80 else OK, f"{used} % used, {left} left")


def etcd_answers(answer: Answer) -> Verdict:
    """The member is healthy, for which it needs a quorum: the first line has "health":"true".

    The second line is what it says without asking the others; etcd 3.4 asks them all the same.
    """
    if answer.text.strip() == "inactive":
        return Verdict(ERROR, "etcd does not run here")
    together, alone = f"{answer.text}\n\n".split("\n")[:2]
    if HEALTHY.search(together):
        return Verdict(OK)
    reason = REASON.search(together) or REASON.search(alone)
    if HEALTHY.search(alone) or not reason:
        return Verdict(ERROR, "etcd runs, but has no quorum, or cannot reach it")
    return Verdict(ERROR, f"etcd says: {reason[1]}")


@section.cluster_check(needs=[MEMBER, ETCD, BACKUPS, FIGURES, POOLER, RECORDED, RUNS])
def check_cluster(cluster: Cluster, facts: Facts) -> Findings:
    """Checks that need the answers of several servers."""
    yield from etcd_is_one(cluster, facts)
    yield one_leader(cluster, facts)
    yield from followers(cluster, facts)
    yield from due(cluster, facts)
    yield from unfinished(facts)
    yield from about_servers(cluster, facts)
    yield from backed_up(cluster, facts)
    yield from verified(facts)
    yield from snapshots(facts)
    yield from cleaned(cluster, facts)
    yield from poolers(cluster, facts)
    yield redundancy(cluster, facts)


def etcd_is_one(cluster: Cluster, facts: Facts) -> Findings:
    """All members list the same members, and these are hosts.yaml's."""
    title = "etcd is one cluster"
    ids = {frozenset(member.id for member in one) for one in lists(facts).values()}
    if not ids:
        verdict = Verdict(ERROR, "no member answers")
        yield Finding(title, verdict, fix="fab postgres.etcd", cause=ETCD_DOWN)
        return
    if len(ids) > 1:
        sentence = "the members disagree about who belongs to it; see etcdctl member list"
        yield Finding(title, Verdict(ERROR, sentence), cause=ETCD_MEMBERS)
        return
    wrong = list(etcd_differs(cluster, facts))
    yield from wrong or [Finding(title, Verdict(OK, f"{len(members(cluster))} members"))]


def etcd_differs(cluster: Cluster, facts: Facts) -> Findings:
    """Members that hosts.yaml does not have, and servers that are not members."""
    title = "etcd's members are those of hosts.yaml"
    wanted = {peer_at(member): member.name for member in members(cluster)}
    listing = next(iter(lists(facts).values()))
    found = {member.at: member for member in listing}
    for one in (member for at, member in found.items() if at not in wanted):
        name = one.name or one.peer
        known = f"{name} is a member at {one.peer}, which is not its address in hosts.yaml"
        unknown = f"{name} is a member, but not in hosts.yaml"
        verdict = Verdict(ERROR, known if name in cluster.hosts else unknown)
        yield Finding(title, verdict, fix=f"fab postgres.remove {name}", cause=ETCD_MEMBERS)
    for address in sorted(set(wanted) - set(found)):
        verdict = Verdict(ERROR, f"{wanted[address]} is not a member")
        yield Finding(title, verdict, fix="fab postgres", cause=ETCD_MEMBERS)


def one_leader(cluster: Cluster, facts: Facts) -> Finding:
    """Exactly one server answers as primary, the way HAProxy asks."""
    primaries = [name for name, known in facts.known(MEMBER).items() if known.primary]
    if len(primaries) == 1:
        return Finding("one leader", Verdict(OK, primaries[0]))
    if primaries:
        sentence = f"{' and '.join(primaries)} both say they lead"
        fix = "stop one: systemctl stop patroni"
        return Finding("one leader", Verdict(ERROR, sentence), fix, TWO_LEADERS)
    elsewhere = seen_leading(cluster, facts)
    if elsewhere:
        sentence = f"{elsewhere}, according to the others; it does not answer itself"
        return Finding("one leader", Verdict(UNKNOWN, sentence), about=(elsewhere,))
    return Finding(
        "one leader",
        Verdict(ERROR, "no server leads: the database is read-only or down"),
        fix="wait half a minute if a server has just failed; else, once a majority of them is up: "
        "fab postgres.etcd postgres.patroni",
        cause=NO_LEADER,
    )


def followers(cluster: Cluster, facts: Facts) -> Findings:
    """Every other server streams from the leader, on its timeline, not far behind."""
    known = facts.known(MEMBER)
    first = leading(cluster, facts)
    unasked = seen_leading(cluster, facts)
    for host in members(cluster):
        member = known.get(host.name)
        if (member and member.primary) or host.name == unasked:
            continue
        verdict = _following(host, member, first, unasked)
        by_itself = "it recovers by itself; after some minutes: " if verdict.level == WARN else ""
        yield Finding(
            f"{host.name} follows",
            verdict,
            fix=f"{by_itself}fab -H {host.name} postgres.patroni; if that does not help: "
            f"fab postgres.reinit {host.name}",
            cause=REPLICA if not member or not member.healthy else BEHIND,
            about=(host.name,),
        )


def _following(host: Host, member: Member | None, first: Member | None, unasked: str) -> Verdict:
    """According to the leader; or to the member itself, if the leader does not answer."""
    if not member:
        return Verdict(ERROR, "Patroni does not answer there")
    if not member.healthy:
        return Verdict(ERROR, f"PostgreSQL is not ready: {member.state}")
    if not first and not unasked:
        return Verdict(WARN, "it runs, but there is no leader to follow")
    view = first or member
    seen: dict[str, Any] = view.cluster.get(host.name, {})
    timeline = first.timeline if first else view.cluster[unasked].get("timeline")
    if seen.get("state") == "in archive recovery":
        return Verdict(WARN, "it is catching up from the archive")
    if seen.get("state") != "streaming":
        return Verdict(ERROR, f"it does not stream from the leader: {seen.get('state', 'unknown')}")
    if seen.get("timeline") != timeline:
        return Verdict(ERROR, f"it is on timeline {seen.get('timeline')}, the leader on {timeline}")
    lag = seen.get("lag", 0)
    if not isinstance(lag, int) or lag > FAR_BEHIND:
        return Verdict(WARN, f"it is {lag} bytes behind")
    return Verdict(OK, f"{seen.get('role', 'replica')}, {lag} bytes behind")


def due(cluster: Cluster, facts: Facts) -> Findings:
    """Restarts that are pending, and a pause."""
    paused = [name for name, known in facts.known(MEMBER).items() if known.paused]
    if paused:
        yield Finding(
            "Patroni watches",
            Verdict(WARN, "it is paused"),
            fix=f"fab -H {paused[0]} -- sudo {PATRONICTL} resume",
            cause=PAUSED,
        )
    waiting = [name for name, known in facts.known(MEMBER).items() if known.pending_restart]
    if waiting:
        yield Finding(
            "no restart is pending",
            Verdict(WARN, f"settings of {', '.join(waiting)} wait for a restart"),
            fix="fab postgres.restart",
            cause=RESTART,
        )


def unfinished(facts: Facts) -> Findings:
    """An upgrade to another major version, or the way back, that was interrupted."""
    records = [one for one in facts.known(RECORDED).values() if one]
    for one in records:
        if not one.finished or one.back:
            yield Finding(
                "no major upgrade is unfinished",
                Verdict(ERROR, f"PostgreSQL {one.old} to {one.new} was interrupted"),
                fix=f'with versions.postgresql: "{one.new}": fab postgres.upgrade --major; to go '
                f'back, with "{one.old}": fab postgres.upgrade --major --back',
                cause=UNFINISHED,
            )
            return


def redundancy(cluster: Cluster, facts: Facts) -> Finding:
    """Which server's loss would stop writes, given what is up now."""
    everybody = members(cluster)
    majority = len(everybody) // 2 + 1
    etcd_up = [name for name, known in facts.known(ETCD).items() if known.listed]
    first, unasked = leading(cluster, facts), seen_leading(cluster, facts)
    if not first and unasked:
        return Finding.of_redundancy(UNKNOWN, "the leader does not answer", about=(unasked,))
    if not first:
        sentence = "none: writes are not possible now"
        return Finding.of_redundancy(ERROR, sentence, cause=NO_LEADER)
    if len(etcd_up) < majority:
        sentence = (
            f"none: etcd has lost its quorum ({len(etcd_up)} of {len(everybody)} answer); "
            "writes continue as long as every PostgreSQL answers, but no leader can be elected"
        )
        return Finding.of_redundancy(ERROR, sentence, fix="fab postgres.etcd", cause=ETCD_DOWN)
    standbys = [name for name, one in first.cluster.items() if _may_lead(cluster, first, one)]
    if len(everybody) == 1:
        return Finding.of_redundancy(
            WARN, f"none: {first.name} is the only server", cause=NO_SPARE, by_design=True
        )
    if not standbys:
        sentence = f"none: no replica could take over from {first.name}"
        way_out = "fab postgres.patroni"
        return Finding.of_redundancy(WARN, sentence, fix=way_out, cause=NO_SPARE)
    if first.paused:
        sentence = "none: Patroni is paused, so no replica takes over"
        return Finding.of_redundancy(WARN, sentence, cause=PAUSED)
    if len(etcd_up) == majority:
        down = sorted({host.name for host in everybody} - set(etcd_up))
        sentence = f"none until {', '.join(down)} is back"
        return Finding.of_redundancy(WARN, sentence, cause=NO_SPARE, about=tuple(down))
    spare = len(etcd_up) - majority
    which = "any one server" if spare == 1 else f"any {spare} servers, one after the other"
    sentence = f"survives the loss of {which}; {', '.join(standbys)} would take over"
    return Finding.of_redundancy(OK, sentence)


def _may_lead(cluster: Cluster, first: Member, one: dict[str, Any]) -> bool:
    if one.get("name") == first.name or one.get("state") != "streaming":
        return False
    synchronous = cluster[Postgres].synchronous_mode
    return not synchronous or one.get("role") in {"sync_standby", "quorum_standby"}
