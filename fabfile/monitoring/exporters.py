"""Every server's metrics: node_exporter, and what the checks would ask the server."""

from __future__ import annotations

from runbook.declare import steps
from runbook.declare.step import Step, Steps, quote
from runbook.inventory.cluster import Cluster, Host

from ..base import epel
from ..shared.firewall import let_in
from ..shared.sources import EPEL, EPEL_KEY
from .common import (
    COLLECTOR,
    EXPORTER,
    METRICS,
    PORT,
    READINGS,
    SCRIPTS,
    readings_of,
    section,
    written,
)

PROGRAM = "/usr/bin/node_exporter"
"""In EPEL's package, which has another name on each release."""

for source in (EPEL, EPEL_KEY):
    section.fetches(source)


@section.task
def exporters(host: Host, cluster: Cluster) -> Steps:
    """Show Prometheus the metrics of every server, and what the checks would ask it.

    A timer asks what the checks ask, and leaves the answers where node_exporter reads them.
    """
    yield from epel(cluster)
    yield steps.packages(PROGRAM, "openssl")
    yield from reading(host, cluster)
    restart = steps.restarted_if_running(EXPORTER)
    context = {"program": PROGRAM, "address": f"{host.address}:{PORT}", "metrics": METRICS}
    yield steps.unit(EXPORTER, f"monitoring/{EXPORTER}.j2", context).then(restart)
    yield steps.service(EXPORTER).clearing(restart)
    yield from let_in(host, cluster)


def reading(host: Host, cluster: Cluster) -> Steps:
    """The readings of this server, and the timer that asks them."""
    names = [one.name for one in readings_of(host, cluster)]
    for folder in (SCRIPTS, READINGS, METRICS):
        yield steps.directory(folder)
    yield steps.template(f"{SCRIPTS}/collect", "monitoring/collect", {}, mode="0755")
    for name in ("metrics", *names):
        source = f"monitoring/readings/{name}.awk"
        yield steps.template(f"{READINGS}/{name}.awk", source, {})
    for one in readings_of(host, cluster):
        yield steps.file(f"{READINGS}/{one.name}.sh", one.command(cluster, host))
    yield no_others(names)
    context = {
        "collect": f"{SCRIPTS}/collect {READINGS} {METRICS}",
        "metrics": METRICS,
        "interval": written(cluster).interval,
    }
    yield steps.unit(f"{COLLECTOR}.service", f"monitoring/{COLLECTOR}.service.j2", context)
    again = steps.restarted(f"{COLLECTOR}.timer")
    yield steps.unit(f"{COLLECTOR}.timer", f"monitoring/{COLLECTOR}.timer.j2", context).then(again)
    yield steps.service(f"{COLLECTOR}.timer").clearing(again)
    yield steps.command(
        "there are first metrics",
        f"systemctl start {COLLECTOR}.service",
        unless=f"[[ -e {METRICS}/collect.prom ]]",
    )


def no_others(names: list[str]) -> Step:
    """What a server does not do any more is not asked any more."""
    kept = [f"{name}.{kind}" for name in names for kind in ("sh", "awk")]
    others = " ".join(f"! -name {quote(name)}" for name in ("metrics.awk", *kept))
    found = f"find {READINGS} -mindepth 1 {others}"
    return steps.command(
        "nothing else is read", f"{found} -delete", unless=f"[[ ! $({found} 2>/dev/null) ]]"
    ).showing(f"{found} -printf 'remove %p\\n'")
