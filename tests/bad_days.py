#!/usr/bin/env python3
"""Write the table of bad days into a page, from the ledgers of several runs: the median of each.

.venv/bin/python tests/bad_days.py docs/postgres.md .tests/days-*.jsonl
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

PROJECT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(PROJECT), str(PROJECT / "tests")]

from support.ledger import read  # noqa: E402

BEGIN, END = "<!-- bad days: made by tests/bad_days.py -->", "<!-- end of bad days -->"
FIGURE = re.compile(
    r"bad day \| (?P<situation>[^|]+) \| (?P<command>[^|]+) \| "
    r"(?P<pause>[\d.]+) s without writes, (?P<lost>\d+) of (?P<written>\d+) \w+ lost"
)


def rows(files: Sequence[Path]) -> Iterator[str]:
    """A row for each situation: its command, the median pause, what was lost at most, the runs."""
    found: dict[tuple[str, str], list[tuple[float, int]]] = defaultdict(list)
    for file in files:
        for result in read(file)[1]:
            for figure in result.figures:
                match = FIGURE.match(figure)
                if match:
                    key = match["situation"], match["command"]
                    found[key].append((float(match["pause"]), int(match["lost"])))
    for (situation, command), measured in found.items():
        pauses = [pause for pause, _ in measured]
        lost = max(lost for _, lost in measured)
        yield f"| {situation} | {command} | {median(pauses):.1f} | {lost} | {len(measured)} |"


def main(page: Path, *files: Path) -> int:
    """0 if the table was written."""
    made = list(rows(files))
    if not made:
        return 1
    names = ("situation", "command", "seconds without writes", "lost", "runs")
    head = f"| {' | '.join(names)} |\n|{' --- |' * len(names)}"
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text("\n".join([before + BEGIN, head, *made, END]) + after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
