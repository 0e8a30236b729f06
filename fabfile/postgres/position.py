"""How far each server's PostgreSQL is, whether it runs or not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from runbook.declare.facts import Fact, Facts
from runbook.declare.templates import script
from runbook.errors import RunbookError
from runbook.inventory.cluster import Cluster, Host

from ..shared.roles import POSTGRES
from .common import binaries, data, members


@dataclass(frozen=True)
class Position:
    """The cluster that a server's data belong to, and how far they go: timeline and bytes of WAL.

    `leads`: it accepts writes, so it has all that others have of its timeline, although they may
    have been asked later.
    """

    system: int
    timeline: int
    wal: int
    leads: bool = False

    @property
    def order(self) -> tuple[int, bool, int]:
        """The greater, the newer."""
        return self.timeline, self.leads, self.wal

    def __str__(self) -> str:
        return f"timeline {self.timeline}, {self.wal >> 32:X}/{self.wal & 0xFFFFFFFF:X}"


def parse(text: str) -> Position:
    """Parse the answer of POSITION: `7301234567890 3 0/5000060 follows`."""
    system, timeline, position, state = text.split()
    found = re.fullmatch(r"([0-9A-F]{1,8})/([0-9A-F]{1,8})", position)
    if not found:
        raise ValueError(position)
    wal = (int(found[1], 16) << 32) + int(found[2], 16)
    return Position(int(system), int(timeline), wal, state == "leads")


POSITION = Fact(
    "how far PostgreSQL is",
    on=POSTGRES,
    command=lambda cluster, host: script(
        "postgres/position.sh", data=data(cluster), programs=binaries(cluster)
    ),
    parse=parse,
    absent="it has no database",
)


def most_advanced(cluster: Cluster, facts: Facts) -> list[Host]:
    """The servers that have a database, the newest first; RunbookError if it is not one cluster."""
    known = facts.known(POSITION)
    if len({position.system for position in known.values()}) > 1:
        which = "; ".join(f"{name}: {position.system}" for name, position in known.items())
        raise RunbookError(
            f"The servers hold databases of different clusters ({which}). Move the data directory "
            "that does not belong here aside, then rerun."
        )
    holding = [host for host in members(cluster) if host.name in known]
    return sorted(holding, key=lambda host: known[host.name].order, reverse=True)


def compared(hosts: Sequence[Host], facts: Facts) -> str:
    """Which server has the newest data, and how far the others are behind."""
    known = facts.known(POSITION)
    first, *others = hosts
    best = known[first.name]
    said = [f"{first.name} has the newest data ({best})"]
    for host in others:
        own = known[host.name]
        if own.timeline != best.timeline:
            said.append(f"{host.name} is on {own}")
        else:
            said.append(f"{host.name} is {max(0, best.wal - own.wal)} bytes behind")
    return "; ".join(said)
