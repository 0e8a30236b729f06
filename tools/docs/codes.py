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
    parts: dict[Cause, list[str]] = {cause: ["hosts"] for cause in CAUSES}
    for section in contents.sections:
        for cause in section.causes:
            parts.setdefault(cause, []).append(section.label)
    parts[ODD] = ["any"]
    rows = [
        (code(cause.code), ", ".join(labels), cause.impact or OF_HOSTS)
        for cause, labels in parts.items()
    ]
    return table(("code", "part", "impact"), rows)
