"""What two runs did differently."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from runbook.results import Status, gravest

from .entries import RunEntries

FAR = 2.0
"""A difference in time: one run took at least this many times as long as the other on a host …"""

SECONDS = 1.0
"""… and at least this many seconds more."""

STATUSES = {status.value for status in Status}

ABSENT = "not there"
FINE = "ok"
NOT_REACHED = "not reached"
STOPPED = {"failed", "refused", "unreachable"}


@dataclass(frozen=True)
class Difference:
    """What differs between two runs, on these hosts; without a step it is the host as a whole."""

    task: str
    step: str
    a: str
    b: str
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """A task on a host: its result, its seconds, and the steps that were not OK."""

    result: str
    seconds: float
    steps: dict[str, str]

    def of_step(self, step: str) -> str:
        """The result of a step; one that the journal does not name was OK, or was not reached."""
        return self.steps.get(step) or (NOT_REACHED if self.result in STOPPED else FINE)


Outcomes = dict[tuple[str, str], Outcome]


def outcomes(run: RunEntries) -> Outcomes:
    """The outcome of each (task, host). Stages of one procedure count together."""
    found: Outcomes = {}
    for entry in run.entries:
        key = entry.text("task"), entry.text("host")
        before = found.get(key, Outcome("", 0.0, {}))
        result, steps, seconds = entry.text("result"), before.steps, before.seconds
        if entry.of_a_step:
            steps = {**steps, entry.text("step"): result}
            found[key] = Outcome(before.result, seconds, steps)
        else:
            results = [Status(one) for one in (before.result, result) if one in STATUSES]
            found[key] = Outcome(str(gravest(results)), seconds + entry.seconds, steps)
    return found


def differences(a: RunEntries, b: RunEntries) -> list[Difference]:
    """Tasks, hosts and steps of one run and not of the other, other results, other times."""
    before, after = outcomes(a), outcomes(b)
    keys = dict.fromkeys([*before, *after])
    return _together(
        difference
        for task, host in keys
        for difference in _of_host(task, host, before.get((task, host)), after.get((task, host)))
    )


def _of_host(task: str, host: str, a: Outcome | None, b: Outcome | None) -> Iterator[Difference]:
    on = (host,)
    if not a or not b:
        yield Difference(task, "", a.result if a else ABSENT, b.result if b else ABSENT, on)
        return
    if a.result != b.result:
        yield Difference(task, "", a.result, b.result, on)
    for step in dict.fromkeys([*a.steps, *b.steps]):
        if a.of_step(step) != b.of_step(step):
            yield Difference(task, step, a.of_step(step), b.of_step(step), on)
    if _far_apart(a.seconds, b.seconds):
        yield Difference(task, "", f"{a.seconds:.1f} s", f"{b.seconds:.1f} s", on)


def _far_apart(a: float, b: float) -> bool:
    return abs(a - b) >= SECONDS and max(a, b) >= FAR * min(a, b)


def _together(found: Iterator[Difference]) -> list[Difference]:
    """Combine differences that are the same on several hosts."""
    hosts: dict[tuple[str, str, str, str], list[str]] = {}
    for one in found:
        hosts.setdefault((one.task, one.step, one.a, one.b), []).extend(one.hosts)
    return [Difference(*same, tuple(names)) for same, names in hosts.items()]
