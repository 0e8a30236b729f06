"""The message queue in a status, its drawing and a support bundle."""

from __future__ import annotations

import re
from collections.abc import Sequence

from runbook.declare.facts import Facts
from runbook.declare.operations import Marks
from runbook.declare.probes import Finding
from runbook.inventory.cluster import Cluster
from runbook.output.quantities import duration

from .common import VHOST, members, section
from .definitions import newest_of
from .nodes import STATE
from .users import DELAYS

MOST = 2
"""Queues whose names have room in the drawing of a server."""

section.collect(
    units=("rabbitmq-server",),
    files=("/etc/rabbitmq/*.conf",),
    logs=("/var/log/rabbitmq/*.log",),
    commands=(
        "timeout 30 rabbitmqctl cluster_status",
        f"timeout 30 rabbitmqctl list_queues -p {VHOST} name type messages state",
    ),
)


@section.status_line
def line(cluster: Cluster, facts: Facts, findings: Sequence[Finding]) -> str:
    """Nodes that run, queues, messages that wait."""
    states = facts.known(STATE)
    total = len(members(cluster))
    if not states:
        return f"none of {total} nodes answers"
    state = max(states.values(), key=lambda one: len(one.running))
    waiting = sum(queue.get("messages", 0) for queue in state.queues)
    count = len(state.quorum_queues)
    queues = f"{count} quorum queue{'' if count == 1 else 's'}"
    said = [f"{len(state.running)} of {total} nodes run", queues, f"{waiting} messages wait"]
    if mirrored := len(state.mirrored_queues):
        said.insert(2, f"{mirrored} mirrored")
    age = newest_of(facts)
    if age is not None:
        said.append(f"definitions {duration(age)} old")
    return ", ".join(said)


@section.drawn
def marks(cluster: Cluster, facts: Facts) -> Marks:
    """Which node leads which queue, without Celery's queues for delayed tasks."""
    led: dict[str, list[str]] = {}
    states = list(facts.known(STATE).values())
    for queue in states[0].quorum_queues if states else ():
        leader = str(queue.get("leader") or "").partition("@")[2]
        if leader and not re.fullmatch(DELAYS, queue["name"]):
            led.setdefault(leader, []).append(queue["name"])
    return Marks({host: told(names) for host, names in led.items()})


def told(names: Sequence[str]) -> list[str]:
    """What is drawn at the node that leads these queues."""
    if len(names) > MOST:
        return [f"leads {len(names)} queues"]
    return [f"leads {name}" for name in names]
