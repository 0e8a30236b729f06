"""The monitoring server: Prometheus reads all metrics, Alertmanager tells whom hosts.yaml names."""

from __future__ import annotations

import json
from typing import Any

from runbook.declare import steps
from runbook.declare.facts import Facts
from runbook.declare.step import Step, Steps
from runbook.inventory.cluster import Cluster, Host

from ..base import epel
from ..postgres.transport import TRANSPORT
from ..shared import tls
from ..shared.roles import MONITOR
from .common import ALERTMANAGER, PROMETHEUS, Monitoring, section, written
from .rules import INTERVAL, RULES, TARGETS, as_yaml, files, job

FOLDER = "/etc/runbook-monitoring"
GROUP = "runbook-alerts"
"""May read the receivers, which may contain passwords."""

PROGRAMS = ("/usr/bin/prometheus", "/usr/bin/promtool", "/usr/bin/alertmanager", "/usr/bin/amtool")
READS = steps.reloaded(PROMETHEUS)


@section.task(on=MONITOR, needs=[TRANSPORT])
def server(host: Host, cluster: Cluster, facts: Facts) -> Steps:
    """Install Prometheus and Alertmanager on the monitoring server.

    Both listen on 127.0.0.1 only, as neither asks for a password.
    """
    yield from epel(cluster)
    yield steps.packages(*PROGRAMS)
    yield steps.directory(FOLDER)
    if cluster.vault.knows(tls.CA):
        yield from tls.trust(cluster)
    told = files(cluster, facts)
    yield steps.file(f"{FOLDER}/{TARGETS}", told[TARGETS])
    rules = steps.file(f"{FOLDER}/{RULES}", told[RULES], validate="promtool check rules")
    yield rules.then(READS)
    yield steps.file(
        f"{FOLDER}/prometheus.yml", as_yaml(prometheus(cluster)), validate="promtool check config"
    ).then(READS)
    context = {"folder": FOLDER, "days": written(cluster).retention, "group": GROUP}
    yield from running(PROMETHEUS, context)
    yield from receivers(cluster)
    yield from running(ALERTMANAGER, context)


def running(unit: str, context: dict[str, Any]) -> Steps:
    """A unit of ours runs, with its present settings."""
    restart = steps.restarted_if_running(unit)
    yield steps.unit(unit, f"monitoring/{unit}.j2", context).then(restart)
    yield steps.service(unit).clearing(restart)


def prometheus(cluster: Cluster) -> dict[str, Any]:
    """Prometheus' settings."""
    every = f"{INTERVAL}s"
    return {
        "global": {"scrape_interval": every, "evaluation_interval": every},
        "rule_files": [RULES],
        "alerting": {
            "alertmanagers": [{"static_configs": [{"targets": ["127.0.0.1:9093"]}]}],
        },
        "scrape_configs": [job(cluster, tls.TRUSTED)],
    }


def receivers(cluster: Cluster) -> Steps:
    """Alertmanager's settings; who may read them is in a group of its own."""
    yield steps.command(
        f"group {GROUP}", f"groupadd --system {GROUP}", unless=f"getent group {GROUP} >/dev/null"
    )
    yield settings(cluster).then(steps.reloaded(ALERTMANAGER))


def settings(cluster: Cluster) -> Step:
    """The file, in which a server that is down explains its other alerts."""
    told = {
        "route": {
            "receiver": "operators",
            "group_by": ["cluster", "part"],
            "group_wait": "15s",
            "group_interval": "1m",
            "repeat_interval": "4h",
        },
        "inhibit_rules": [
            {
                "source_matchers": ["alertname = HOST_DOWN"],
                "target_matchers": ["alertname != HOST_DOWN"],
                "equal": ["cluster", "host"],
            }
        ],
        "receivers": [{"name": "operators", **cluster[Monitoring].receiver}],
    }
    return steps.file(
        f"{FOLDER}/alertmanager.yml",
        json.dumps(told, indent=2),
        mode="0640",
        group=GROUP,
        validate="amtool check-config",
        secret=bool(cluster.secret_settings("monitoring", "receiver")),
    )
