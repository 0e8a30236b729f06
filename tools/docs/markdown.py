"""Tables and marks of Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

MADE = "<!-- Made from the code by `make docs`; a change here is lost. -->"


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; what would end a cell is escaped."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def code(text: str) -> str:
    """Text as code."""
    return f"`{text}`" if text else ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def within(page: str, part: str, made: str, how: str = "made from the code by `make docs`") -> str:
    """A page that is written by hand, with one part of it replaced."""
    begin = f"<!-- {part}: {how} -->"
    end = f"<!-- /{part} -->"
    before, found, rest = page.partition(begin)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise ValueError(f"there is no part {part} in the page")
    return f"{before}{begin}\n\n{made}\n\n{end}{after}"
