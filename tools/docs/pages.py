"""The pages that are made from the code, wholly or in part."""

from __future__ import annotations

from pathlib import Path

from runbook.declare.contents import Contents
from runbook.declare.templates import PROJECT

from . import (
    alerts,
    catalogue,
    codes,
    drills,
    errors,
    passwords,
    picture,
    ports,
    settings,
    vulnerabilities,
)
from .markdown import within


def pages(contents: Contents) -> dict[Path, str]:
    """Each page, and its text."""
    docs = PROJECT / "docs"
    security = (docs / "security.md").read_text(encoding="utf-8")
    security = within(security, "ports", ports.matrix(contents))
    security = within(security, "passwords", passwords.names(contents))
    security = within(security, "vulnerabilities", vulnerabilities.known())
    status = (docs / "status.md").read_text(encoding="utf-8")
    monitoring = (docs / "monitoring.md").read_text(encoding="utf-8")
    rehearsed = (docs / "drills.md").read_text(encoding="utf-8")
    rehearsed = within(rehearsed, "drills", drills.drills(contents))
    rehearsed = within(rehearsed, "loads", drills.clients(contents))
    rehearsed = within(rehearsed, "no second server", drills.alone(contents))
    return {
        docs / "settings.md": settings.page(contents),
        docs / "tasks.md": catalogue.page(contents),
        docs / "errors.md": errors.page(),
        docs / "cluster.svg": picture.picture(contents),
        docs / "security.md": security,
        docs / "monitoring.md": within(monitoring, "alerts", alerts.known(contents)),
        docs / "drills.md": rehearsed,
        docs / "status.md": within(status, "codes", codes.codes(contents)),
    }
