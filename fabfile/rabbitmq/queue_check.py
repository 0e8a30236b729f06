"""Which queues stand still, and which would lose messages with the next node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from runbook.declare.probes import ERROR, OK, WARN, Finding, Findings, Verdict
from runbook.inventory.cluster import Cluster

from ..shared.versions import Versions
from .common import NO_MAJORITY, SILENT, VHOST, everybody, members, section
from .nodes import State

SHORT = section.cause("MQ_QUEUE_SHORT", "these queues survive fewer failures than they should")
UNEVEN = section.cause("MQ_LEADERS_UNEVEN", "one node does all the work; no message is at risk")
DOWN = section.cause("MQ_QUEUE_DOWN", "no task is handed out through these queues")
UNSYNCED = section.cause(
    "MQ_MIRROR_UNSYNCED", "the loss of one node loses the messages of these queues"
)

Queue = dict[str, Any]


def queues(cluster: Cluster, states: Mapping[str, State]) -> Findings:
    """Every queue works and has its replicas, as one of the nodes sees it."""
    state = next(iter(states.values()), None)
    if not state:
        verdict = Verdict(WARN, "no node answered")
        yield Finding("queues are whole", verdict, cause=SILENT, about=everybody(cluster))
        return
    mirrors = not cluster[Versions].quorum_queues
    if state.quorum_queues or not mirrors:
        yield quorum_queues(cluster, state)
    if state.classic_queues or mirrors:
        yield classic_queues(cluster, state)


def quorum_queues(cluster: Cluster, state: State) -> Finding:
    """Every quorum queue has all its members online, and leaders on more than one node."""
    title = "quorum queues are whole"
    away = tuple(name for name in everybody(cluster) if f"rabbit@{name}" not in state.running)
    stopped = [queue for queue in state.quorum_queues if without_majority(queue)]
    if stopped:
        sentence = f"{named(stopped)} without a majority of members: stopped"
        way_out = (
            "fab rabbitmq.cluster; if the other servers are lost for good: "
            f"fab rabbitmq.recover {next(iter(state.running)).partition('@')[2]}"
        )
        return Finding(title, Verdict(ERROR, sentence), fix=way_out, cause=NO_MAJORITY, about=away)
    short = [queue for queue in state.quorum_queues if lacks_member(queue, state)]
    if short:
        sentence = f"{len(short)} lack a member: {listed(short)}"
        way_out = "fab rabbitmq.cluster rabbitmq.queues"
        return Finding(title, Verdict(ERROR, sentence), fix=way_out, cause=SHORT, about=away)
    leaders = Counter(queue.get("leader") for queue in state.quorum_queues)
    if len(state.quorum_queues) > len(state.running) and len(leaders) == 1:
        alone = str(next(iter(leaders))).partition("@")[2]
        sentence = f"{alone} leads all {len(state.quorum_queues)}"
        spread = (
            f"fab -H {members(cluster)[0].name} -- sudo rabbitmq-queues rebalance quorum; "
            "if it fails: fab rabbitmq.restart"
        )
        return Finding(title, Verdict(WARN, sentence), fix=spread, cause=UNEVEN)
    return Finding(title, Verdict(OK, f"{len(state.quorum_queues)} of them"))


def without_majority(queue: Queue) -> bool:
    """Whether too few of its members are online."""
    return len(queue.get("online", ())) * 2 <= len(queue.get("members", ()))


def lacks_member(queue: Queue, state: State) -> bool:
    """Whether a member is not online, or a node has none."""
    held, online = set(queue.get("members", ())), set(queue.get("online", ()))
    return bool(held - online) or len(held) < len(state.running)


def classic_queues(cluster: Cluster, state: State) -> Finding:
    """Every classic queue runs, and its mirror has all messages."""
    title = "classic queues are whole"
    down = [queue for queue in state.classic_queues if queue.get("state") == "down"]
    if down:
        away = tuple({str(queue.get("node") or "").partition("@")[2] for queue in down})
        verdict = Verdict(ERROR, f"{named(down)} down, because their node is: {', '.join(away)}")
        return Finding(title, verdict, fix="fab rabbitmq.cluster", cause=DOWN, about=away)
    bare = unsynchronised(state)
    if bare:
        first = bare[0]
        verdict = Verdict(WARN, f"{named(bare)} without a synchronised mirror")
        way_out = (
            f"fab -H {members(cluster)[0].name} -- sudo rabbitmqctl sync_queue "
            f"-p {first['vhost']} {first['name']}"
            if first.get("slave_nodes")
            else "fab rabbitmq.cluster rabbitmq.policies"
        )
        return Finding(title, verdict, fix=way_out, cause=UNSYNCED)
    if not cluster[Versions].quorum_queues and not covers_airflow(state):
        verdict = Verdict(WARN, "no policy mirrors them")
        return Finding(title, verdict, fix="fab rabbitmq.policies", cause=UNSYNCED)
    mirrored = f", {len(state.mirrored_queues)} mirrored" if state.mirrored_queues else ""
    return Finding(title, Verdict(OK, f"{len(state.classic_queues)} of them{mirrored}"))


def unsynchronised(state: State) -> list[Queue]:
    """Mirrored queues of which one node has messages that no mirror has."""
    if len(state.running) < 2:
        return []
    return [
        queue
        for queue in state.mirrored_queues
        if queue.get("state") != "down"
        and (
            not queue.get("synchronised_slave_nodes")
            or set(queue.get("slave_nodes", ())) - set(queue["synchronised_slave_nodes"])
        )
    ]


def covers_airflow(state: State) -> bool:
    """Whether Airflow's queues are mirrored; a single node has nowhere to mirror them."""
    return len(state.nodes) < 2 or any(one["vhost"] == VHOST for one in state.mirroring)


def named(queues: Sequence[Queue]) -> str:
    """How many queues these are, and the first names."""
    return f"{len(queues)} ({listed(queues)})"


def listed(queues: Sequence[Queue]) -> str:
    """The first names."""
    return ", ".join(str(queue["name"]) for queue in queues[:3]) + (
        " and more" if len(queues) > 3 else ""
    )
