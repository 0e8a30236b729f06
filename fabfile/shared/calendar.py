"""When something happens, for all sections that have a schedule."""

from __future__ import annotations

from typing import Annotated

from runbook.inventory.entry import named

Calendar = Annotated[
    str, named("calendar expression of systemd: `Sun 01:30`", "[A-Za-z0-9*,:.~/ +_-]{1,100}")
]
