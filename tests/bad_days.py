#!/usr/bin/env python3
"""Write the table of bad days into a section's page, from the ledgers of several runs.

for n in 1 2 3; do .venv/bin/pytest --ledger .tests/days-$n.jsonl tests/lab/test_rabbitmq*.py; done
.venv/bin/python tests/bad_days.py docs/rabbitmq.md .tests/days-*.jsonl
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import median

PROJECT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(PROJECT), str(PROJECT / "tests")]

from support.ledger import read  # noqa: E402

BEGIN, END = "<!-- bad days: made by tests/bad_days.py -->", "<!-- end of bad days -->"
FIGURE = re.compile(
    r"bad day \| (?P<situation>[^|]+) \| (?P<command>[^|]+) \| "
    r"(?P<pause>[\d.]+) s without (?P<act>\w+), (?P<lost>\d+) of \d+ (?P<thing>\w+) lost"
)


def figures(section: str, files: Sequence[Path]) -> list[re.Match[str]]:
    """What the tests of this section have measured."""
    return [
        match
        for file in files
        for result in read(file)[1]
        if Path(result.file).name.startswith(f"test_{section}")
        for match in map(FIGURE.match, result.figures)
        if match
    ]


def table(measured: Sequence[re.Match[str]]) -> list[str]:
    """A row for each situation: its command, the median pause, what was lost at most, the runs."""
    found: dict[tuple[str, str], list[tuple[float, int]]] = defaultdict(list)
    for one in measured:
        found[one["situation"], one["command"]].append((float(one["pause"]), int(one["lost"])))
    act, thing = measured[0]["act"], measured[0]["thing"]
    lines = [f"| situation | command | seconds without {act} | {thing} lost | runs |"]
    lines.append("| --- | --- | --- | --- | --- |")
    for (situation, command), values in found.items():
        pauses = [pause for pause, _ in values]
        lost = max(lost for _, lost in values)
        lines.append(f"| {situation} | {command} | {median(pauses):.1f} | {lost} | {len(values)} |")
    return lines


def main(page: Path, *files: Path) -> int:
    """0 if the table was written."""
    measured = figures(page.stem, files)
    if not measured:
        return 1
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    written = "\n".join([before + BEGIN, *table(measured), END]) + after
    page.write_text(written, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
