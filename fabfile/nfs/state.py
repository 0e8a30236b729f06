"""What the servers know about themselves and about each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Optional

from runbook.declare.answers import Time, UnitState, one
from runbook.declare.facts import Fact, Facts
from runbook.declare.templates import script
from runbook.errors import MissingFact
from runbook.inventory.cluster import Cluster, Host
from runbook.inventory.entry import between

from ..shared.keepalived import holders
from ..shared.roles import NFS
from .common import RESCUED, RUN, SCRIPTS, STATE, SYNC, USER, trees, vip

Generation = Annotated[int, between(0, 10**9 - 1)]


@dataclass(frozen=True)
class Server:
    """One server: its generation, whether it led in it, whether it may lead, what it copies.

    `generation`: None if its file does not contain a number.
    `behind`: what the standby lacks, according to the active server; None if that is unknown.
    `oldest`: seconds since the oldest of these files was changed. `rescued`: files that were kept
    here and exist nowhere else, or are newer than those that clients see.
    """

    generation: Optional[int]
    led: bool
    fit: bool
    copying: str
    exports: frozenset[str]
    behind: Optional[tuple[str, ...]]
    oldest: int
    rescued: tuple[str, ...]


def _questions(cluster: Cluster, host: Host) -> str:
    return script(
        "nfs/server-state.sh",
        user=USER,
        scripts=SCRIPTS,
        state=STATE,
        run=RUN,
        sync=SYNC,
        address=vip(cluster).address,
        rescued=script(
            "nfs/rescued.sh",
            rescued=RESCUED,
            trees=" ".join(tree.path for tree in trees(cluster)),
        ),
    )


def parse(text: str) -> Server:
    """Parse the answer of SERVER: lines of a word and its value."""
    told: dict[str, list[str]] = {}
    for line in text.splitlines():
        word, _, value = line.partition(" ")
        told.setdefault(word, []).append(value)
    generation = told["generation"][0]
    changed = [line.partition(" ") for line in told.get("lacks", [])]
    now = one(told.get("compared", ["0"])[0], Time)
    return Server(
        generation=one(generation, Generation) if generation else None,
        led=bool(generation) and told["led"][0] == generation,
        fit="fit" in told,
        copying=one(told["copying"][0], UnitState),
        exports=frozenset(told.get("export", [])),
        behind=tuple(path for _, _, path in changed) if "compared" in told else None,
        oldest=max((now - one(when, Time) for when, _, _ in changed), default=0),
        rescued=tuple(told.get("rescued", [])),
    )


SERVER = Fact(
    "the state of the share",
    on=NFS,
    command=_questions,
    parse=parse,
    absent="fab nfs sets it up",
)


def active(cluster: Cluster, facts: Facts) -> Optional[Host]:
    """The server that holds the VIP; None if neither does, or both."""
    found = holders(cluster, vip(cluster), facts)
    return found[0] if len(found) == 1 else None


def the_active(cluster: Cluster, facts: Facts) -> Host:
    """The server that holds the VIP; MissingFact if neither does, or both."""
    holder = active(cluster, facts)
    if not holder:
        raise MissingFact("No server holds the VIP of the share, or both do. See fab nfs.check.")
    return holder
