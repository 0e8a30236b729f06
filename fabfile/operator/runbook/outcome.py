"""The outcome of a walk: what failed, which hosts were not reached, what is not known yet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from runbook.errors import FAILED, UNREACHABLE

from .bookmark import Place


@dataclass
class Outcome:
    """Task and host of what failed and of what is not known yet; hosts that did not answer."""

    failed: set[tuple[str, str]] = field(default_factory=set)
    unknown: set[tuple[str, str]] = field(default_factory=set)
    unreachable: set[str] = field(default_factory=set)

    def record(self, task: str, host: str, fine: bool) -> None:
        """A task failed, or succeeded after all; host is empty for one on this machine."""
        (self.failed.discard if fine else self.failed.add)((task, host))

    def sentences(self, skipped: Iterable[Place]) -> Iterator[str]:
        """A line for each thing that is left to do, and a last one that sums up."""
        left = [f"skipped: {place.task} on {place.host}: {place.step}" for place in skipped]
        left += [f"not known yet: {task} on {host}" for task, host in sorted(self.unknown)]
        left += [
            f"failed: {task}{f' on {host}' if host else ''}" for task, host in sorted(self.failed)
        ]
        left += [f"unreachable: {host}" for host in sorted(self.unreachable)]
        yield from left
        yield "Done, except for the lines above." if left else "Everything is in the wanted state."

    @property
    def exit_code(self) -> int:
        """The command's exit code."""
        if self.failed:
            return FAILED
        return UNREACHABLE if self.unreachable else 0
