"""The word for a drill, and why; a pure function of its course."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from runbook.declare.drills import OK_AGAIN, Drill

from .course import Course
from .ledger import BY_DESIGN, FAILED, MISSED, PASSED


def verdict(course: Course, exposed: Sequence[str]) -> tuple[str, list[str]]:
    """The word, and a sentence for each thing that is not as it should be.

    `exposed`: what hosts.yaml has no second server for, if these hosts fail.
    """
    if not course.well:
        return FAILED, [course.status]
    if course.seconds is None:
        return FAILED, ["nothing has measured it"]
    missed = [*marks(course), *helped(course)]
    if missed:
        return MISSED, missed
    if course.out:
        return BY_DESIGN, list(exposed)
    return PASSED, []


def marks(course: Course) -> Iterator[str]:
    """The marks that were missed."""
    mark = course.drill.mark
    seconds = course.seconds
    if mark.seconds is not None and seconds is not None and seconds > mark.seconds:
        yield f"{seconds:g} s {measured(course.drill)}; the mark is {mark.seconds:g} s"
    for one in course.figures:
        if mark.lost is not None and (one.lost or 0) > mark.lost and not one.lossy:
            yield f"{one.lost} of {counted(one.acknowledged, one.item)} lost; none may be"
    retried = sum(one.retried for one in course.figures)
    if mark.retried is not None and retried > mark.retried:
        yield f"{counted(retried, 'task')} ran again; none should have to"


def helped(course: Course) -> Iterator[str]:
    """Why the cluster has not recovered by itself."""
    if course.repaired:
        yield f"the cluster recovered only after fab {' '.join(course.drill.repair)}"
    if not course.back and course.drill.alone and not _all_out(course):
        yield "there was no service until the fault was healed"


def measured(drill: Drill) -> str:
    """What the seconds of a drill mean."""
    if OK_AGAIN in drill.measure:
        return "until the status was OK"
    return f"without {' or '.join(drill.measure)}"


def counted(number: int, item: str) -> str:
    """A number of items, in words: 1 row, 2 rows."""
    return f"{number} {item}{'' if number == 1 else 's'}"


def _all_out(course: Course) -> bool:
    return {*course.drill.measure} == {*course.out}
