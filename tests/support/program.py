"""`fab` or `inv`, run in the test's own process."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass
class Answer:
    """The exit code, and what was said."""

    code: int
    text: str


def answer(
    entry: Callable[[], Any], arguments: Sequence[str], monkeypatch: Any, captured: Any
) -> Answer:
    """What a program says to these arguments; it is never a traceback."""
    monkeypatch.setattr(sys, "argv", ["program", *arguments])
    code = 0
    try:
        entry()
    except SystemExit as caught:
        code = caught.code or 0
    said = captured.readouterr()
    assert "Traceback" not in said.err
    assert "Internal error" not in said.err
    return Answer(code, said.out + said.err)
