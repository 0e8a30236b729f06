"""What hosts.yaml says for the entry points."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from runbook.inventory.entry import between, named
from runbook.inventory.schema import Objection, Settings, Understood

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
IDLE = (30, 24 * 86400)
"""Shortest and longest, in seconds; HAProxy's timers are limited to 24.8 days (2^31 ms)."""


class Haproxy(Settings, frozen=True):
    """Settings of the section `haproxy`."""

    idle: Annotated[str, named("duration: `90s`, `30m`, `24h`, `2d`", "[1-9][0-9]{0,6}[smhd]")] = (
        "24h"
    )
    """How long a pooled database connection may be idle: 30s to 24d."""
    max_connections: Annotated[int, between(300, 1_000_000)] = 4000
    """Clients of one server at the same time; a third of them on each port."""
    hsts: Annotated[int, between(0, 730)] = 0
    """For how many days a browser uses only https after a visit to the web UI over TLS (HSTS); 0:
    it is not told to. Such a browser does not open http://NAME:8081 any more, nor the web UI in
    clear after `fab tls.switch --to clear`.
    """

    def objections(self, inventory: Understood) -> Iterator[Objection]:
        """An idle time that HAProxy refuses, or that would cut pooled connections."""
        seconds = int(self.idle[:-1]) * _SECONDS[self.idle[-1]]
        if not IDLE[0] <= seconds <= IDLE[1]:
            yield Objection(f"{self.idle} is not valid; allowed: 30s to 24d", ("haproxy", "idle"))
