"""Drills of the share: the standby takes over, and a server that returns takes nothing back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from runbook.declare import steps
from runbook.declare.drills import POWER_LOSS, Deed, Drill, Mark, Outage, Target
from runbook.declare.facts import Facts
from runbook.declare.step import Steps
from runbook.inventory.cluster import Cluster, Host

from ..shared.loads import LINES
from ..shared.roles import NFS
from .common import NETWORK, alone, section, servers
from .server import SERVER as UNIT
from .state import SERVER, the_active

LOSS = Mark(seconds=4)
"""What the loss of the active server may cost."""


def active(cluster: Cluster, facts: Facts) -> Sequence[Host]:
    """The server that serves the share."""
    return [the_active(cluster, facts)]


ACTIVE = Target(active, (NETWORK, SERVER))


@section.drills
def drills(cluster: Cluster) -> Iterator[Drill]:
    """What may happen to the active server."""
    if not servers(cluster) or alone(cluster):
        return
    missed = (
        "the standby misses the active server after three announcements, a second apart, and up to "
        "a second more; then clients connect again"
    )
    yield Drill(
        "share-power-loss",
        "The active server of the share loses its power.",
        ACTIVE,
        Outage(POWER_LOSS),
        (LINES,),
        LOSS,
        trade=missed,
    )
    yield Drill(
        "share-stop",
        "The NFS service stops on the active server of the share.",
        ACTIVE,
        Deed(stopped, runs, soft=True, roles=(NFS,)),
        (LINES,),
        LOSS,
        trade="keepalived asks every two seconds, and lets the VIP go after two failures",
    )
    yield Drill(
        "share-return",
        "The server that was active, and lost its power, returns while the other one serves.",
        ACTIVE,
        Outage(POWER_LOSS),
        (LINES,),
        LOSS,
        from_heal=True,
    )


def stopped(host: Host, cluster: Cluster) -> Steps:
    """NFS does not run."""
    yield steps.stopped(UNIT)


def runs(host: Host, cluster: Cluster) -> Steps:
    """NFS runs."""
    yield steps.service(UNIT)
