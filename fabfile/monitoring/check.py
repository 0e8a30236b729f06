"""Checks of the monitoring: does each server show metrics, and are they new?"""

from __future__ import annotations

import re
from collections.abc import Sequence

from runbook.declare.facts import Facts
from runbook.declare.probes import ERROR, OK, WARN, Answer, Finding, Judge, Probes, Verdict, probe
from runbook.inventory.cluster import Cluster, Host

from ..shared.roles import MONITOR
from .common import (
    ALERTMANAGER,
    COLLECTOR,
    EXPORTER,
    METRICS,
    PORT,
    PROMETHEUS,
    section,
    watched,
    written,
)

SILENT = section.cause("MONITORING_SILENT", "Prometheus does not see what is wrong there")
NOBODY = section.cause("MONITORING_DOWN", "nobody is alerted")
STALE = section.cause("MONITORING_STALE", "some problems of this server raise no alert")

SHOWN = "its metrics can be read"

TIMES = re.compile(r"(\d{1,12})\n(?:.*\n)*?runbook_collected_seconds (\d{1,12})$", re.MULTILINE)
"""The time there, and that of the answers."""

UNANSWERED = re.compile(r'^runbook_reading_ok\{reading="(\w+)"\} 0$', re.MULTILINE)


@section.check
def check(host: Host, cluster: Cluster) -> Probes:
    """Check that metrics can be read, and that they are new."""
    yield probe(
        SHOWN,
        f"curl -sf -m 5 -o /dev/null http://{host.address}:{PORT}/metrics",
        answers,
        fix=f"fab -H {host.name} monitoring.exporters",
        cause=SILENT,
    )
    yield probe(
        "what the checks ask is answered",
        f"date +%s; cat {METRICS}/collect.prom",
        new(written(cluster).interval),
        fix=f"see journalctl -u {COLLECTOR} there; fab -H {host.name} monitoring.exporters",
        cause=STALE,
    )
    if MONITOR in host.roles:
        for name, port in (("Prometheus", 9090), ("Alertmanager", 9093)):
            yield probe(
                f"{name} is ready",
                f"curl -sf -m 5 -o /dev/null http://127.0.0.1:{port}/-/ready",
                ready,
                fix=f"fab -H {host.name} monitoring.server",
                cause=NOBODY,
            )


def ready(answer: Answer) -> Verdict:
    """curl exits with 0."""
    return Verdict(OK) if answer.code == 0 else Verdict(ERROR, "it does not answer")


def answers(answer: Answer) -> Verdict:
    """curl exits with 0."""
    return Verdict(OK) if answer.code == 0 else Verdict(ERROR, "node_exporter does not answer")


def new(interval: int) -> Judge:
    """How old the answers may be depends on how often they are asked for."""

    def judge(answer: Answer) -> Verdict:
        """They are not old, and no question is without an answer."""
        times = TIMES.match(answer.text)
        if not times:
            return Verdict(ERROR, "nothing was asked yet")
        age = int(times[1]) - int(times[2])
        if age > old(interval):
            return Verdict(ERROR, f"the answers are {age} s old")
        silent = UNANSWERED.findall(answer.text)
        if silent:
            return Verdict(WARN, f"no answer about: {', '.join(silent)}")
        return Verdict(OK)

    return judge


def old(interval: int) -> int:
    """Seconds after which answers are too old: two turns were missed, or take very long."""
    return 2 * interval + 60


@section.status_line
def line(cluster: Cluster, facts: Facts, findings: Sequence[Finding]) -> str:
    """How many servers show metrics."""
    well = sum(one.level == OK for one in findings if one.title == SHOWN)
    return f"{well} of {len(watched(cluster))} servers show metrics"


section.collect(
    units=(EXPORTER.partition(".")[0], COLLECTOR),
    commands=(f"cat {METRICS}/*.prom",),
)
section.collect(
    MONITOR,
    units=(PROMETHEUS.partition(".")[0], ALERTMANAGER.partition(".")[0]),
    commands=(
        "curl -s -m 5 http://127.0.0.1:9090/api/v1/targets?state=active",
        "curl -s -m 5 http://127.0.0.1:9090/api/v1/alerts",
    ),
)
