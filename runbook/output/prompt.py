"""Questions that are answered with yes or no."""

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
