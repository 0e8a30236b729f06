"""The course of one drill: load, fault, watch, heal, verify. Whatever happens, the fault ends."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Callable, Optional

from runbook.declare.drills import OK_AGAIN, Deed, Drill, Operation, Outage
from runbook.errors import RunbookError
from runbook.inventory.cluster import Host

from ..checkpoint import forget, keep
from ..status.picture import Picture
from .ground import Ground
from .known import out
from .ledger import Standing, standing
from .loads import Loads
from .measure import Figures, Window
from .site import Site, not_ok

WARMTH = 5
"""Seconds for which the loads work before the fault."""
HEALTHY = 600
"""Seconds that the status has to become OK after the fault has ended."""
REPAIR = 180
"""Seconds after which a drill's repair is carried out instead."""
ATTEMPTS = 10
"""How often the end of a fault is tried: a server may be about to boot, or still carry it out."""

Say = Callable[[str], None]


@dataclass
class Course:
    """What happened in a drill, and when, as seconds since 1970.

    `out`: loads that measure it, but cannot work while these hosts are away. `back`: there was
    service again before the fault was healed.
    """

    drill: Drill
    struck: Sequence[Host]
    out: list[str] = field(default_factory=list)
    opened: float = 0.0
    fault: float = 0.0
    heal: float = 0.0
    closed: float = 0.0
    back: bool = False
    repaired: bool = False
    well: bool = False
    status: str = ""
    figures: list[Figures] = field(default_factory=list)

    @property
    def alone(self) -> bool:
        """Whether the cluster recovered by itself: before the heal, if it should, and after it."""
        return (self.back or not self.drill.alone) and self.well and not self.repaired

    @property
    def window(self) -> Window:
        """The moments between which loads are measured."""
        begins = self.heal if self.drill.from_heal else self.fault
        return Window(self.opened, self.fault, begins, self.closed)

    @property
    def seconds(self) -> Optional[float]:
        """The figure by which the drill is judged; None if nothing has measured it."""
        if OK_AGAIN in self.drill.measure:
            return round(self.closed - self.heal, 1) if self.well else None
        found = [one.seconds for one in self.figures if one.load in self.drill.measure]
        return max((one for one in found if one is not None), default=None)


