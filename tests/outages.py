#!/usr/bin/env python3
"""Write what ledgers say of outages as a table: the median of each situation over all of them.

A test reports `SITUATION | COMMAND | SECONDS s without … | LOST of N lost`. For three runs:

for n in 1 2 3; do .venv/bin/pytest --ledger .tests/days-$n.jsonl tests/lab/test_rabbitmq_bad*; done
.venv/bin/python tests/outages.py .tests/days-*.jsonl
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import median

PROJECT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(PROJECT), str(PROJECT / "tests")]

from support.ledger import read  # noqa: E402


def rows(figures: Iterable[str]) -> Iterator[str]:
    """The table's lines, in the order in which situations were met first."""
    seen: dict[tuple[str, str], list[tuple[float, int]]] = defaultdict(list)
    for figure in figures:
        cells = [cell.strip() for cell in figure.split("|")]
        if len(cells) == 4:
            situation, command, pause, lost = cells
            seen[situation, command].append((float(pause.split()[0]), int(lost.split()[0])))
    yield "| situation | command | seconds without confirms | messages lost (worst) | runs |"
    yield "| --- | --- | --- | --- | --- |"
    for (situation, command), values in seen.items():
        pause, lost = (median(one) for one in zip(*values))
        worst = max(count for _, count in values)
        yield f"| {situation} | `{command}` | {pause:.1f} | {lost:g} ({worst}) | {len(values)} |"


def main() -> int:
    """0 if there was something to say."""
    figures = [
        figure
        for name in sys.argv[1:]
        for result in read(Path(name))[1]
        for figure in result.figures
    ]
    table = list(rows(figures))
    print("\n".join(table))
    return len(table) < 3


if __name__ == "__main__":
    sys.exit(main())
