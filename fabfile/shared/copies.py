"""Folders that VM1 makes once and the other servers get: whether they still are as they were made.

The mark in a folder says what it was made from, and its fingerprint of that moment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runbook.declare.step import quote
from runbook.declare.templates import script
from runbook.inventory.cluster import Host


@dataclass(frozen=True)
class Copy:
    """A folder as a server has it; `made_from` is empty where there is none, or half of one."""

    made_from: str = ""
    noted: str = ""
    found: str = ""

    @property
    def intact(self) -> bool:
        """No file is missing, added, or has other content, another mode or owner."""
        return bool(self.noted) and self.found == self.noted


def mark(folder: str) -> str:
    """The last file that is written there: until then, the folder is not complete."""
    return f"{folder}/.airflow-runbook"


def fingerprint(folder: str) -> str:
    """A command that prints the folder's fingerprint."""
    return script("shared/fingerprint.sh", folder=folder)


def marked(folder: str, made_from: str) -> str:
    """A test: the folder was made from this; what became of it since is not looked at."""
    return f"[[ $(cat {mark(folder)} 2>/dev/null) == {quote(made_from)}' '* ]]"


def intact(folder: str, made_from: str) -> str:
    """A test: the folder was made from this, and is as it was then."""
    return (
        f"found=$(cat {mark(folder)} 2>/dev/null) && [[ ${{found% *}} == {quote(made_from)} && "
        f"${{found##* }} == $( {fingerprint(folder)} ) ]]"
    )


def state(folder: str) -> str:
    """A command whose answer `parse` understands."""
    return f"if cat {mark(folder)} 2>/dev/null; then {fingerprint(folder)}; else echo none; fi"


def parse(text: str) -> Copy:
    """The answer of `state`: the mark, and the fingerprint of now."""
    first, *found = text.splitlines()
    made_from, _, noted = first.rpartition(" ")
    return Copy(made_from, noted, found[-1]) if found else Copy()


def lacking(
    known: Mapping[str, Copy], made_from: str, hosts: Sequence[Host], but: Host
) -> list[Host]:
    """Who has something else than `but` has, of those that could be asked.

    As long as that one has none itself, or a damaged one, the others are judged by their own marks.
    """
    own = known.get(but.name, Copy())
    noted = own.noted if own.intact and own.made_from == made_from else None

    def fine(copy: Copy) -> bool:
        return copy.intact and copy.made_from == made_from and noted in (None, copy.noted)

    return [
        host for host in hosts if host != but and host.name in known and not fine(known[host.name])
    ]
