"""Results of steps, probes and tasks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Optional

from runbook.declare.probes import CLUSTER_WIDE, Finding
from runbook.errors import FAILED, UNREACHABLE


class Mode(str, Enum):
    """What is done with the steps of a task."""

    DO = "do"
    PLAN = "plan"
    CHECK = "check"

    __str__ = str.__str__


DO, PLAN, CHECK = Mode.DO, Mode.PLAN, Mode.CHECK


class Status(str, Enum):
    """The status in which a step, a probe or a host may end, the most serious first."""

    UNREACHABLE = "unreachable"
    FAILED = "failed"
    NO_EFFECT = "no_effect"
    REFUSED = "refused"
    ERROR = "error"
    UNKNOWN = "unknown"
    DIFFERS = "differs"
    WARN = "warn"
    CHANGED = "changed"
    RAN = "ran"
    OK = "ok"

    __str__ = str.__str__

    @property
    def of_host(self) -> Status:
        """The status of a host on which a step ended in this status."""
        return Status.FAILED if self is Status.NO_EFFECT else self


BROKEN = frozenset({Status.FAILED, Status.NO_EFFECT})
"""Statuses of a step after which its host stops."""


@dataclass
class StepResult:
    """The result of a step or a probe: status, seconds, exit code and output.

    The result of a probe has a finding.
    """

    title: str
    command: str
    status: Optional[Status] = None
    index: int = -1
    seconds: float = 0.0
    code: int = 0
    output: list[str] = field(default_factory=list)
    finding: Optional[Finding] = None

    @property
    def said(self) -> str:
        """The title, and the finding's sentence."""
        sentence = self.finding.verdict.sentence if self.finding else ""
        return f"{self.title}: {sentence}" if sentence else self.title

    @property
    def lines(self) -> list[str]:
        """The output; if there is a finding that is not ok, the fix instead."""
        if not self.finding:
            return self.output
        return [f"fix: {self.finding.fix}"] if self.finding.fix and self.status != "ok" else []

    def judged(self, finding: Finding) -> StepResult:
        """This result, with the finding that resulted from the answer."""
        self.finding = finding
        self.status = Status(finding.verdict.level.value)
        return self


@dataclass
class HostResult:
    """A task on one host: its parts, a status for the whole, and a sentence if it went wrong.

    `rerun`: what to type after the fix, if not simply the task on that host.
    """

    task: str
    host: str
    mode: Mode
    status: Optional[Status] = None
    sentence: str = ""
    seconds: float = 0.0
    rerun: str = ""
    parts: list[StepResult] = field(default_factory=list)

    @property
    def section(self) -> str:
        """The section of the task."""
        return self.task.partition(".")[0]

    @property
    def cluster_wide(self) -> bool:
        """Whether it concerns no single host."""
        return self.host == CLUSTER_WIDE

    @property
    def exit_code(self) -> int:
        """The exit code of a run that has only this result."""
        if self.status is Status.UNREACHABLE:
            return UNREACHABLE
        if not self.fine:
            return FAILED
        not_fine = {Status.DIFFERS, Status.ERROR, Status.UNKNOWN}
        return FAILED if self.mode == CHECK and self.status in not_fine else 0

    @property
    def fine(self) -> bool:
        """Whether the next task may start."""
        return self.status not in {Status.FAILED, Status.REFUSED, Status.UNREACHABLE}

    @property
    def findings(self) -> list[Finding]:
        """The findings of its probes."""
        return [part.finding for part in self.parts if part.finding]

    def add(self, part: StepResult) -> None:
        """Append the result of a step or probe."""
        self.parts.append(part)

    def count(self, *statuses: Status) -> int:
        """How many parts have one of these statuses."""
        return sum(part.status in statuses for part in self.parts)

    def settle(self) -> None:
        """Give the whole a status from its parts, unless it has one."""
        if not self.status:
            self.status = gravest(part.status.of_host for part in self.parts if part.status)


def gravest(statuses: Iterable[Optional[Status]]) -> Status:
    """The most serious of some statuses; ok if there are none."""
    found = set(statuses)
    return next((status for status in Status if status in found), Status.OK)
