"""What drills do to the cluster, and ask it: each time with connections that are tried anew."""

from __future__ import annotations

import io
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

from runbook.declare.answers import of_json
from runbook.declare.drills import StepsOf
from runbook.declare.facts import Fact, Facts
from runbook.declare.operations import Phase
from runbook.declare.work import Procedure, stage
from runbook.errors import RunbookError, UnreachableError
from runbook.inventory.cluster import Cluster, Host
from runbook.results import BROKEN, CHECK, HostResult

from ..status.picture import Picture

if TYPE_CHECKING:
    from runbook.execute.run import Run

T = TypeVar("T")

TASK = "drill.run"
"""The task's name in the journal."""

PAUSE = 2
"""Seconds between two looks at the status."""


class Site:
    """The cluster, as drills reach it."""

    def __init__(self, run: Run) -> None:
        self._run = run

    @property
    def cluster(self) -> Cluster:
        """The inventory."""
        return self._run.cluster

    def _fresh(self) -> Run:
        """A run of its own, that knows nothing of hosts that did not answer earlier ones."""
        from runbook.execute.concurrent import separate_run

        report = self._run.report.separate(io.StringIO(), later=True)
        return separate_run(self._run, self._run.connections, report, fresh=True)

    def facts(self, needs: Sequence[Fact[object]]) -> Facts:
        """Facts, as they are now."""
        return self._fresh().gather(needs, list(self.cluster.hosts.values()))

    def carry_out(self, title: str, hosts: Sequence[Host], steps: StepsOf) -> None:
        """Carry out steps on some hosts at the same time; RunbookError if one fails."""
        from runbook.operate.phases import carry_out

        wanted = {host.name: list(steps(host, self.cluster)) for host in hosts}
        busy = [host for host in hosts if wanted[host.name]]
        if not busy:
            return

        def stages(hosts: Sequence[Host], cluster: Cluster, facts: Facts) -> Procedure:
            yield stage(title, busy, lambda host: iter(wanted[host.name]))

        own = self._fresh()
        if not carry_out(own, TASK, Phase("drill", stages), busy):
            for name in own.lost:
                own.connections.drop(self.cluster.hosts[name])
            raise RunbookError(f"{title}: {wrong(own.results)}")

    def perform(self, task: str) -> None:
        """Carry out a task of `fab`; RunbookError if it fails."""
        from runbook.operate.checks import perform_named

        own = self._fresh()
        if not perform_named(own, task):
            raise RunbookError(f"{task}: {wrong(own.results)}")

    def ask(self, host: Host, question: str, kind: type[T], within: int = 10) -> T:
        """The answer of a host, as a value of this kind; RunbookError if it is none in time."""
        from runbook.execute.survey import plain, put
        from runbook.script import compile_script

        own = self._fresh()
        try:
            own.connections.open(host)
            [answer] = put(own, host, compile_script([], plain([question]), CHECK, at_once=within))
        except UnreachableError:
            own.connections.drop(host)
            raise
        if answer.code:
            said = answer.text.strip().splitlines() or ["it does not answer"]
            raise RunbookError(f"{host.name}: {said[-1]}")
        try:
            return of_json(answer.text, kind)
        except ValueError as error:
            raise RunbookError(f"{host.name} answered what is not expected: {error}") from None

    def look(self) -> Picture:
        """The status now."""
        from ..status.look import look

        return look(self._fresh())

    def until_ok(self, patience: float) -> Picture:
        """The first status that is OK, or the last one when the time is over."""
        deadline = time.monotonic() + patience
        while True:
            seen = self.look()
            if not seen.exit_code or time.monotonic() >= deadline:
                return seen
            time.sleep(PAUSE)


def wrong(results: Iterable[HostResult]) -> str:
    """What went wrong, in a line."""
    for result in results:
        for part in result.parts:
            if part.status in BROKEN:
                said = next((line for line in reversed(part.output) if line.strip()), "")
                return f"{result.host} failed at: {part.title}{f' ({said.strip()})' * bool(said)}"
        if not result.fine:
            return result.sentence or f"{result.host} is {result.status}"
    return "it failed"


def not_ok(seen: Picture) -> str:
    """Why a status is not OK, in a line."""
    codes = ", ".join(dict.fromkeys(problem.code for problem in seen.problems))
    return f"the status is {seen.word}{f' ({codes})' * bool(codes)}: inv cluster.status"
