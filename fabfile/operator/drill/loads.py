"""The clients that work while drills go on: where each runs, how it is, what it has met."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Optional

from runbook.declare.drills import Account, Load, Pulse, StepsOf
from runbook.errors import RunbookError
from runbook.inventory.cluster import Cluster, Host

from .measure import Figures, Window, figures, undone
from .site import Site

SETTLING = 240
"""Seconds that tasks have to end after a drill: one that was lost runs again after two minutes."""


CLEANING = 90
"""Seconds for which it is tried to remove what loads have made."""

Cleaning = tuple[str, list[Host], StepsOf]


@dataclass
class Working:
    """A load that works: on which host, and by how many seconds its clock is ahead."""

    load: Load
    host: Host
    ahead: float = 0.0


def place(load: Load, struck: Sequence[Host], cluster: Cluster) -> Optional[Host]:
    """Where a load runs: on a host that is not struck; on any, if all servers are; else nowhere."""
    candidates = list(load.on(cluster))
    left = [host for host in candidates if host not in struck]
    if left or len(struck) < len(cluster.hosts):
        return next(iter(left), None)
    return candidates[0]


class Loads:
    """The loads of some drills, one after the other."""

    def __init__(self, site: Site, loads: Sequence[Load]) -> None:
        self._site = site
        self._loads = loads
        self.working: list[Working] = []

    def prepare(self) -> None:
        """Remove what earlier drills have left, and make what the loads need."""
        self.clean(patience=0)
        for load in self._loads:
            host = load.on(self._site.cluster)[0]
            self._site.carry_out(f"prepare: {load.name}", [host], load.prepare)

    def start(self, struck: Sequence[Host]) -> None:
        """Let the loads work; returns when each has had something acknowledged."""
        for load in self._loads:
            host = place(load, struck, self._site.cluster)
            if host:
                self.working.append(Working(load, host))
                self._site.carry_out(f"load: {load.name}", [host], load.start)
        for one in self.working:
            self._warm(one)

    def _warm(self, one: Working) -> None:
        deadline = time.monotonic() + one.load.warming
        trouble = ""
        while time.monotonic() < deadline:
            try:
                pulse = self._pulse(one)
            except RunbookError as error:
                trouble = f": {error}"
            else:
                if pulse.acknowledged and pulse.waits < one.load.calm:
                    return
            time.sleep(1)
        raise RunbookError(f"the load does not work: {one.load.about}{trouble}")

    def _pulse(self, one: Working) -> Pulse:
        return self._site.ask(one.host, one.load.pulse(one.host, self._site.cluster), Pulse)

    def synchronise(self) -> None:
        """Learn by how much the clocks of the loads are ahead, before the fault."""
        for one in self.working:
            before = time.time()
            pulse = self._pulse(one)
            one.ahead = pulse.now - (before + time.time()) / 2

    def waiting(self, names: Sequence[str]) -> list[str]:
        """Those of these loads whose clients have to wait now, or that do not answer."""
        return [
            one.load.name for one in self.working if one.load.name in names and not self._calm(one)
        ]

    def _calm(self, one: Working) -> bool:
        try:
            return self._pulse(one).waits < one.load.calm
        except RunbookError:
            return False

    def stop(self) -> None:
        """No load works any more; what it has logged is kept."""
        for one in self.working:
            self._site.carry_out(f"end of load: {one.load.name}", [one.host], one.load.stop)

    def figures(
        self, window: Window, returns: bool, struck: Sequence[Host], measured: Sequence[str]
    ) -> list[Figures]:
        """What the loads have met.

        Those by which the drill is `measured` may end what was wanted, if that takes a while.
        """
        found = []
        for one in self.working:
            patience = SETTLING if one.load.calm > 10 and one.load.name in measured else 0
            account = self._settled(one, window.at(one.ahead), patience)
            died = one.host in struck
            found.append(figures(one.load, account, window.at(one.ahead), returns, died))
        return found

    def _settled(self, one: Working, window: Window, patience: float) -> Account:
        """Its account, once all that was wanted is done, or the time for it is over."""
        deadline = time.monotonic() + patience
        while True:
            question = one.load.account(one.host, self._site.cluster)
            account = self._site.ask(one.host, question, Account, within=60)
            if not undone(account, window) or time.monotonic() >= deadline:
                return account
            time.sleep(3)

    def forget(self) -> None:
        """The next drill begins without loads."""
        with suppress(RunbookError):
            self.stop()
        self.working = []

    def clean(self, patience: float = CLEANING) -> None:
        """Remove all that the loads of any drill have made; RunbookError if that fails for long.

        After a drill that was interrupted, the database may have no leader for a while.
        """
        deadline = time.monotonic() + patience
        for part in (self._removing(), self._sweeping()):
            left = list(part)
            while left:
                left, troubles = self._tried(left)
                if troubles and time.monotonic() >= deadline:
                    said = "; ".join(troubles)
                    raise RunbookError(
                        f"Not everything could be removed: {said}. Rerun: inv drill.clean"
                    )
                if left:
                    time.sleep(5)

    def _tried(self, work: Sequence[Cleaning]) -> tuple[list[Cleaning], list[str]]:
        """Carry it out, and return what has failed, and why."""
        left, troubles = [], []
        for one in work:
            try:
                self._site.carry_out(*one)
            except RunbookError as error:
                left.append(one)
                troubles.append(str(error))
        return left, troubles

    def _removing(self) -> Iterator[Cleaning]:
        cluster = self._site.cluster
        for load in self._loads:
            yield f"end of load: {load.name}", list(load.on(cluster)), load.stop
        for load in reversed(self._loads):
            yield f"remove: {load.name}", [load.on(cluster)[0]], load.clean

    def _sweeping(self) -> Iterator[Cleaning]:
        """What is left on servers, once nothing of a load is in use: it may be somebody else's."""
        swept = dict.fromkeys(entry for load in self._loads for entry in load.sweep)
        for hosts, steps in swept:
            yield "remove what is left", list(hosts(self._site.cluster)), steps
