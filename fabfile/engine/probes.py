"""Questions to a host: a command, and a pure function that judges its answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Callable

OK, WARN, ERROR, UNKNOWN = "ok", "warn", "error", "unknown"


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
    """`ok`, `warn`, `error` or `unknown`, and the sentence that says why."""

    level: str
    sentence: str = ""


Judge = Callable[[Answer], Verdict]


@dataclass(frozen=True)
class Probe:
    """One question: title, command, judge, and what to type if the answer is not fine."""

    title: str
    command: str
    judge: Judge
    fix: str = ""


Probes = Iterator[Probe]


def probe(title: str, command: str, judge: Judge, fix: str = "") -> Probe:
    """A question to the host. `command` may be several lines; it must change nothing."""
    return Probe(title, command, judge, fix)


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

    return judge


def says(wanted: str, otherwise: str) -> Judge:
    """`wanted` occurs in what is printed; if not, `otherwise` is the sentence."""

    def judge(answer: Answer) -> Verdict:
        return Verdict(OK) if wanted in answer.text else Verdict(ERROR, otherwise)

    return judge
