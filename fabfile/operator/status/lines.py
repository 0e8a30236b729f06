"""One line for each part of the cluster: who leads, how far the others lag, how many there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Callable

from ... import keepalived
from ...airflow.check import JOBS, at_work, not_taking, processors
from ...airflow.state import CONSUMERS, present
from ...engine.cluster import Cluster
from ...engine.probes import OK, Verdict
from ...engine.section import Facts
from ...engine.survey import Judged
from ...haproxy.chapter import NETWORK as PROXY_NETWORK
from ...haproxy.view import VIEW, View
from ...nfs.chapter import NETWORK as SHARE_NETWORK
from ...nfs.chapter import servers as nfs_servers
from ...nfs.state import SERVER, Server, active
from ...postgres.chapter import members as databases
from ...postgres.check import seen_leading
from ...postgres.etcd import ETCD
from ...postgres.members import MEMBER, Member
from ...postgres.repository import BACKUPS
from ...rabbitmq.chapter import members as nodes
from ...rabbitmq.nodes import STATE, State
from ...systemd import STOPPED
from ...vitals import VITALS, Vitals, widest

Line = Callable[[Cluster, Facts, Sequence[Judged]], str]


def hosts(cluster: Cluster, facts: Facts, judged: Sequence[Judged]) -> str:
    """How many answer, how far their clocks are apart, the fullest disk."""
    known: dict[str, Vitals] = facts.known(VITALS)
    said = [f"{len(known)} of {len(cluster.hosts)} answer"]
    if not known:
        return said[0]
    said.append(f"clocks within {max(widest(facts), 0.1):.1f} s")
    name, vitals = max(known.items(), key=lambda item: item[1].fullest.used)
    said.append(f"fullest disk {vitals.fullest.used} % ({name} {vitals.fullest.path})")
    short, least = min(known.items(), key=lambda item: item[1].left)
    said.append(f"least memory left {least.left} % ({short})")
    busy, load = max(known.items(), key=lambda item: item[1].load / item[1].cpus)
    said.append(f"highest load {load.load:.1f} on {load.cpus} CPUs ({busy})")
    return ", ".join(said)


def postgres(cluster: Cluster, facts: Facts, judged: Sequence[Judged]) -> str:
    """Who leads, who follows how far behind, etcd's members, the age of the newest backup."""
    known: dict[str, Member] = facts.known(MEMBER)
    first = next((member for member in known.values() if member.primary), None)
    view = first or next(iter(known.values()), None)
    unasked = seen_leading(cluster, facts)
    leader = first.name if first else unasked
    said = [
        f"{leader} leads{'' if first else ', as the others see it'}" if leader else "nobody leads"
    ]
    for host in databases(cluster):
        if host.name == leader:
            continue
        said.append(_follower(host.name, known, view))
    up = sum(bool(etcd.listed) for etcd in facts.known(ETCD).values())
    said.append(f"etcd {up} of {len(databases(cluster))}")
    ages = [repository.age for repository in facts.known(BACKUPS).values()]
    if ages and ages[0] is not None:
        said.append(f"backup {ago(ages[0])} old")
    return ", ".join(said)


def _follower(name: str, known: dict[str, Member], view: Member | None) -> str:
    if name not in known or not view:
        return f"{name} does not answer"
    seen = view.cluster.get(name, {})
    role = "sync" if str(seen.get("role", "")).startswith(("sync", "quorum")) else "async"
    if seen.get("state") != "streaming":
        return f"{name} is {seen.get('state', 'unseen')}"
    return f"{name} ({role}) {size(seen.get('lag', 0))} behind"


def rabbitmq(cluster: Cluster, facts: Facts, judged: Sequence[Judged]) -> str:
    """Nodes that run, queues, messages that wait."""
    states: dict[str, State] = facts.known(STATE)
    total = len(nodes(cluster))
    if not states:
        return f"none of {total} nodes answers"
    state = max(states.values(), key=lambda one: len(one.running))
    waiting = sum(queue.get("messages", 0) for queue in state.queues)
    count = len(state.quorum_queues)
    queues = f"{count} quorum queue{'' if count == 1 else 's'}"
    return f"{len(state.running)} of {total} nodes run, {queues}, {waiting} messages wait"


