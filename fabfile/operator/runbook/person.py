"""The person who walks through the runbook: on a terminal, or by piped answers."""

from __future__ import annotations

import os
import stat
import sys
from typing import Protocol

from runbook.errors import UsageError

QUIT = "q"
ANSWERS = {"r": "run", "s": "skip", "d": "diff", "h": "shell", QUIT: "quit"}


class Person(Protocol):
    """Somebody who answers with one letter of those offered."""

    at_terminal: bool

    def choose(self, letters: str) -> str:
        """The letter of what to do now; `q` when no more answers come."""
        ...


class Console:
    """Standard input and output."""

    def __init__(self) -> None:
        self.at_terminal = sys.stdin.isatty()
        if not self.at_terminal and not _piped():
            raise UsageError(
                "Answers needed, but stdin is not a terminal. Walk on a terminal, or pipe answers, "
                "one letter per line: "
                "printf 'd\\nr\\nq\\n' | inv runbook.walk hosts"
            )

    def choose(self, letters: str) -> str:
        """Asks until the answer is one of the letters."""
        question = "  ".join(_bracketed(ANSWERS[letter], letter) for letter in letters)
        while True:
            try:
                answer = input(f"{question} > ").strip().lower()
            except EOFError:
                print()
                return QUIT
            if not self.at_terminal:
                print(answer)
            if answer and answer in {*letters, *(ANSWERS[letter] for letter in letters)}:
                return next(one for one in letters if answer in (one, ANSWERS[one]))
            print(f"Answer with one letter: {', '.join(letters)}.")


def _bracketed(word: str, letter: str) -> str:
    return word.replace(letter, f"[{letter}]", 1)


def _piped() -> bool:
    """Whether stdin is a pipe, a file or a socket; that of a background job is none of these."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)
