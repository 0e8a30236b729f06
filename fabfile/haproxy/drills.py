"""Drills of the entry points: the main VIP moves to a server that serves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from runbook.declare import steps
from runbook.declare.drills import POWER_LOSS, Deed, Drill, Mark, Outage, Target
from runbook.declare.facts import Facts
from runbook.declare.step import Steps
from runbook.errors import MissingFact
from runbook.inventory.cluster import Cluster, Host

from ..shared import keepalived
from ..shared.loads import PAGES, ROWS
from ..shared.roles import HAPROXY
from .common import NETWORK, UNIT, candidates, section

LOSS = Mark(seconds=3)
"""What the loss of the VIP's holder may cost."""


def holding(cluster: Cluster, facts: Facts) -> Sequence[Host]:
    """The server that holds the main VIP."""
    vips = keepalived.vips(cluster, HAPROXY)
    found = [host for vip in vips for host in keepalived.holders(cluster, vip, facts)]
    if not found:
        raise MissingFact("no server holds the main VIP; see fab haproxy.check.")
    return found[:1]


HOLDER = Target(holding, (NETWORK,))


@section.drills
def drills(cluster: Cluster) -> Iterator[Drill]:
    """What may happen to the server that holds the main VIP."""
    if len(candidates(cluster)) < 2:
        return
    yield Drill(
        "vip-holder-power-loss",
        "The server that holds the main VIP loses its power.",
        HOLDER,
        Outage(POWER_LOSS),
        (ROWS, PAGES),
        LOSS,
        trade="keepalived announces itself every second, and is missed after three announcements "
        "and up to a second more; VRRP with a password knows whole seconds only",
    )
    yield Drill(
        "haproxy-kill",
        "HAProxy is killed on the server that holds the main VIP.",
        HOLDER,
        Deed(killed, runs),
        (ROWS, PAGES),
        LOSS,
        watch=15,
    )
    yield Drill(
        "haproxy-stop",
        "HAProxy stops on the server that holds the main VIP.",
        HOLDER,
        Deed(stopped, runs, soft=True, roles=(HAPROXY,)),
        (ROWS, PAGES),
        LOSS,
        watch=15,
        trade="keepalived asks every second, and lets the VIP go after two failures",
    )


def killed(host: Host, cluster: Cluster) -> Steps:
    """Its processes are gone at once; systemd starts it again."""
    yield steps.action("HAProxy is killed", f"systemctl kill -s KILL {UNIT}")


def stopped(host: Host, cluster: Cluster) -> Steps:
    """HAProxy does not run."""
    yield steps.stopped(UNIT)


def runs(host: Host, cluster: Cluster) -> Steps:
    """HAProxy runs."""
    yield steps.service(UNIT)
