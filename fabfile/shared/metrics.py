"""What sections declare for the monitoring: what servers say about themselves, and alerts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Callable

from runbook.declare.facts import On
from runbook.declare.probes import ERROR, Cause, Level
from runbook.inventory.cluster import Cluster, Host

HOST = "{{ $labels.host }}"
"""In the texts of an alert: the server that it is about."""


@dataclass(frozen=True)
class Reading:
    """What servers say about themselves, beside what their services say to Prometheus.

    `command` prints it, usually the command of a fact; `files/monitoring/readings/NAME.awk` turns
    that into metrics.
    """

    name: str
    on: On
    command: Callable[[Cluster, Host], str]


@dataclass(frozen=True)
class Alert:
    """A rule: `when`, an expression of PromQL, has held for `wait` seconds.

    Code and impact are those of a cause of the checks, and so is the fix. `host`: the server that
    it is about, if not the one whose metrics raise it. `about`: which of several things with this
    code.
    """

    cause: Cause
    level: Level
    when: str
    says: str
    fix: str
    wait: int = 60
    host: str = ""
    about: str = ""

    def rule(self, cluster: Cluster, part: str) -> dict[str, Any]:
        """The rule as Prometheus reads it."""
        own = {"host": self.host, "about": self.about}
        return {
            "alert": self.cause.code,
            "expr": of_cluster(" ".join(self.when.split()), cluster.name),
            "for": f"{self.wait}s",
            "labels": {
                "severity": "critical" if self.level == ERROR else "warning",
                "cluster": cluster.name,
                "part": part,
                **{name: text for name, text in own.items() if text},
            },
            "annotations": {"summary": self.says, "impact": self.cause.impact, "fix": self.fix},
        }


Alerts = Iterator[Alert]


@dataclass(frozen=True)
class Watched:
    """A part of the cluster as the monitoring sees it."""

    part: str
    readings: Sequence[Reading]
    alerts: Callable[[Cluster], Alerts]


_METRIC = re.compile(r"\b((?:runbook|patroni|rabbitmq|node)_[a-z_]+|up)\b(\{?)")


def of_cluster(expression: str, name: str) -> str:
    """An expression that concerns this cluster only, whatever else the Prometheus watches."""

    def chosen(match: re.Match[str]) -> str:
        own = f'{match[1]}{{cluster="{name}"'
        return f"{own}," if match[2] else f"{own}}}"

    return _METRIC.sub(chosen, expression)


def in_steps(
    cause: Cause, metric: str, limits: tuple[float, float], says: str, fix: str, by: str = "host"
) -> Alerts:
    """A warning from one value of a metric on, and an error from another, for each server."""
    highest = f"max by ({by}) ({metric})"
    warns, errs = limits
    yield Alert(cause, Level.WARN, f"{highest} >= {warns} < {errs}", says, fix)
    yield Alert(cause, ERROR, f"{highest} >= {errs}", says, fix)
