"""The database in a status, its drawing and a support bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional

from runbook.declare.facts import Facts
from runbook.declare.operations import Arrow, Marks
from runbook.declare.probes import Finding
from runbook.inventory.cluster import Cluster
from runbook.output.quantities import duration, size

from ..shared.roles import HAPROXY
from .common import PATRONI, PATRONICTL, etcdctl, members, section
from .etcd import ETCD
from .members import MEMBER, Member, leading, seen_leading
from .pools import POOLER
from .repository import BACKUPS

section.collect(
    units=("etcd", "etcd-*", "patroni", "pgbackrest", "pgbackrest-*", "pgbouncer", "postgres-*"),
    files=(PATRONI, "/etc/etcd/*.conf", "/etc/pgbackrest.conf", "/etc/pgbouncer/*"),
    logs=("/var/lib/pgsql/*/data/log/*", "/var/log/pgbackrest/*"),
    commands=(
        f"timeout 20 {PATRONICTL} list",
        f"timeout 20 {PATRONICTL} history",
        f"timeout 20 {etcdctl()} endpoint status -w table; timeout 20 {etcdctl()} member list",
    ),
)


@section.table(needs=[MEMBER])
def status(cluster: Cluster, facts: Facts) -> list[dict[str, Any]]:
    """Show each member: role, state, timeline, lag, pending restart."""
    known = facts.known(MEMBER)
    first = leading(cluster, facts)
    view = first or next(iter(known.values()), None)
    rows = []
    for host in members(cluster):
        seen = view.cluster.get(host.name, {}) if view else {}
        member = known.get(host.name)
        rows.append(
            {
                "member": host.name,
                "address": host.address,
                "role": seen.get("role", ""),
                "state": seen.get("state", "") if member else "does not answer",
                "timeline": seen.get("timeline", ""),
                "lag": seen.get("lag", 0 if seen.get("role") == "leader" else ""),
                "pending restart": "yes" if member and member.pending_restart else "",
            }
        )
    return rows


@section.status_line
def line(cluster: Cluster, facts: Facts, findings: Sequence[Finding]) -> str:
    """Who leads, who follows how far behind, etcd's members, the age of the newest backup."""
    known = facts.known(MEMBER)
    first = next((member for member in known.values() if member.primary), None)
    view = first or next(iter(known.values()), None)
    unasked = seen_leading(cluster, facts)
    leader = first.name if first else unasked
    said = [
        f"{leader} leads{'' if first else ', according to others'}" if leader else "no server leads"
    ]
    for host in members(cluster):
        if host.name != leader:
            said.append(_follower(host.name, known, view))
    up = sum(bool(etcd.listed) for etcd in facts.known(ETCD).values())
    said.append(f"etcd {up} of {len(members(cluster))}")
    pool = facts.known(POOLER).get(leader)
    if pool and pool.pool:
        said.append(f"PgBouncer {pool.pool}")
    ages = [repository.age for repository in facts.known(BACKUPS).values()]
    if ages and ages[0] is not None:
        said.append(f"backup {duration(ages[0])} old")
    return ", ".join(said)


def _follower(name: str, known: Mapping[str, Member], view: Optional[Member]) -> str:
    if name not in known or not view:
        return f"{name} does not answer"
    seen = view.cluster.get(name, {})
    role = "sync" if str(seen.get("role", "")).startswith(("sync", "quorum")) else "async"
    if seen.get("state") != "streaming":
        return f"{name} is {seen.get('state', 'unknown')}"
    return f"{name} ({role}) {size(seen.get('lag', 0))} behind"


@section.drawn
def marks(cluster: Cluster, facts: Facts) -> Marks:
    """Leader and replicas; writes go from the main VIP to the leader, copies to the others."""
    known = facts.known(MEMBER)
    badges = {
        name: ["leader" if member.primary else member.role.replace("_", " ")]
        for name, member in known.items()
    }
    leader = next((name for name, member in known.items() if member.primary), "")
    if not leader:
        return Marks(badges)
    entry = [vip.name for vip in cluster.vips.values() if vip.role == HAPROXY][:1]
    writes = [Arrow("writes", vip, leader, f"writes go to {leader}") for vip in entry]
    copies = [
        Arrow("copies", leader, name, f"{name} follows {leader}")
        for name, member in known.items()
        if not member.primary and member.healthy
    ]
    return Marks(badges, (*writes, *copies))
