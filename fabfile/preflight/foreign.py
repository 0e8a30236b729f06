"""Judges for software on a server that this project did not set up."""

from __future__ import annotations

from runbook.declare.probes import ERROR, OK, Answer, Judge, Level, Verdict

SHOWN = 5
"""The number of lines that a sentence quotes."""


def none(otherwise: str, level: Level = ERROR) -> Judge:
    """Expect no output; otherwise, the lines and `otherwise` form the sentence."""

    def judge(answer: Answer) -> Verdict:
        lines = [line.strip() for line in answer.text.splitlines() if line.strip()]
        if not lines:
            return Verdict(OK)
        more = f" and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
        return Verdict(level, f"{', '.join(lines[:SHOWN])}{more} {otherwise}")

    judge.__doc__ = "Nothing is printed."
    return judge