def nfs(cluster: Cluster, facts: Facts, judged: Sequence[Judged]) -> str:
    """Who is active, and what the standby lacks."""
    holder = active(cluster, facts)
    known: dict[str, Server] = facts.known(SERVER)
    said = [f"{holder.name} is active" if holder else "nobody is active"]
    for host in nfs_servers(cluster):
        if host == holder:
            continue
        server = known.get(host.name)
        if not server:
            said.append(f"{host.name} does not answer")
            continue
        lacks = known[holder.name].behind if holder and holder.name in known else None
        state = "is standby" if server.fit else "is not up to date"
        behind = "" if lacks is None else f" and lacks {len(lacks) or 'no'} files"
        said.append(f"{host.name} {state}{behind}")
    return ", ".join([*said, *_vips(cluster, facts, "nfs")])


def haproxy(cluster: Cluster, facts: Facts, judged: Sequence[Judged]) -> str:
    """Where the VIP is, and where the ports lead."""
    views: dict[str, View] = facts.known(VIEW)
    answering = [name for name, view in views.items() if view.answers]
    said = [*_vips(cluster, facts, "haproxy")]
    said.append(f"{len(answering)} of {len(cluster.group('haproxy'))} proxies answer")
    if answering:
        up = views[answering[0]].up
        for backend in ("primary", "replicas", "webservers"):
            said.append(f"{backend} {', '.join(sorted(up.get(backend, ()))) or 'none'}")
        said.append(f"{sum(views[name].sessions for name in answering)} sessions")
    return "; ".join(said)


def _vips(cluster: Cluster, facts: Facts, role: str) -> list[str]:
    network = PROXY_NETWORK if role == "haproxy" else SHARE_NETWORK
    said = []
    for vip in keepalived.vips(cluster, role):
        held = [host.name for host in keepalived.holders(cluster, vip, facts, network)]
        unseen = keepalived.heard_holding(cluster, vip, facts, network)
        said.append(f"{vip.address} on {' and '.join(held) or unseen or 'nobody'}")
    return said


def airflow(cluster: Cluster, facts: Facts, judged: Sequence[Judged]) -> str:
    """Which parts are alive, and how much they have to do."""
    state = present(facts)
    if not state:
        return "the database does not say"
    said = []
    for role, (kind, _) in JOBS.items():
        everybody = cluster.group(role)
        there = at_work(role, kind, state, cluster, facts)
        said.append(f"{len(there)} of {len(everybody)} {role}s")
    if facts.known(CONSUMERS):
        workers = cluster.group("worker")
        said.append(f"{len(workers) - len(not_taking(cluster, facts))} of {len(workers)} workers")
    said.append(f"DAG processor on {', '.join(processors(state, facts)) or 'nobody'}")
    said.append(f"{state.running} tasks run, {state.queued} wait for long")
    return ", ".join(said)


def systemd(cluster: Cluster, facts: Facts, judged: Sequence[Judged]) -> str:
    """How many of Airflow's services run."""
    own = [one.verdict for one in judged if one.section == "systemd"]
    wanted = [verdict for verdict in own if verdict != Verdict(OK, STOPPED)]
    well = sum(verdict.level == OK for verdict in wanted)
    return f"{well} of {len(wanted)} services run"


LINES: dict[str, Line] = {
    "base": hosts,
    "postgres": postgres,
    "rabbitmq": rabbitmq,
    "nfs": nfs,
    "haproxy": haproxy,
    "airflow": airflow,
    "systemd": systemd,
}
"""A section, and the line for the part that it is about."""


def size(lag: object) -> str:
    """Bytes in a few words."""
    if not isinstance(lag, int):
        return "an unknown way"
    return f"{lag} B" if lag < 10_000 else f"{lag / 1_000_000:.1f} MB"


def ago(seconds: int) -> str:
    """A duration in its largest unit."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"
