"""What a command prints, as lines, without filling the memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

LONGEST_LINE = 1 << 20
"""Bytes after which a line is taken for two."""
KEPT = 2 << 20
"""Bytes that are kept of the beginning, and as many of the end."""


class Lines:
    """Cuts bytes into lines as they arrive."""

    def __init__(self) -> None:
        self._rest = b""

    def add(self, data: bytes) -> Iterator[str]:
        """The lines that these bytes complete."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        for line in whole:
            yield from _text(line)
        while len(self._rest) > LONGEST_LINE:
            line, self._rest = self._rest[:LONGEST_LINE], self._rest[LONGEST_LINE:]
            yield from _text(line)

    def end(self) -> Iterator[str]:
        """The line that nothing has ended."""
        line, self._rest = self._rest, b""
        if line:
            yield from _text(line)


class Captured:
    """Lines of output: all of them, or the first and the last ones if there are very many."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._lines = Lines()
        self._first: list[str] = []
        self._last: deque[str] = deque()
        self._sizes = [0, 0]
        self._lost = 0

    def add(self, data: bytes) -> None:
        """Take in more output."""
        for line in self._lines.add(data):
            self._keep(line)

    def end(self) -> list[str]:
        """No more will come: the lines."""
        for line in self._lines.end():
            self._keep(line)
        if not self._lost:
            return [*self._first, *self._last]
        note = f"… {self._lost} lines are left out here …"
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
