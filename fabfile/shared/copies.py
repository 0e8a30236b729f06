"""Folders that VM1 builds once and ships to the other servers, and whether they are unchanged.

The mark file in a folder records what it was made from, and its fingerprint at that time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runbook.declare.answers import Fingerprint, Line, Word, lines_of, one
from runbook.declare.facts import Fact, Facts
from runbook.declare.step import quote
from runbook.declare.templates import script
from runbook.errors import RunbookError
from runbook.inventory.cluster import Host


@dataclass(frozen=True)
class Copy:
    """A folder on a server; `made_from` is empty if it is missing or incomplete.

    `noted` and `found` are its fingerprints, when it was made and now; `bytecode` is that of the
    compiled files, which only the folder to ship is asked for.
    """

    made_from: str = ""
    noted: str = ""
    found: str = ""
    bytecode: str = ""

    @property
    def intact(self) -> bool:
        """Whether no file is missing, added, or changed in content, mode or owner."""
        return bool(self.noted) and self.found == self.noted


def mark(folder: str) -> str:
    """The mark file, which is written last: without it, the folder is incomplete."""
    return f"{folder}/.airflow-runbook"


def fingerprint(folder: str) -> str:
    """A command that prints the folder's fingerprint."""
    return script("shared/fingerprint.sh", folder=folder)


def marked(folder: str, made_from: str) -> str:
    """A test: the folder was made from this; later changes are not detected."""
    return f"[[ $(cat {mark(folder)} 2>/dev/null) == {quote(made_from)}' '* ]]"


def intact(folder: str, made_from: str) -> str:
    """A test: the folder was made from this, and is unchanged since."""
    return (
        f"found=$(cat {mark(folder)} 2>/dev/null) && [[ ${{found% *}} == {quote(made_from)} && "
        f"${{found##* }} == $( {fingerprint(folder)} ) ]]"
    )


def unchanged(folder: str) -> str:
    """A test: the folder is complete, and as it was when it was made, from whatever."""
    return (
        f"found=$(cat {mark(folder)} 2>/dev/null) && "
        f"[[ ${{found##* }} == $( {fingerprint(folder)} ) ]]"
    )


def same(folder: str, made_from: str, noted: str) -> str:
    """A test: the folder is the one with this fingerprint, and is unchanged since."""
    return (
        f"[[ $(cat {mark(folder)} 2>/dev/null) == {quote(f'{made_from} {noted}')} && "
        f"$( {fingerprint(folder)} ) == {noted} ]]"
    )


def state(folder: str, bytecode: bool = False) -> str:
    """A command that prints the mark and the fingerprints, for `parse`."""
    ask = "bytecode=yes; " * bytecode + fingerprint(folder)
    return f"if cat {mark(folder)} 2>/dev/null; then {ask}; else echo none; fi"


def parse(text: str) -> Copy:
    """Parse the answer of `state`: the mark, and the present fingerprints."""
    first, *found = lines_of(text, 1, 3)
    made_from, _, noted = one(first, Line).rpartition(" ")
    if not found or not re.fullmatch("[0-9a-f]{32}", noted):
        return Copy()
    return Copy(made_from, noted, *(one(word, Fingerprint) for word in found))


def shipped(facts: Facts, fact: Fact[Copy], by: Host) -> Copy:
    """What is shipped; nothing if the server that ships it does not answer."""
    return facts.known(fact).get(by.name, Copy()) if facts.asked(fact) else facts.of(fact, by)


def packages(folder: str, but: Sequence[str] = ()) -> str:
    """A command that lists the packages of the Python or venv in a folder, for `distributions`."""
    others = "".join(f" ! -name '{name}-*'" for name in but)
    found = f"find {folder}/lib -maxdepth 3 -name '*.dist-info'{others} -printf '%f '"
    return f"{found} 2>/dev/null || :; echo"


def distributions(text: str) -> frozenset[str]:
    """Parse the answer of `packages`: the normalized names of the packages."""
    return frozenset(distribution(one(word, Word)) for word in text.split())


def distribution(name: str) -> str:
    """The package name in apache_airflow-2.9.0.dist-info, or in a pin of a lock."""
    package = name.partition("==" if "==" in name else "-")[0]
    return re.sub(r"[-_.]+", "-", package).lower()


def refuse_foreign(
    hosts: Sequence[Host], folder: str, known: Mapping[str, frozenset[str]], way_out: str
) -> None:
    """Refuse to replace a folder that has packages which this project did not install."""
    for host in hosts:
        found = known.get(host.name)
        if found:
            raise RunbookError(
                f"{host.name} has packages in {folder} that this project did not install: "
                f"{', '.join(sorted(found))}; they would be removed. {way_out}"
            )


def lacking(
    known: Mapping[str, Copy], made_from: str, hosts: Sequence[Host], but: Host
) -> list[Host]:
    """The hosts whose folder differs from that of `but`, of those that could be asked.

    If `but` has none itself, or a damaged one, the others are judged by their own marks.
    """
    own = known.get(but.name, Copy())
    noted = own.noted if own.intact and own.made_from == made_from else None

    def fine(copy: Copy) -> bool:
        return copy.intact and copy.made_from == made_from and noted in (None, copy.noted)

    return [
        host for host in hosts if host != but and host.name in known and not fine(known[host.name])
    ]
