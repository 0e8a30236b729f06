"""The one question that a program asks: yes or no."""

from __future__ import annotations

import sys

from runbook.errors import UsageError


def confirmed(question: str) -> bool:
    """Whether the person at the terminal answers yes; UsageError if there is none.

    The question goes to standard error, so that it never mixes with output.
    """
    if not sys.stdin.isatty():
        raise UsageError("Confirmation needed, but stdin is not a terminal. Pass --yes.")
    print(f"{question} [yes/no] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}
