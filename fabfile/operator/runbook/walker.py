"""A walk through the runbook: the next step that differs, one decision at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Callable, Optional

import msgspec

from runbook.declare.by_hand import Typed, typed
from runbook.declare.facts import Facts
from runbook.declare.placeholders import Placeholders
from runbook.declare.section import Section
from runbook.declare.step import Step
from runbook.declare.steps import not_noted
from runbook.declare.work import ControllerTask, StepTask, Work
from runbook.errors import FAILED, MissingFact, RunbookError, UsageError
from runbook.execute.conversation import take
from runbook.execute.run import Run
from runbook.execute.tasks import perform
from runbook.inventory.cluster import Host
from runbook.results import BROKEN, CHECK, DO, PLAN, HostResult, Status, StepResult

from .bookmark import Bookmark, Moved, Place, Walk
from .outcome import Outcome
from .person import QUIT, Person

PENDING = {Status.DIFFERS, Status.REFUSED, *BROKEN}
"""The statuses of a step that still has to be carried out."""


SHOWN = 60
"""The number of lines of a step's commands that are shown."""


class Quit(Exception):
    """The person quits the walk."""


@dataclass(frozen=True)
class Pending:
    """The next step of a host: where it stands among its task's steps, and why it is open."""

    host: Host
    index: int
    step: Step
    found: StepResult

    @property
    def by_hand(self) -> Typed:
        """As it is typed."""
        return typed([replace(self.step, notify=())])[0]


def one_by_one(steps: Iterable[Step]) -> list[Step]:
    """The steps, so that each can be run alone: restarts are noted, and become steps at the end.

    A run does the same in one go.
    """
    steps = list(dict.fromkeys(steps))
    handlers = {handler.name: handler for step in steps for handler in step.notify}
    noting = [
        replace(step, notify=tuple(replace(handler, apply="") for handler in step.notify))
        for step in steps
    ]
    restarts = [
        Step(handler.title, not_noted(handler), handler.apply, clears=(handler,))
        for handler in handlers.values()
        if handler.apply
    ]
    return [*noting, *restarts]


