"""The entry points in a status, its drawing and a support bundle."""

from __future__ import annotations

from collections.abc import Sequence

from runbook.declare.facts import Facts
from runbook.declare.operations import Marks
from runbook.declare.probes import Finding
from runbook.inventory.cluster import Cluster

from ..shared.keepalived import told, vip_marks
from ..shared.roles import HAPROXY
from .common import CONFIG, HEALTH, proxies, section
from .view import VIEW

section.collect(
    units=("haproxy", "keepalived"),
    files=(CONFIG, "/etc/keepalived/*.conf", "/etc/keepalived/conf.d/*"),
    commands=(f"curl -s -m 5 '{HEALTH}/stats;csv' | cut -d, -f1-20",),
)


@section.status_line
def line(cluster: Cluster, facts: Facts, findings: Sequence[Finding]) -> str:
    """Where the VIP is, and where the ports lead."""
    views = facts.known(VIEW)
    answering = [name for name, view in views.items() if view.answers]
    said = told(cluster, HAPROXY, facts)
    said.append(f"{len(answering)} of {len(proxies(cluster))} proxies answer")
    if answering:
        up = views[answering[0]].up
        for backend in ("primary", "replicas", "webservers"):
            said.append(f"{backend} {', '.join(sorted(up.get(backend, ()))) or 'none'}")
        said.append(f"{sum(views[name].sessions for name in answering)} sessions")
    return "; ".join(said)


@section.drawn
def marks(cluster: Cluster, facts: Facts) -> Marks:
    """Which server holds the VIP, and which may."""
    return vip_marks(cluster, HAPROXY, facts)
