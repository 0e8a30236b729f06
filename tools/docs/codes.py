"""The table of codes in docs/status.md, from the sections that declare them."""

from __future__ import annotations

from fabfile.operator.status.picture import ODD
from fabfile.shared.silence import CAUSES
from runbook.declare.contents import Contents
from runbook.declare.probes import Cause

from .markdown import code, table

OF_HOSTS = "depends on which hosts of its roles are left"
"""The impact of a host that is down."""


def codes(contents: Contents) -> str:
    """The table."""
    rows = [
        (code(cause.code), ", ".join(labels), cause.impact or OF_HOSTS)
        for cause, labels in every_cause(contents).items()
    ]
    return table(("code", "part", "impact"), rows)


def every_cause(contents: Contents) -> dict[Cause, list[str]]:
    """All causes, and the parts of a status that may have them."""
    parts: dict[Cause, list[str]] = {cause: ["hosts"] for cause in CAUSES}
    for section in contents.sections:
        for cause in section.causes:
            parts.setdefault(cause, []).append(section.label)
    parts[ODD] = ["any"]
    return parts
