"""What drills have cost, as a table of all their runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from .ledger import BY_DESIGN, NOT_RUN, WRONG, Entry

DASH = "–"


@dataclass(frozen=True)
class Row:
    """One drill, over all its runs; `entries` are those that were carried out, the oldest first."""

    drill: str
    entries: Sequence[Entry]
    not_run: Sequence[Entry]

    @property
    def last(self) -> Entry:
        """The newest run, or why there is none."""
        return (self.entries or self.not_run)[-1]

    @property
    def seconds(self) -> list[float]:
        """The figures of all runs."""
        return [one.seconds for one in self.entries if one.seconds is not None]

    @property
    def word(self) -> str:
        """The worst of the words; what was carried out counts, if anything was."""
        words = [one.word for one in self.entries] or [NOT_RUN]
        order = [*reversed(WRONG), BY_DESIGN]
        return next((word for word in order if word in words), words[-1])

    @property
    def why(self) -> str:
        """Why, as the newest run with that word says; for a missed mark, what decides about it."""
        found = [one for one in (self.entries or self.not_run) if one.word == self.word]
        entry = found[-1]
        said = [*(entry.why or entry.exposed), *([entry.trade] if entry.word in WRONG else [])]
        return "; ".join(filter(None, said))

    def said(self) -> dict[str, Any]:
        """The row, for people."""
        seconds = self.seconds
        alone = sum(bool(one.alone) for one in self.entries)
        return {
            "drill": self.drill,
            "runs": len(self.entries),
            "min": figure(min(seconds, default=None)),
            "median": figure(median(seconds) if seconds else None),
            "max": figure(max(seconds, default=None)),
            "mark": figure(self.last.mark),
            "lost": lost(self.entries) if self.entries else DASH,
            "twice": str(sum(one.twice for one in self.entries)) if self.entries else DASH,
            "retried": str(sum(one.retried for one in self.entries)) if self.entries else DASH,
            "by itself": f"{alone} of {len(self.entries)}" if self.entries else DASH,
            "result": self.word,
        }


def figure(seconds: float | None) -> str:
    """Seconds, or a dash."""
    return DASH if seconds is None else f"{seconds:.1f}"


def lost(entries: Iterable[Entry]) -> str:
    """How many acknowledged items were lost, with those that may be lost by design after a +."""
    found = list(entries)
    late = sum(one.late for one in found)
    return f"{sum(one.lost for one in found)}{f' + {late}' if late else ''}"


def rows(entries: Sequence[Entry]) -> list[Row]:
    """A row for each drill, in the order in which they were first carried out."""
    return [
        Row(
            name,
            [one for one in entries if one.drill == name and one.word != NOT_RUN],
            [one for one in entries if one.drill == name and one.word == NOT_RUN],
        )
        for name in dict.fromkeys(one.drill for one in entries)
    ]


def text(entries: Sequence[Entry]) -> str:
    """The table for a terminal, and a sentence for each row that is not passed."""
    from tabulate import tabulate

    found = rows(entries)
    table = tabulate([row.said() for row in found], headers="keys", disable_numparse=True)
    notes = [f"{row.drill}: {row.word}: {row.why}" for row in found if row.why]
    return "\n".join([str(table), *([""] if notes else []), *notes, *legend(found)])


def legend(found: Sequence[Row]) -> list[str]:
    """What the table does not explain itself."""
    if not any(one.late for row in found for one in row.entries):
        return []
    reasons = {
        f"{one.item}s: {one.lossy}"
        for row in found
        for entry in row.entries
        for one in entry.loads
        if one.lossy and one.lost
    }
    return [f"\nlost after a +: {'; '.join(sorted(reasons))}"]


def document(entries: Sequence[Entry], drills: Sequence[str]) -> dict[str, Any]:
    """What the page is made from: the rows, and where and when they come from."""
    found = rows(entries)
    return {
        "cluster": entries[-1].cluster,
        "grounds": sorted({one.ground for one in entries}),
        "first": entries[0].when,
        "last": entries[-1].when,
        "versions": entries[-1].versions,
        "missing": [name for name in drills if name not in {row.drill for row in found}],
        "rows": [
            {
                **row.said(),
                "sentence": row.last.sentence,
                "struck": sorted({name for one in row.entries for name in one.struck}),
                "why": row.why,
                "exposed": row.last.exposed,
            }
            for row in found
        ],
        "legend": [line.strip() for line in legend(found)],
    }
