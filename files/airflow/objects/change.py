"""What would have to change for objects of a kind to be as described."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

SHOWN = 20
"""How many names a line has at most."""


class Refused(Exception):
    """What is described cannot be, for the reasons in the sentences."""


FIRST, NEXT, LAST = range(3)
"""The turns of changes."""


@dataclass(frozen=True)
class Change:
    """A change of one object: the line that announces it, what carries it out, and its turn."""

    line: str
    make: Callable[[], object]
    turn: int = NEXT


class Kind(ABC):
    """Objects of a kind: `key` is their place in the description, `word` what one is called.

    `removal` is the turn of removals: usually the last one, when nothing uses them any more.
    """

    key = ""
    word = ""
    removal = LAST

    def __init__(self, session: Any, wanted: dict[str, Any]) -> None:
        self.session = session
        self.wanted: dict[str, Any] = wanted[self.key]
        self.removes_others = self.key in wanted["remove_others"]
        self.kept = frozenset(wanted["kept"][self.key])

    @abstractmethod
    def rows(self) -> dict[str, Any]:
        """What is there, by name."""

    @abstractmethod
    def differing(self, row: Any, wanted: Any) -> list[str]:
        """The parts of an object that differ; one part without a name is `""`."""

    @abstractmethod
    def add(self, name: str, wanted: Any) -> None:
        """Make an object."""

    @abstractmethod
    def change(self, row: Any, name: str, wanted: Any) -> None:
        """Let an object that is there be as described."""

    def remove(self, row: Any) -> None:
        """Remove an object that is there."""
        self.session.delete(row)

    def removed(self, row: Any) -> str:
        """What else to say when an object is removed."""
        return ""

    def troubles(self) -> Iterator[str]:
        """Why what is described cannot be."""
        return iter(())

    def others(self) -> list[str]:
        """The names of those that are neither described nor always kept."""
        return sorted(self.rows().keys() - self.wanted.keys() - self.kept)

    def staying(self) -> Iterator[str]:
        """A line on others, where some of the kind are described and others stay."""
        others = self.others()
        if others and self.wanted and not self.removes_others:
            shown = ", ".join(others[:SHOWN])
            more = f" and {len(others) - SHOWN} more" if len(others) > SHOWN else ""
            yield f"left alone: {self.key} {shown}{more}"

    def changes(self) -> Iterator[Change]:
        """All changes that are due, in the order of the description."""
        rows = self.rows()
        for name, wanted in self.wanted.items():
            title = f"{self.word} {name}"
            if name not in rows:
                yield Change(f"added: {title}", partial(self.add, name, wanted))
                continue
            parts = self.differing(rows[name], wanted)
            if parts:
                which = f" ({', '.join(parts)})" if parts != [""] else ""
                make = partial(self.change, rows[name], name, wanted)
                yield Change(f"changed: {title}{which}", make)
        for name in self.others() if self.removes_others else ():
            line = f"removed: {self.word} {name}{self.removed(rows[name])}"
            yield Change(line, partial(self.remove, rows[name]), self.removal)
