"""What became of a task on a host."""

from __future__ import annotations

from dataclasses import dataclass, field

from .errors import FAILED, UNREACHABLE
from .script import CHECK, StepResult

FAILED_PARTS = {"failed", "unconvinced"}


@dataclass
class HostResult:
    """A task on one host: its parts, a status for the whole, and a sentence if it went wrong.

    Status: ok, changed, differs (plan or check), unknown, refused, failed or unreachable.
    """

    task: str
    host: str
    mode: str
    status: str = ""
    sentence: str = ""
    seconds: float = 0.0
    parts: list[StepResult] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """What this result alone would make the run exit with."""
        if self.status == "unreachable":
            return UNREACHABLE
        if not self.fine:
            return FAILED
        return FAILED if self.mode == CHECK and self.status in {"differs", "unknown"} else 0

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
        if self.status:
            return
        statuses = {part.status for part in self.parts}
        if statuses & FAILED_PARTS:
            self.status = "failed"
        else:
            order = ("differs", "unknown", "warn", "changed")
            self.status = next((status for status in order if status in statuses), "ok")
