"""The picture as text for a terminal."""

from __future__ import annotations

import textwrap
import time

from .picture import Part, Picture, Problem

WIDTH = 100
SHOWN = 4
"""Sentences of one kind that a problem shows; the rest is counted."""


def text(picture: Picture, height: int = 0) -> str:
    """The whole status: the word, a line for each part, then what is wrong.

    Where that is higher than the screen, what is wrong comes first, and the end may be cut off.
    """
    wrong = [problem(one) for one in picture.problems]
    whole = "\n".join([headline(picture), "", table(picture), *wrong])
    if not height or len(whole.splitlines()) <= height:
        return whole
    return "\n".join([headline(picture), *wrong, "", table(picture)])


def headline(picture: Picture) -> str:
    """The word for the whole, when, and how long it took."""
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(picture.when))
    up = sum(server.state == "up" for server in picture.servers)
    asked = f"{up} of {len(picture.servers)} hosts answered, {picture.seconds:.1f} s"
    return f"{picture.cluster.name} is {picture.word}    ({moment}, {asked})"


def table(picture: Picture) -> str:
    """A row for each part."""
    from tabulate import tabulate

    rows = [_row(part) for part in picture.parts]
    return str(tabulate(rows, headers=["", "", "now", "redundancy"], tablefmt="simple"))


def _row(part: Part) -> list[str]:
    return [part.name, str(part.level).upper(), _folded(part.now, 58), _folded(part.redundancy, 28)]


def _folded(said: str, width: int) -> str:
    return "\n".join(textwrap.wrap(said, width))


def problem(one: Problem) -> str:
    """A problem with its impact and its fix."""
    first, *more = one.says
    lines = [
        _entry(f"{str(one.level).upper():<7} ", f"{one.code}  {first}"),
        *(_entry("        ", said) for said in _some(more)),
        _entry("  impact: ", one.impact),
        *(_entry("  fix: ", way_out) for way_out in _some(one.fix)),
    ]
    if one.follows:
        lines.append(_entry("  follows: ", "; ".join(one.follows)))
    return "\n" + "\n".join(line for line in lines if line.strip())


def _some(said: list[str] | tuple[str, ...]) -> list[str]:
    more = len(said) - SHOWN
    return [*said[:SHOWN], *([f"and {more} more"] if more > 0 else [])]


def _entry(label: str, said: str) -> str:
    return textwrap.fill(
        said,
        WIDTH,
        initial_indent=label,
        subsequent_indent=" " * len(label),
        break_long_words=False,
        break_on_hyphens=False,
    )