class Walker:
    """Walks a run's tasks with a person."""

    def __init__(
        self, run: Run, person: Person, bookmark: Bookmark, again: str = "inv runbook.walk"
    ) -> None:
        self._run = run
        self._person = person
        self._bookmark = bookmark
        self._again = again
        self._placeholders = Placeholders(run.cluster.vault)
        self._cluster = run.cluster.with_vault(self._placeholders)
        self._outcome = Outcome()

    def walk(self, sections: Sequence[tuple[Section, str]]) -> int:
        """Walk through these sections, or tasks of them, to the end or until the person quits."""
        works = [(section, work) for section, task in sections for work in _works(section, task)]
        if not any(self._run.hosts_for(work, within=section) for section, work in works):
            raise UsageError(f"{self._again}: there is nothing to do on these hosts.")
        try:
            for section, work in self._from_bookmark(works):
                self._task(section, work)
        except Quit:
            self._say(f"Stopped here; the next {self._again} continues at this step.")
        else:
            self._ends()
        return self._outcome.exit_code

    def _from_bookmark(self, works: list[tuple[Section, Work]]) -> list[tuple[Section, Work]]:
        walk = self._bookmark.open()
        names = [work.name for _, work in works]
        if not walk.at or walk.at.task not in names:
            return works
        self._say(
            f"Continuing at {walk.at.task}, where {walk.who} was at {walk.when}. "
            "To begin at the first step: --afresh"
        )
        return works[names.index(walk.at.task) :]

    def _ends(self) -> None:
        for sentence in self._outcome.sentences(self._bookmark.walk.skipped):
            self._say(sentence)
        self._move(lambda walk: Walk())

    def _task(self, section: Section, work: Work) -> None:
        hosts = self._run.hosts_for(work, within=section)
        if not hosts:
            return
        if isinstance(work, ControllerTask):
            self._here(work)
        elif isinstance(work, StepTask):
            takers = work.taken_by(hosts, self._cluster)
            facts = self._run.gather(work.needs, takers)
            batches = work.batches(takers, self._cluster) if work.batches else [takers]
            for batch in batches:
                self._batch(work, batch, facts, hosts)

    def _here(self, work: ControllerTask) -> None:
        """A task that runs on this machine; whether it is needed is not known."""
        while work.name not in self._bookmark.walk.done:
            self._say(f"\n{work.name}, on this machine: {work.summary}")
            answer = self._person.choose("rsq")
            if answer == QUIT:
                raise Quit
            if answer == "r" and not self._performed(work):
                continue
            self._move(lambda walk: msgspec.structs.replace(walk, done=(*walk.done, work.name)))

    def _performed(self, work: ControllerTask) -> bool:
        try:
            fine = perform(self._run, work, {})
        except RunbookError as error:
            self._say(str(error))
            fine = False
        self._outcome.record(work.name, "", fine)
        return fine

    def _batch(
        self, work: StepTask, batch: Sequence[Host], facts: Facts, hosts: Sequence[Host]
    ) -> None:
        """Hosts that do a task at the same time: the earliest step that is left comes first."""
        steps = self._steps(work, batch, facts, hosts)
        open_steps = self._judged(work, batch, steps)
        while open_steps:
            waiting = [open_steps[host.name] for host in batch if host.name in open_steps]
            first = min(waiting, key=lambda one: one.index)
            group = [one for one in waiting if one.by_hand == first.by_hand]
            moved = self._decide(work, group)
            again = batch if moved else [one.host for one in group]
            for host in again:
                open_steps.pop(host.name, None)
            open_steps.update(self._judged(work, again, steps))

    def _steps(
        self, work: StepTask, batch: Sequence[Host], facts: Facts, hosts: Sequence[Host]
    ) -> dict[str, list[Step]]:
        steps: dict[str, list[Step]] = {}
        for host in batch:
            try:
                steps[host.name] = one_by_one(work.steps(host, self._cluster, facts, hosts))
            except RunbookError as error:
                if error.exit_code != FAILED:
                    raise
                self._say(f"\n{work.name} on {host.name}: not known yet: {error}")
                missing = isinstance(error, MissingFact)
                left = self._outcome.unknown if missing else self._outcome.failed
                left.add((work.name, host.name))
        return steps

    def _judged(
        self, work: StepTask, hosts: Sequence[Host], steps: dict[str, list[Step]]
    ) -> dict[str, Pending]:
        """By host: its first step that differs from the wanted state and was not skipped."""
        skipped = set(self._bookmark.walk.skipped)

        def left(host: Host) -> list[Step]:
            return [
                step
                for step in steps[host.name]
                if Place(work.name, host.name, step.title) not in skipped
            ]

        def judge(host: Host) -> tuple[HostResult, Optional[Pending]]:
            own = left(host)
            result = take(self._run, work.name, host, own, CHECK, work.bootstrap)
            for part in result.parts:
                if part.status in PENDING:
                    step = own[part.index]
                    return result, Pending(host, steps[host.name].index(step), step, part)
            return result, None

        there = [
            host
            for host in hosts
            if host.name in steps and host.name not in self._outcome.unreachable
        ]
        judged = self._run.parallel([host for host in there if left(host)], judge)
        self._run.report.close()
        for result, _ in judged:
            self._note_trouble(result)
        return {found.host.name: found for _, found in judged if found}

    def _note_trouble(self, result: HostResult) -> None:
        if result.status is Status.UNREACHABLE:
            self._outcome.unreachable.add(result.host)
            self._run.conclude(result)
            self._say(f"\n{result.sentence} It is left out of this walk.")
        elif result.sentence and not result.parts:
            self._outcome.record(result.task, result.host, fine=False)
            self._run.conclude(result)
            self._say(f"\n{result.sentence}")

    def _decide(self, work: StepTask, group: list[Pending]) -> bool:
        """Ask until the step is run or skipped; True if somebody else has continued meanwhile."""
        first = group[0]
        names = ", ".join(one.host.name for one in group)
        place = Place(work.name, first.host.name, first.step.title)
        try:
            if self._bookmark.walk.at != place:
                self._bookmark.move(lambda walk: msgspec.structs.replace(walk, at=place))
            self._present(f"{work.name} on {names}", first)
            while True:
                answer = self._person.choose("rsdhq" if self._person.at_terminal else "rsdq")
                if answer == QUIT:
                    raise Quit
                if answer == "d":
                    self._diff(work, group)
                elif answer == "h":
                    self._shell(work, first.host)
                else:
                    self._bookmark.move(lambda walk: walk)  # of two people only one gets past this
                    (self._take if answer == "r" else self._skip)(work, group)
                    return False
        except Moved as news:
            where = f" to {news.walk.at.task}" if news.walk.at else ""
            self._say(f"\n{news.walk.who} has continued meanwhile{where}. Checking again.")
            return True

    def _present(self, where: str, pending: Pending) -> None:
        by_hand = pending.by_hand
        self._say(f"\n{where}\n* {by_hand.title}")
        if by_hand.when:
            self._say(f"  {by_hand.when}")
        for handler in pending.step.notify:
            self._say(f"  If that changes something: {handler.title}, later.")
        lines = self._placeholders.shown(by_hand.commands).splitlines()
        self._say("\n".join(lines[:SHOWN]))
        if len(lines) > SHOWN:
            task = where.partition(" ")[0]
            self._say(f"… {len(lines) - SHOWN} more lines: inv runbook.show {task} --ask")
        for line in pending.found.lines:
            self._say(f"    {self._placeholders.shown(line)}")

    def _take(self, work: StepTask, group: list[Pending]) -> None:
        steps = {one.host.name: one.step for one in group}
        hosts = [one.host for one in group]
        report = self._run.report
        self._run.begin(work.name, group[0].step.title, hosts, DO)
        results = self._run.each(
            hosts,
            lambda host: take(self._run, work.name, host, [steps[host.name]], DO, work.bootstrap),
        )
        report.task_ends()
        for result in results:
            result.rerun = "answer r again"
        report.failures(results)
        for result in results:
            self._outcome.record(work.name, result.host, result.fine)
            if result.status is Status.UNREACHABLE:
                self._outcome.unreachable.add(result.host)
                self._say(f"{result.host} is left out of this walk; the next one tries it again.")

    def _skip(self, work: StepTask, group: list[Pending]) -> None:
        places = tuple(Place(work.name, one.host.name, one.step.title) for one in group)
        for place in places:
            self._run.journal.write(
                task=place.task, host=place.host, mode="walk", step=place.step, result="skipped"
            )
        self._move(lambda walk: msgspec.structs.replace(walk, skipped=(*walk.skipped, *places)))

    def _diff(self, work: StepTask, group: list[Pending]) -> None:
        # Without its notes: nothing that only a diff was asked for makes a later task think that
        # a restart is due.
        steps = {one.host.name: replace(one.step, notify=(), clears=()) for one in group}
        results = self._run.parallel(
            [one.host for one in group],
            lambda host: take(self._run, work.name, host, [steps[host.name]], PLAN, work.bootstrap),
        )
        self._run.report.close()
        for result in results:
            lines = [line for part in result.parts for line in part.output]
            lines = lines or [result.sentence or "no diff is available; see the commands"]
            self._say(f"[{result.host}]")
            for line in lines:
                self._say(f"    {self._placeholders.shown(line)}")

    def _shell(self, work: StepTask, host: Host) -> None:
        """A root shell on the host, until the person leaves it."""
        try:
            connection = self._run.connections.open(host)
        except RunbookError as error:
            self._say(str(error))
            return
        self._run.journal.write(task=work.name, host=host.name, mode="walk", result="shell")
        self._say(f"A root shell on {host.name}; exit brings you back here.")
        become = "bash -l" if connection.user == "root" else "sudo -i"
        connection.run(become, pty=True, warn=True)

    def _move(self, change: Callable[[Walk], Walk]) -> None:
        """Move the bookmark, even if somebody else has moved it meanwhile."""
        while True:
            try:
                self._bookmark.move(change)
                return
            except Moved:
                continue

    def _say(self, text: str) -> None:
        self._run.report.say(text)


def _works(section: Section, task: str) -> list[Work]:
    """A section's tasks in order, or the one that is named."""
    if not task:
        return section.in_order()
    [work] = [one for one in section.work if one.name == task]
    if not isinstance(work, (StepTask, ControllerTask)):
        raise UsageError(f"{task} has no steps of its own to walk through; run it: fab {task}")
    return [work]
