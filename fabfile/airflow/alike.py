"""Whether all servers have the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from runbook.declare.probes import ERROR, OK, Cause, Finding, Verdict


def compared(
    title: str,
    known: Sequence[str],
    others: Sequence[str],
    fix: str,
    cause: Cause,
    about: str = "",
) -> Finding:
    """A finding: all hosts have the same; `about`: what else is said then."""
    if not known:
        return Finding(title, Verdict(ERROR, "no server has it"), fix, cause)
    if others:
        return Finding(title, Verdict(ERROR, f"it differs on {', '.join(others)}"), fix, cause)
    return Finding(title, Verdict(OK, f"{len(known)} servers{about}"))


def fewest(known: Mapping[str, str]) -> list[str]:
    """The servers whose answer is the rarest; none if all answers are the same."""
    by_answer: dict[str, list[str]] = {}
    for name, digest in known.items():
        by_answer.setdefault(digest, []).append(name)
    return min(by_answer.values(), key=len) if len(by_answer) > 1 else []
