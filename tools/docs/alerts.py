"""The table of alerts in docs/monitoring.md, and the codes of the status that have none."""

from __future__ import annotations

from fabfile.monitoring.rules import groups
from runbook.declare.contents import Contents
from runbook.declare.templates import PROJECT

from .codes import every_cause
from .markdown import code, table


def known(contents: Contents) -> str:
    """The table, then the other codes."""
    cluster = contents.load(PROJECT / "hosts.yaml")
    found: dict[str, dict[str, set[int]]] = {}
    for group in groups(cluster):
        for rule in group["rules"]:
            severities = found.setdefault(rule["alert"], {})
            seconds = int(rule["for"].rstrip("s"))
            severities.setdefault(rule["labels"]["severity"], set()).add(seconds)
    rows = [
        (code(name), severity, " or ".join(map(str, sorted(seconds))))
        for name, severities in found.items()
        for severity, seconds in severities.items()
    ]
    others = [code(cause.code) for cause in every_cause(contents) if cause.code not in found]
    return "\n\n".join(
        [
            table(("alert", "severity", "after (s)"), rows),
            f"Codes of `inv cluster.status` without an alert: {', '.join(others)}.",
        ]
    )
