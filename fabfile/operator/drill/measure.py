"""What a drill has cost, from what its loads say; pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Optional

import msgspec

from runbook.declare.drills import Account, Item, Load


@dataclass(frozen=True)
class Window:
    """The moments of a drill, as seconds since 1970.

    `opened`: the loads have begun. `begins`: the time that is measured begins, with the fault or
    with its end. `struck`: the fault. `closed`: the status is OK again.
    """

    opened: float
    struck: float
    begins: float
    closed: float

    def at(self, offset: float) -> Window:
        """The same moments by a clock that is ahead by this many seconds."""
        moments = (self.opened, self.struck, self.begins, self.closed)
        return Window(*(moment + offset for moment in moments))


class Figures(msgspec.Struct):
    """What one load has met.

    `seconds`: the longest that an item had to wait, beyond the `usual`; None if the load's own
    server was struck. `lost`: acknowledged items that are not there; None if nothing is kept.
    `twice`: how many are there more than once. `retried`: how many took several attempts. `lossy`:
    why some may be lost by design.
    """

    load: str
    item: str
    seconds: Optional[float]
    usual: float
    acknowledged: int
    lost: Optional[int]
    twice: int = 0
    retried: int = 0
    lossy: str = ""
    errors: list[str] = []


def figures(
    load: Load, account: Account, window: Window, returns: bool = False, died: bool = False
) -> Figures:
    """What a load has met in the window, which is given by its own clock.

    `returns`: the drill is about servers that come back: what a lossy load had acknowledged before
    the fault does not count, but the rest must not be lost. `died`: its own server was struck, so
    it waited for nothing.
    """
    items = [one for one in account.items if window.opened <= one.wanted <= window.closed]
    usual = usual_wait(account.items, window)
    waits = [waited(one, window) for one in items if not _done_before(one, window.begins)]
    there = None if account.there is None else Counter(account.there)
    acknowledged = [one for one in items if one.done is not None]
    late = [one for one in acknowledged if not _done_before(one, window.struck)]
    judged = late if returns and load.lossy else acknowledged
    return Figures(
        load=load.name,
        item=load.item,
        seconds=None if died else round(max(0.0, max(waits, default=0.0) - usual), 1),
        usual=round(usual, 2),
        acknowledged=len(acknowledged),
        lost=None if there is None else sum(one.number not in there for one in judged),
        twice=sum(there[one.number] > 1 for one in items) if there else 0,
        retried=sum(one.retried for one in items),
        lossy="" if returns else load.lossy,
        errors=account.errors,
    )


def usual_wait(items: Sequence[Item], window: Window) -> float:
    """How long an item waits while nothing is wrong: before the fault."""
    before = [one.done - one.wanted for one in items if one.done and one.done <= window.struck]
    return float(median(before)) if before else 0.0


def waited(item: Item, window: Window) -> float:
    """How long an item waited in the window; one that was not acknowledged waits until its end."""
    end = window.closed if item.done is None else item.done
    return end - max(item.wanted, window.begins)


def _done_before(item: Item, moment: float) -> bool:
    return item.done is not None and item.done <= moment


def undone(account: Account, window: Window) -> int:
    """How many items that were wanted in the window are not acknowledged yet."""
    return sum(
        one.done is None and window.opened <= one.wanted <= window.closed for one in account.items
    )
