"""Drills of the message queue: it goes on without the node that leads a queue."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from runbook.declare import steps
from runbook.declare.drills import PARTITION, POWER_LOSS, Deed, Drill, Mark, Outage, Target
from runbook.declare.facts import Facts
from runbook.declare.step import Steps
from runbook.errors import MissingFact
from runbook.inventory.cluster import Cluster, Host

from ..shared.loads import DRILL_QUEUE, MESSAGES
from ..shared.roles import RABBITMQ
from .common import SERVICE, members, node, section
from .nodes import STATE

LOSS = Mark(seconds=7)
"""What the loss of a node may cost."""


def leading(cluster: Cluster, facts: Facts) -> Sequence[Host]:
    """The server whose node leads the queue of the drill, or else any other queue."""
    queues = [queue for view in facts.known(STATE).values() for queue in view.queues]
    queues.sort(key=lambda queue: queue["name"] != DRILL_QUEUE)
    leaders = (queue.get("leader") or queue.get("node") for queue in queues)
    first = next(filter(None, leaders), "")
    found = [host for host in members(cluster) if node(host) == first]
    if not found:
        raise MissingFact("no queue has a leader now; see fab rabbitmq.check.")
    return found


LEADER = Target(leading, (STATE,))


@section.drills
def drills(cluster: Cluster) -> Iterator[Drill]:
    """What may happen to the node that leads a queue."""
    if len(members(cluster)) < 2:
        return
    tick = (
        "net_ticktime is 10 s: a node that falls silent counts as lost after that; with less, a "
        "busy node would be taken for lost"
    )
    yield Drill(
        "queue-leader-power-loss",
        "The server whose node leads the queue loses its power.",
        LEADER,
        Outage(POWER_LOSS),
        (MESSAGES,),
        LOSS,
        trade=tick,
    )
    yield Drill(
        "queue-leader-partition",
        "The server whose node leads the queue is cut off from all others.",
        LEADER,
        Outage(PARTITION),
        (MESSAGES,),
        LOSS,
        repair=("rabbitmq.cluster",),
        trade=tick,
    )
    yield Drill(
        "queue-node-stop",
        "RabbitMQ stops on the server whose node leads the queue.",
        LEADER,
        Deed(stopped, runs, soft=True, roles=(RABBITMQ,)),
        (MESSAGES,),
        LOSS,
    )


def stopped(host: Host, cluster: Cluster) -> Steps:
    """The node does not run."""
    yield steps.stopped(SERVICE)


def runs(host: Host, cluster: Cluster) -> Steps:
    """The node runs."""
    yield steps.service(SERVICE)
