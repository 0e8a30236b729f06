"""Standard output and error of a program, on which only text appears."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

from runbook.visible import visible


class Visible:
    """A stream that shows control characters instead of passing them on to a terminal."""

    def __init__(self, raw: TextIO) -> None:
        self.raw = raw

    def write(self, text: str) -> int:
        """Write text; its control characters become visible."""
        self.raw.write(visible(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.raw, name)


@contextmanager
def only_text() -> Iterator[None]:
    """For this long, whatever is printed is visible text."""
    before = sys.stdout, sys.stderr
    sys.stdout = cast("TextIO", Visible(sys.stdout))
    sys.stderr = cast("TextIO", Visible(sys.stderr))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def drawable(stream: TextIO) -> TextIO:
    """The stream below, for what moves the cursor itself; its text has to be visible already."""
    return stream.raw if isinstance(stream, Visible) else stream
