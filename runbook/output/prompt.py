"""Questions to the person at the terminal."""

from __future__ import annotations

import sys

from runbook.errors import UsageError


def confirmed(question: str, otherwise: str = "Pass --yes.") -> bool:
    """Whether the person at the terminal answers yes.

    The question goes to standard error, so that it never mixes with output. Without a terminal it
    is a UsageError that says what to do `otherwise`.
    """
    if not sys.stdin.isatty():
        raise UsageError(f"Confirmation needed, but stdin is not a terminal. {otherwise}")
    print(f"{question} [yes/no] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def typed(question: str, otherwise: str) -> str:
    """What the person at the terminal types; for what a mere yes is not enough.

    The question goes to standard error. Without a terminal it is a UsageError that says what to do
    `otherwise`.
    """
    if not sys.stdin.isatty():
        raise UsageError(f"Confirmation needed, but stdin is not a terminal. {otherwise}")
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip()
