"""The two documents in which the runbook was handed over, and the page that answers each line.

The documents are not part of the project: it keeps the digests of their lines. After a change of a
document, `python tests/support/written_runbook.py FOLDER` renews them.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

PROJECT = Path(__file__).resolve().parents[2]
PAGE = PROJECT / "docs" / "runbook-lines.md"
DIGESTS = Path(__file__).with_name("written_runbook.digests")
DOCUMENTS = ("airflow-2.9.0-ha.md", "airflow-2.7.3-multinode.md")

FOLDER = "WRITTEN_RUNBOOK"
"""The variable that names the folder with the documents."""

WHERE = re.compile(r"\d+(–\d+)?(, \d+(–\d+)?)*")
CODE = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)")


def documents() -> Optional[Path]:
    """The folder with the documents, if the variable names one."""
    return Path(os.environ[FOLDER]) if os.environ.get(FOLDER) else None


def lines(text: str) -> dict[int, str]:
    """By their numbers, the lines that say something: no rules, no fences, no empty ones."""
    stripped = ((number, line.strip()) for number, line in enumerate(text.splitlines(), 1))
    return {
        number: line
        for number, line in stripped
        if any(map(str.isalnum, line)) and not line.startswith("```")
    }


def digest(line: str) -> str:
    """What is kept of a line."""
    return hashlib.sha256(line.encode()).hexdigest()[:12]


def kept() -> dict[str, dict[int, str]]:
    """By document and number, the digests of lines."""
    found: dict[str, dict[int, str]] = {name: {} for name in DOCUMENTS}
    for entry in DIGESTS.read_text(encoding="utf-8").splitlines():
        name, number, value = entry.split()
        found[name][int(number)] = value
    return found


def made_of(folder: Path) -> str:
    """The digests of the documents in a folder, as they are kept."""
    return "".join(
        f"{name} {number} {digest(line)}\n"
        for name in DOCUMENTS
        for number, line in lines((folder / name).read_text(encoding="utf-8")).items()
    )


@dataclass(frozen=True)
class Row:
    """A row of the page: lines of a document, what they say, what is done, and why."""

    document: str
    where: str
    said: str
    done: str
    why: str

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """First and last line of each part of `where`."""
        parts = (part.partition("–") for part in self.where.split(", "))
        return [(int(first), int(last or first)) for first, _, last in parts]

    @property
    def numbers(self) -> list[int]:
        """All lines that it is about, empty ones among them."""
        return [number for first, last in self.ranges for number in range(first, last + 1)]

    @property
    def tasks(self) -> list[str]:
        """What it names, as it is typed: fab base.user, inv cluster.reboot."""
        return [code for code in quotes(self.done) if re.match(r"(fab|inv) ", code)]

    @property
    def steps(self) -> list[str]:
        """What it quotes of the steps of these tasks, or of hosts.yaml."""
        return [code for code in quotes(self.done) if code not in self.tasks]


def quotes(cell: str) -> list[str]:
    """What stands in backticks."""
    return [found[2].strip() for found in CODE.finditer(cell)]


def rows() -> Iterator[Row]:
    """The rows of the page. What is done without a line of a document has an empty document."""
    document = ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            document = next((name for name in DOCUMENTS if name in line), "")
        if not line.startswith("| ") or line.startswith("| ---"):
            continue
        cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if WHERE.fullmatch(cells[0]):
            yield Row(document, *cells)
        elif len(cells) == 3 and not cells[0].startswith("not in"):
            yield Row("", "", *cells)


if __name__ == "__main__":
    DIGESTS.write_text(made_of(Path(sys.argv[1])), encoding="utf-8")
