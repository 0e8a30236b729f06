"""Probes: a command for a host, and a pure function that judges its answer."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Callable, Optional

from runbook.declare.answers import SHAPELESS

CLUSTER_WIDE = "cluster"
"""Used in place of a host's name for what concerns several hosts."""

REDUNDANCY = "redundancy"
"""The title of a finding that says which failure would cause no outage now."""


class Level(str, Enum):
    """How an answer is rated."""

    OK = "ok"
    WARN = "warn"
    ERROR = "error"
    UNKNOWN = "unknown"

    __str__ = str.__str__


OK, WARN, ERROR, UNKNOWN = Level.OK, Level.WARN, Level.ERROR, Level.UNKNOWN


@dataclass(frozen=True)
class Cause:
    """A kind of problem: a code that never changes, and its impact."""

    code: str
    impact: str


@dataclass(frozen=True)
class Answer:
    """What a probe's command printed (both streams) and its exit code."""

    text: str
    code: int = 0

    @property
    def words(self) -> list[str]:
        """The words of the first line; none if it printed nothing."""
        return self.text.split("\n", 1)[0].split()


@dataclass(frozen=True)
class Verdict:
    """`ok`, `warn`, `error` or `unknown`, and a sentence that gives the reason."""

    level: Level
    sentence: str = ""


@dataclass(frozen=True)
class Finding:
    """What a check found: a title, the verdict, the fix, the cause.

    `about`: hosts that explain the finding if they do not answer. `redundancy`: it says which
    failure would cause no outage now; `by_design`: there is no redundancy because hosts.yaml has
    one server only. `host` is `cluster` if it concerns several hosts.
    """

    title: str
    verdict: Verdict
    fix: str = ""
    cause: Optional[Cause] = None
    about: tuple[str, ...] = ()
    redundancy: bool = False
    by_design: bool = False
    section: str = ""
    host: str = CLUSTER_WIDE

    @property
    def level(self) -> Level:
        """How it is rated."""
        return self.verdict.level

    @classmethod
    def of_redundancy(
        cls,
        level: Level,
        sentence: str,
        fix: str = "",
        cause: Optional[Cause] = None,
        about: Sequence[str] = (),
        by_design: bool = False,
    ) -> Finding:
        """A finding that says which failure would cause no outage now."""
        verdict = Verdict(level, sentence)
        return cls(REDUNDANCY, verdict, fix, cause, tuple(about), True, by_design)


Judge = Callable[[Answer], Verdict]


@dataclass(frozen=True)
class Probe:
    """One probe: title, command, judge, and the fix if the answer is not OK.

    `thorough`: it takes long, or checks how the host was set up; a status leaves it out.
    """

    title: str
    command: str
    judge: Judge
    fix: str = ""
    cause: Optional[Cause] = None
    thorough: bool = False

    @property
    def expected(self) -> str:
        """What the answer should be: the first line of the judge's docstring."""
        judge = getattr(self.judge, "func", self.judge)  # of a functools.partial
        return (inspect.getdoc(judge) or "").partition("\n")[0].rstrip(".")

    def verdict(self, answer: Answer) -> Verdict:
        """How the answer is rated; unknown if it cannot be interpreted."""
        try:
            return self.judge(answer)
        except SHAPELESS:
            said = answer.text.strip()[:120]
            return Verdict(UNKNOWN, f"unexpected answer: {said or 'none'}")

    def finding(self, answer: Answer, section: str, host: str) -> Finding:
        """The finding that results from the answer of a host."""
        verdict = self.verdict(answer)
        return Finding(
            self.title, verdict, self.fix, self.cause, (host,), section=section, host=host
        )


Probes = Iterator[Probe]


Findings = Iterator[Finding]


def probe(
    title: str,
    command: str,
    judge: Judge,
    fix: str = "",
    cause: Optional[Cause] = None,
    thorough: bool = False,
) -> Probe:
    """A probe of the host. `command` may have several lines; it must not change anything."""
    return Probe(title, command, judge, fix, cause, thorough)


def succeeds(answer: Answer) -> Verdict:
    """The command exits with 0."""
    if answer.code == 0:
        return Verdict(OK)
    said = answer.text.strip().splitlines()
    return Verdict(ERROR, said[-1] if said else f"exit code {answer.code}")


def first_word_is(wanted: str) -> Judge:
    """The first word printed is `wanted`."""

    def judge(answer: Answer) -> Verdict:
        found = answer.words[0] if answer.words else ""
        if found == wanted:
            return Verdict(OK)
        return Verdict(ERROR, f"it is {found}" if found else "no answer")

    judge.__doc__ = f"The first word is {wanted}."
    return judge


def says(wanted: str, otherwise: str) -> Judge:
    """`wanted` occurs in the output; if not, `otherwise` is the sentence."""

    def judge(answer: Answer) -> Verdict:
        return Verdict(OK) if wanted in answer.text else Verdict(ERROR, otherwise)

    judge.__doc__ = f"The answer contains {wanted!r}."
    return judge
