"""Some drills, one after the other: each begins only while the cluster is well."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from runbook.declare.drills import Drill, Outage
from runbook.errors import RunbookError

from ...shared.versions import Versions
from ..checkpoint import forget, recall
from .course import Conductor, Course, interruptible
from .ground import Ground
from .known import exposed, known
from .known import loads as all_loads
from .ledger import FAILED, MISSED, NOT_RUN, Entry, Standing, alone_with, append, standing
from .loads import Loads
from .measure import Figures
from .site import Site, not_ok
from .verdict import counted, verdict

if TYPE_CHECKING:
    from runbook.execute.run import Run

ONLY_IN_A_LAB = "only a lab may have such a fault"

CALM = 120
"""Seconds that the status has to be OK again before the next drill: one may be judged too soon."""


class Round:
    """The drills of one command."""

    def __init__(self, run: Run, ground: Ground) -> None:
        self._run = run
        self._site = Site(run)
        self._ground = ground
        self._loads = Loads(self._site, all_loads(run.contents, run.cluster))
        self._conductor = Conductor(self._site, ground, self._loads, self._say)
        self._made = self._prepared = False

    def _say(self, text: str) -> None:
        """Tell the user; no fault stands because a terminal was closed, or a signal came now."""
        with suppress(OSError, RuntimeError):
            self._run.report.say(text)

    def carry_out(self, drills: Sequence[Drill], times: int) -> list[Entry]:
        """All of them, each so many times; what they need is removed at the end."""
        entries = []
        ends = ""
        state = self._run.cluster.state
        with alone_with(state), interruptible([]), self._cleaned():
            for drill in [drill for drill in drills for _ in range(times)]:
                self._say(f"\n{drill.name}: {drill.sentence}")
                entry = self._entry(drill)
                entries.append(entry)
                if not self._ground.allows(drill):
                    entry.why = [ONLY_IN_A_LAB]
                elif ends:
                    entry.why = [ends]
                else:
                    self._attempt(drill, entry)
                    if entry.word in (FAILED, NOT_RUN):
                        ends = self._why_not_on(entry)
                self._note(entry)
                self._say(told(entry))
        return entries

    def _entry(self, drill: Drill) -> Entry:
        versions = self._run.cluster[Versions]
        return Entry(
            when=time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            run=self._run.journal.run,
            who=self._run.journal.who,
            cluster=self._run.cluster.name,
            ground=self._ground.name,
            drill=drill.name,
            sentence=drill.sentence,
            mark=drill.mark.seconds,
            trade=drill.trade,
            versions={name: getattr(versions, name) for name in versions.__struct_fields__},
        )

    def _attempt(self, drill: Drill, entry: Entry) -> None:
        course = Course(drill, ())
        try:
            self._refuse_unready(drill)
            self._prepare()
            facts = self._site.facts(drill.target.needs)
            course.struck = drill.target.hosts(self._run.cluster, facts)
            entry.struck = [host.name for host in course.struck]
            entry.exposed = exposed(drill, course.struck, self._run.cluster)
            self._conductor.carry_out(course)
        except RunbookError as error:
            entry.word = FAILED if course.fault else NOT_RUN
            entry.why = [str(error)]
        except KeyboardInterrupt:
            entry.word = FAILED if course.fault else NOT_RUN
            entry.why = ["interrupted"]
            self._note(entry)
            raise
        else:
            entry.word, entry.why = verdict(course, entry.exposed)
            entry.seconds, entry.alone, entry.loads = course.seconds, course.alone, course.figures
            entry.well = round(course.closed - course.heal, 1) if course.well else None

    def _note(self, entry: Entry) -> None:
        """Write down what became of a drill, without passwords."""
        entry.why = self._run.report.masked(entry.why)
        for one in entry.loads:
            one.errors = self._run.report.masked(one.errors)
        append(self._run.cluster.state, entry)

    def _prepare(self) -> None:
        if not self._prepared:
            self._say("  preparing the load")
            self._made = True
            self._loads.prepare()
            self._prepared = True

    def _refuse_unready(self, drill: Drill) -> None:
        """RunbookError if the cluster is not in a state in which it may be struck."""
        left = recall(standing(self._run.cluster.state), Standing)
        if left.drill:
            raise RunbookError(
                f"the fault of {left.drill} (on {', '.join(left.struck)}) was not ended. "
                "To end it: inv drill.clean"
            )
        plugs = self._ground.plugs
        for name, state in (plugs.standing() if plugs else {}).items():
            raise RunbookError(f"{name} is {state}. To end that: inv lab.heal {name}")
        seen = self._site.until_ok(CALM if self._prepared else 0)
        if seen.exit_code:
            raise RunbookError(not_ok(seen))
        if not drill.soft:
            self._refuse_unsafe()

    def _refuse_unsafe(self) -> None:
        own = [one.drill_precondition for one in self._run.contents.sections]
        preconditions = [one for one in own if one]
        needs = [fact for one in preconditions for fact in one.needs]
        facts = self._site.facts(list(dict.fromkeys(needs)))
        for one in preconditions:
            for reason in one.reasons(self._run.cluster, facts):
                raise RunbookError(reason)

    def _why_not_on(self, entry: Entry) -> str:
        """Why the next drill must not begin; empty if it may."""
        seen = self._site.look()
        return f"{not_ok(seen)}, since {entry.drill}" if seen.exit_code else ""

    @contextmanager
    def _cleaned(self) -> Iterator[None]:
        """Afterwards, nothing of the loads is left."""
        try:
            yield
        finally:
            if self._made:
                self._say("\nremoving the load")
                self._remove()

    def _remove(self) -> None:
        try:
            self._loads.clean()
        except KeyboardInterrupt:
            self._say("  interrupted; to remove the rest: inv drill.clean")
            raise

    def clean(self) -> None:
        """End a fault that an interrupted command has left, and remove all that loads have made."""
        state = self._run.cluster.state
        with alone_with(state):
            left = recall(standing(state), Standing)
            if left.drill:
                self._end(left)
                forget(standing(state))
            self._loads.clean()

    def _end(self, left: Standing) -> None:
        cluster = self._run.cluster
        by_name = {drill.name: drill for drill in known(self._run.contents, cluster)}
        struck = [cluster.hosts[name] for name in left.struck if name in cluster.hosts]
        drill = by_name.get(left.drill)
        if not drill:
            raise RunbookError(
                f"A fault of {left.drill} stands on {', '.join(left.struck)}, which hosts.yaml "
                f"does not have any more. End it, then remove {standing(cluster.state)}."
            )
        if isinstance(drill.fault, Outage) and not self._ground.plugs:
            raise RunbookError(
                f"The fault of {left.drill} was caused in a lab; run this there: "
                "inv lab.exec -- inv drill.clean"
            )
        self._say(f"ending the fault of {left.drill} on {', '.join(left.struck)}")
        self._conductor.heal(drill, struck)


def told(entry: Entry) -> str:
    """What became of a drill, for the terminal."""
    lines = [f"  {entry.word}{': ' * bool(entry.why)}{'; '.join(entry.why)}"]
    lines += [f"    {figure(one)}" for one in entry.loads]
    if entry.word == MISSED and entry.trade:
        lines.append(f"    why: {entry.trade}")
    if entry.exposed and entry.exposed != entry.why:
        lines.append(f"    without a second server: {'; '.join(entry.exposed)}")
    return "\n".join(lines)


def figure(one: Figures) -> str:
    """What a load has met, in a line."""
    late = f" ({one.lossy})" if one.lost and one.lossy else ""
    said = {
        counted(one.acknowledged, one.item): True,
        f"{one.seconds or 0:g} s without service": one.seconds is not None,
        f"{one.lost} lost{late}": one.lost is not None,
        f"{one.twice} twice": one.twice,
        f"{one.retried} retried": one.retried,
    }
    return f"{one.load}: {', '.join(words for words, wanted in said.items() if wanted)}"
