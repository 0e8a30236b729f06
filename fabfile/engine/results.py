"""What became of a task on a host."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from .errors import FAILED, UNREACHABLE
from .script import CHECK, StepResult

SEVERITY = (
    "unreachable",
    "failed",
    "refused",
    "error",
    "unknown",
    "differs",
    "warn",
    "changed",
    "ran",
    "ok",
)
"""Every status a result may have, the gravest first."""

BROKEN = {"failed", "unconvinced"}
"""What a step may end in that stops its host."""

TOGETHER = "cluster"
"""Stands where a host's name does, for what all hosts are judged by together."""


@dataclass
class HostResult:
    """A task on one host: its parts, a status for the whole, and a sentence if it went wrong.

    `again`: what to type once it is mended, if not simply the task on that host.
    """

    task: str
    host: str
    mode: str
    status: str = ""
    sentence: str = ""
    seconds: float = 0.0
    again: str = ""
    parts: list[StepResult] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """What this result alone would make the run exit with."""
        if self.status == "unreachable":
            return UNREACHABLE
        if not self.fine:
            return FAILED
        judged_bad = self.mode == CHECK and self.status in {"differs", "error", "unknown"}
        return FAILED if judged_bad else 0

    @property
    def fine(self) -> bool:
        """Whether the next task may start."""
        return self.status not in {"failed", "refused", "unreachable"}

    def add(self, part: StepResult) -> None:
        """Append what became of a step or probe."""
        self.parts.append(part)

    def count(self, *statuses: str) -> int:
        """How many parts have one of these statuses."""
        return sum(part.status in statuses for part in self.parts)

    def settle(self) -> None:
        """Give the whole a status from its parts, unless it has one."""
        if not self.status:
            self.status = gravest(
                "failed" if part.status in BROKEN else part.status for part in self.parts
            )


def gravest(statuses: Iterable[str]) -> str:
    """The gravest of some statuses; ok if there are none."""
    found = set(statuses)
    return next((status for status in SEVERITY if status in found), "ok")
