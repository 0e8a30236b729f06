"""When the monitoring alerts about itself: what it does not see raises no other alert."""

from __future__ import annotations

from runbook.declare.probes import ERROR, WARN
from runbook.inventory.cluster import Cluster

from ..shared.metrics import HOST, Alert, Alerts, Watched
from .check import SILENT, STALE, old
from .common import COLLECTOR, written


def alerts(cluster: Cluster) -> Alerts:
    """Every server that is up shows metrics, and they are new."""
    again = f"fab -H {HOST} monitoring.exporters"
    yield Alert(
        SILENT,
        ERROR,
        'max by (host) (up{job="node"}) == 0\nand on (host) max by (host) (up) == 1',
        f"{HOST}: node_exporter does not answer",
        again,
        wait=120,
    )
    age = "time() - max by (host) (runbook_collected_seconds)"
    fix = f"see journalctl -u {COLLECTOR} there; {again}"
    yield Alert(
        STALE,
        ERROR,
        f"{age} > {old(written(cluster).interval)}",
        f"{HOST}: the answers are {{{{ $value | humanizeDuration }}}} old",
        fix,
        about="age",
    )
    yield Alert(
        STALE,
        WARN,
        "max by (host, reading) (runbook_reading_ok) == 0",
        f"{HOST}: no answer about: {{{{ $labels.reading }}}}",
        fix,
        wait=300,
    )


WATCHED = Watched("monitoring", (), alerts)
