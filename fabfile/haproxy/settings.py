"""What hosts.yaml says for the entry points."""

from __future__ import annotations

from typing import Annotated

from runbook.inventory.entry import Positive, named
from runbook.inventory.schema import Settings


class Haproxy(Settings, frozen=True):
    """Settings of the section `haproxy`."""

    idle: Annotated[str, named("duration: `90s`, `30m`, `24h`, `2d`", "^[1-9][0-9]*(s|m|h|d)$")] = (
        "24h"
    )
    """How long a pooled database connection may be idle."""
    max_connections: Positive = 4000
    """Clients of one server at the same time; a third of them on each port."""
