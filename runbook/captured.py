"""The output of a command as lines, with a limit on memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

LONGEST_LINE = 1 << 20
"""Bytes after which a line is split."""
KEPT = 2 << 20
"""Bytes that are kept from the beginning, and as many from the end."""


class Lines:
    """Splits bytes into lines as they arrive."""

    def __init__(self) -> None:
        self._rest = b""

    def add(self, data: bytes) -> Iterator[str]:
        """Yield the lines that these bytes complete."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        for line in whole:
            yield from _text(line)
        while len(self._rest) > LONGEST_LINE:
            line, self._rest = self._rest[:LONGEST_LINE], self._rest[LONGEST_LINE:]
            yield from _text(line)

    def end(self) -> Iterator[str]:
        """Yield the last line, if it has no line end."""
        line, self._rest = self._rest, b""
        if line:
            yield from _text(line)


class Captured:
    """Lines of output: all of them, or only the first and last ones if there are too many."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._lines = Lines()
        self._first: list[str] = []
        self._last: deque[str] = deque()
        self._sizes = [0, 0]
        self._lost = 0

    def add(self, data: bytes) -> None:
        """Add output."""
        for line in self._lines.add(data):
            self._keep(line)

    def end(self) -> list[str]:
        """Return the lines, after all output has been added."""
        for line in self._lines.end():
            self._keep(line)
        if not self._lost:
            return [*self._first, *self._last]
        note = f"… {self._lost} lines left out …"
        return [*self._first, note, *self._last]

    def _keep(self, line: str) -> None:
        size = len(line) + 1
        if self._sizes[0] + size <= self._kept and not self._last:
            self._first.append(line)
            self._sizes[0] += size
            return
        self._last.append(line)
        self._sizes[1] += size
        while self._sizes[1] > self._kept and len(self._last) > 1:
            self._sizes[1] -= len(self._last.popleft()) + 1
            self._lost += 1


def _text(line: bytes) -> list[str]:
    return line.decode(errors="replace").splitlines() or [""]
