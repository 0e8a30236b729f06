"""When a disk will be full, if it goes on filling as it did in the last weeks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Optional

from runbook.declare.answers import Count, Path, Time, one

from .timers import DAY, Timer

RECORD = "/var/lib/airflow-runbook/disks"
"""How full each disk was, a line for each day and disk (files/base/disk-record)."""

TIMER = Timer("disk-record", "Note how full the disks are", "*-*-* 00:20")

WEEKS = 28
"""Days of the record that a forecast is made from."""
LEAST = 5
"""Days that the record must have."""
SOON = 30
"""Days before it is full that a disk is reported."""
SEEN = 365
"""Days to which a forecast is worth a word: nobody knows what is after that."""


@dataclass(frozen=True)
class Growth:
    """A disk over some days: kB that were used at first and at last, and kB in all."""

    path: str
    days: float
    before: int
    now: int
    size: int

    @property
    def left(self) -> Optional[int]:
        """Days until it is full; None if it does not fill, or nobody can say yet."""
        daily = (self.now - self.before) / self.days if self.days >= LEAST else 0.0
        return int((self.size - self.now) / daily) if daily > 0 else None

    def __str__(self) -> str:
        daily = (self.now - self.before) / self.days / 1024
        return (
            f"{self.path} is full in about {self.left} days, if it goes on growing by "
            f"{daily:.0f} MB a day, as in the last {self.days:.0f}"
        )


def growth(values: Sequence[str]) -> Growth:
    """Parse the values of a line: times and kB of the first and the last record, size, path."""
    began, before, ended, now, size, *path = values
    seconds = one(ended, Time) - one(began, Time)
    numbers = (one(before, Count), one(now, Count), one(size, Count))
    return Growth(one(" ".join(path), Path), seconds / DAY, *numbers)


def soonest(known: Mapping[str, Sequence[Growth]]) -> Optional[tuple[str, Growth]]:
    """The disk that is full first, and its host; None if none is within a year."""
    filling = [
        (one.left, name, one)
        for name, several in known.items()
        for one in several
        if one.left is not None and one.left <= SEEN
    ]
    if not filling:
        return None
    _, name, first = min(filling, key=lambda found: found[:2])
    return name, first
