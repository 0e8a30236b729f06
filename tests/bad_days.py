#!/usr/bin/env python3
"""Keep what bad days have cost in test runs, and write the tables in the sections' pages from it.

.venv/bin/pytest --ledger .tests/days.jsonl -n 2 --dist loadfile $(grep -l 'figure(' tests/lab/*.py)
.venv/bin/python tests/bad_days.py .tests/days.jsonl

Each figure that a ledger has is added to docs/bad-days.jsonl, once for each run; a table has the
median of all of them.
"""

from __future__ import annotations

import datetime
import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

PROJECT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(PROJECT), str(PROJECT / "tests")]

from support.ledger import read  # noqa: E402

DOCS = PROJECT / "docs"
KEPT = "bad-days.jsonl"
PAGES = ("postgres", "rabbitmq")
BEGIN, END = "<!-- bad days: made by tests/bad_days.py -->", "<!-- end of bad days -->"
FIGURE = re.compile(
    r"bad day \| (?P<situation>[^|]+) \| (?P<command>[^|]+) \| "
    r"(?P<pause>[\d.]+) s without (?P<act>\w+), (?P<lost>\d+) of \d+ (?P<thing>\w+) lost"
)


def measured(ledger: Path) -> Iterator[str]:
    """A line to keep for each figure of the passed tests of a run."""
    day = datetime.date.fromtimestamp(ledger.stat().st_mtime).isoformat()
    for result in read(ledger)[1]:
        for figure in result.figures:
            if result.outcome == "passed" and FIGURE.match(figure):
                yield json.dumps({"day": day, "file": Path(result.file).name, "figure": figure})


def table(figures: Sequence[str]) -> list[str]:
    """A row for each situation: its command, the median pause, what was lost at most, the runs."""
    matches = [match for match in map(FIGURE.match, figures) if match]
    found: dict[tuple[str, str], list[tuple[float, int]]] = defaultdict(list)
    for one in matches:
        found[one["situation"], one["command"]].append((float(one["pause"]), int(one["lost"])))
    act, thing = matches[0]["act"], matches[0]["thing"]
    lines = [f"| situation | command | seconds without {act} | {thing} lost | runs |"]
    lines.append("| --- | --- | --- | --- | --- |")
    for (situation, command), values in sorted(found.items()):
        pauses = [pause for pause, _ in values]
        lost = max(lost for _, lost in values)
        lines.append(f"| {situation} | {command} | {median(pauses):.1f} | {lost} | {len(values)} |")
    return lines


def write(page: Path, figures: Sequence[str]) -> None:
    """Put the table in the place of the former one."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text("\n".join([before + BEGIN, *table(figures), END]) + after, encoding="utf-8")


def main(docs: Path, *ledgers: Path) -> None:
    """Keep the figures of these runs; write the tables from all that are kept."""
    kept = docs / KEPT
    with kept.open("a", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for ledger in ledgers for line in measured(ledger))
    lines = [json.loads(line) for line in kept.read_text(encoding="utf-8").splitlines()]
    for section in PAGES:
        own = [line["figure"] for line in lines if line["file"].startswith(f"test_{section}")]
        if own:
            write(docs / f"{section}.md", own)


if __name__ == "__main__":
    main(DOCS, *map(Path, sys.argv[1:]))