@dataclass
class Conductor:
    """Who carries out drills on a site."""

    site: Site
    ground: Ground
    loads: Loads
    say: Say

    def carry_out(self, course: Course) -> None:
        """Carry out a drill; RunbookError if it cannot begin, or cannot be measured."""
        course.opened = time.time()
        try:
            self.loads.start(course.struck)
            self._refuse_unmeasured(course)
            self._say_where()
            time.sleep(WARMTH)
            self.loads.synchronise()
            self._strike_and_heal(course)
            self._recover(course)
            self.loads.stop()
            self._measure(course)
        finally:
            self.loads.forget()

    def _measure(self, course: Course) -> None:
        """What the loads have met; of a cluster that is not well, as far as they can say it."""
        try:
            course.figures = self.loads.figures(
                course.window, course.drill.from_heal, course.struck, course.drill.measure
            )
        except RunbookError:
            if course.well:
                raise

    def _refuse_unmeasured(self, course: Course) -> None:
        measure = course.drill.measure
        working = [one.load for one in self.loads.working if one.load.name in measure]
        if not working and OK_AGAIN not in measure:
            raise RunbookError(f"no other server can measure it by {' and '.join(measure)}.")
        cluster = self.site.cluster
        course.out = [
            load.name for load in working if out(load, course.drill, course.struck, cluster)
        ]

    def _say_where(self) -> None:
        where: dict[str, list[str]] = {}
        for one in self.loads.working:
            where.setdefault(one.host.name, []).append(one.load.name)
        told = "; ".join(f"{', '.join(names)} from {host}" for host, names in where.items())
        self.say(f"  load: {told}")

    def _strike_and_heal(self, course: Course) -> None:
        drill, names = course.drill, [host.name for host in course.struck]
        if isinstance(drill.fault, Deed):
            self.site.carry_out(f"before the fault: {drill.name}", course.struck, drill.fault.ready)
        state = self.site.cluster.state
        moment = time.strftime("%Y-%m-%d %H:%M:%S")
        with uninterrupted(self.say) as came:
            try:
                with interruptible(came):
                    keep(standing(state), Standing(drill.name, names, moment))
                    course.fault = time.time()
                    self._strike(course)
                    self.say(f"  struck: {', '.join(names)}")
                    course.back = self._watch(course)
            finally:
                if came:
                    self.say("  interrupted: the fault is ended first")
                course.heal = time.time()
                self.heal(drill, course.struck)
                forget(standing(state))

    def _strike(self, course: Course) -> None:
        fault = course.drill.fault
        if isinstance(fault, Operation):
            self.site.perform(fault.task)
        elif isinstance(fault, Deed):
            self.site.carry_out(f"fault: {course.drill.name}", course.struck, fault.strike)
        elif self.ground.plugs:
            self.ground.plugs.strike([host.name for host in course.struck], fault.kind)

    def _watch(self, course: Course) -> bool:
        """Whether the loads work again before the time for it is over."""
        drill, began = course.drill, time.monotonic()
        names = {*drill.measure} - {*course.out}
        watched = [one.load.name for one in self.loads.working if one.load.name in names]
        while True:
            time.sleep(1)
            passed = time.monotonic() - began
            if passed < drill.watch:
                continue
            waiting = self.loads.waiting(watched)
            if not waiting and watched:
                self.say(f"  watched for {passed:.0f} s: service for {', '.join(watched)}")
                return True
            if passed >= drill.patience or not watched:
                said = f"no service for {', '.join(waiting)}" if waiting else "the fault stands"
                self.say(f"  watched for {passed:.0f} s: {said}")
                return False

    def heal(self, drill: Drill, struck: Sequence[Host]) -> None:
        """End a fault; an error if that fails again and again."""
        for left in reversed(range(ATTEMPTS)):
            try:
                self._heal(drill, struck)
            except (RunbookError, OSError) as error:
                self.say(f"  not healed yet: {error}")
                if not left:
                    self.say("  the fault stands. To end it: inv drill.clean")
                    raise
                time.sleep(5)
            else:
                return

    def _heal(self, drill: Drill, struck: Sequence[Host]) -> None:
        if isinstance(drill.fault, Deed):
            self.site.carry_out(f"heal: {drill.name}", struck, drill.fault.undo)
        elif isinstance(drill.fault, Outage):
            if not self.ground.plugs:
                raise RunbookError("Only the lab in which this fault was caused can end it.")
            self.ground.plugs.heal([host.name for host in struck])

    def _recover(self, course: Course) -> None:
        """Wait until the status is OK; carry out the drill's repair if it is not in time."""
        repair = course.drill.repair
        seen = self.site.until_ok(REPAIR if repair else HEALTHY)
        if seen.exit_code and repair:
            course.repaired = True
            for task in repair:
                self.say(f"  the cluster does not recover by itself: fab {task}")
                self.site.perform(task)
            seen = self.site.until_ok(HEALTHY)
        course.closed = time.time()
        self._told(course, seen)

    def _told(self, course: Course, seen: Picture) -> None:
        course.well = not seen.exit_code
        course.status = "" if course.well else not_ok(seen)
        after = course.closed - course.heal
        self.say(f"  healed; {course.status or 'the status is OK'} after {after:.0f} s")


@contextmanager
def uninterrupted(say: Say) -> Iterator[list[int]]:
    """Finish what is in progress, whatever signal comes; it takes effect afterwards.

    The signals that came are in the list; they count more than an error that comes with them.
    """
    came: list[int] = []

    def later(number: int, frame: Optional[FrameType]) -> None:
        came.append(number)
        say("  interrupted: the fault is ended first")

    try:
        with handled(later):
            yield came
    finally:
        if came:
            raise KeyboardInterrupt


@contextmanager
def interruptible(came: list[int]) -> Iterator[None]:
    """A closed terminal or a request to end counts as Ctrl-C, so that every fault is ended."""

    def now(number: int, frame: Optional[FrameType]) -> None:
        came.append(number)
        raise KeyboardInterrupt

    with handled(now):
        if came:
            raise KeyboardInterrupt
        yield


@contextmanager
def handled(handler: Callable[[int, Optional[FrameType]], None]) -> Iterator[None]:
    """For this long, these signals go to the handler; those that are ignored (nohup) stay so."""
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    heeded = [number for number in signals if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in heeded}
    try:
        yield
    finally:
        for number, handling in before.items():
            signal.signal(number, handling)
