"""How the entry points start and stop with the whole cluster."""

from __future__ import annotations

from collections.abc import Sequence

from runbook.declare.facts import Facts
from runbook.declare.steps import service, stopped, wait_for
from runbook.declare.work import Procedure, stage
from runbook.inventory.cluster import Cluster, Host, among

from ..shared import keepalived
from ..shared.keepalived import vips
from ..shared.roles import HAPROXY
from .common import NETWORK, UNIT, candidates, proxies, section


@section.start(after=["postgres"])
def start(hosts: Sequence[Host], cluster: Cluster, facts: Facts) -> Procedure:
    """Start the proxies, then the address in front of them."""
    running = among(proxies(cluster), hosts)
    if running:
        yield stage("the proxies run", running, service(UNIT))
    holders = among(candidates(cluster), hosts)
    if holders:
        pings = [
            wait_for(
                f"{vip.name} answers", f"ping -q -c 1 -W 1 {vip.address} >/dev/null", timeout=60
            )
            for vip in vips(cluster, HAPROXY)
        ]
        yield stage("the address is held", holders, service(keepalived.SERVICE), *pings)


@section.stop()
def stop(hosts: Sequence[Host], cluster: Cluster, facts: Facts) -> Procedure:
    """Stop the address of web UI and database, and the proxies behind it."""
    own = [*proxies(cluster), *candidates(cluster)]
    chosen = among({host.name: host for host in own}.values(), hosts)
    if chosen:
        units = (stopped(keepalived.SERVICE), stopped(UNIT))
        yield stage("take the entry points down", chosen, *units)


@section.leaders(needs=[NETWORK])
def leading(cluster: Cluster, facts: Facts) -> list[str]:
    """The server that holds the main VIP."""
    return keepalived.all_holding(cluster, HAPROXY, facts)
