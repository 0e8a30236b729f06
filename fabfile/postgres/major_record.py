"""What servers know of an upgrade to another major version: where it is, and what they hold."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Optional

from runbook.declare import steps
from runbook.declare.answers import Count, Name, lines_of, one
from runbook.declare.facts import Fact, Facts
from runbook.declare.step import Step, Steps
from runbook.declare.steps import command
from runbook.declare.templates import script
from runbook.errors import RunbookError
from runbook.inventory.cluster import Cluster, Host
from runbook.inventory.entry import named

from ..shared.roles import POSTGRES
from .common import members

RECORD = "/var/lib/airflow-runbook/postgres-major"
"""A folder of root's on each database server, with a file for each point that was reached."""

PLAN, STOPPED, UPGRADED = "plan", "stopped", "upgraded"
STARTED, FINISHED, BACK = "started", "finished", "back"

Major = Annotated[str, named("major version", "[1-9][0-9]")]
Stamp = Annotated[str, named("time: `20261129-120000`", "[0-9]{8}-[0-9]{6}")]
Location = Annotated[str, named("position in WAL: `0/5000028`", "[0-9A-F]{1,8}/[0-9A-F]{1,8}")]
State = Annotated[str, named("state of a database", "[a-z ]{1,60}")]


@dataclass(frozen=True)
class Record:
    """An upgrade `old` → `new` of the server that led when it began; `when` is in names of folders.

    `position`: where all servers stopped. `upgraded`: pg_upgrade has ended. `started`: the new
    version may have written. `back`: the server whose old data is used again, and when that began.
    """

    old: str
    new: str
    leader: str
    when: str
    position: str = ""
    upgraded: bool = False
    started: bool = False
    finished: bool = False
    back: Optional[tuple[str, str]] = None

    @property
    def plan(self) -> str:
        """The line that a server keeps of it."""
        return f"{self.old} {self.new} {self.leader} {self.when}"


@dataclass(frozen=True)
class Directory:
    """A data directory: the database that it holds, its last checkpoint, its state."""

    system: int
    checkpoint: str
    state: str


def parse_record(text: str) -> Optional[Record]:
    """Parse the answer of RECORDED: a file's name and its line, or `none`."""
    files = {}
    for line in text.splitlines():
        name, _, content = line.partition(" ")
        files[name] = content.split()
    if PLAN not in files:
        return None
    old, new, leader, when = files[PLAN]
    back = files.get(BACK)
    return Record(
        one(old, Major),
        one(new, Major),
        one(leader, Name),
        one(when, Stamp),
        position=one(files[STOPPED][0], Location) if STOPPED in files else "",
        upgraded=UPGRADED in files,
        started=STARTED in files,
        finished=FINISHED in files,
        back=(one(back[0], Name), one(back[1], Stamp)) if back else None,
    )


RECORDED: Fact[Optional[Record]] = Fact(
    "an upgrade to another major version",
    on=POSTGRES,
    command=lambda cluster, host: (
        f"echo none; cd {RECORD} 2>/dev/null || exit 0\n"
        'for file in *; do [[ ! -f $file ]] || echo "$file $(<"$file")"; done'
    ),
    parse=parse_record,
    absent="it does not answer",
)


def parse_directories(text: str) -> dict[str, Directory]:
    """Parse the answer of DIRECTORIES: `15 7301234567890 0/5000028 shut down`."""
    found = {}
    for line in lines_of(text, 1)[1:]:
        match = re.fullmatch(r"(\S+) (\S+) (\S+) (.+)", line)
        if not match:
            raise ValueError(line)
        major, system, checkpoint, state = match.groups()
        found[one(major, Major)] = Directory(
            one(system, Count), one(checkpoint, Location), one(state, State)
        )
    return found


DIRECTORIES = Fact(
    "its data directories",
    on=POSTGRES,
    command=lambda cluster, host: script("postgres/data-directories.sh"),
    parse=parse_directories,
    absent="it does not answer",
)


def recorded(cluster: Cluster, facts: Facts) -> Optional[Record]:
    """The upgrade that the servers know of, an unfinished one if there is; None if there is none.

    Refused if they know of different ones.
    """
    known = {name: record for name, record in facts.known(RECORDED).items() if record}
    going = {name: record for name, record in known.items() if not record.finished} or known
    if not going:
        return None
    first = next(iter(going.values()))
    if any(record.plan != first.plan for record in going.values()):
        told = "; ".join(f"{name}: {record.plan}" for name, record in going.items())
        raise RunbookError(
            f"The servers know of different upgrades ({told}). Remove the record that is wrong: "
            f"rm -r {RECORD}"
        )
    return Record(
        *(first.old, first.new, first.leader, first.when),
        position=next((record.position for record in going.values() if record.position), ""),
        upgraded=any(record.upgraded for record in going.values()),
        started=any(record.started for record in going.values()),
        finished=all(record.finished for record in going.values()),
        back=next((record.back for record in going.values() if record.back), None),
    )


def upgraded_in_place(record: Record, cluster: Cluster) -> Host:
    """The server that led when the upgrade began."""
    for host in members(cluster):
        if host.name == record.leader:
            return host
    raise RunbookError(
        f"{record.leader}, which led when the upgrade to PostgreSQL {record.new} began, is not a "
        f"database server in {cluster.file.name}. Nothing was changed."
    )


def begun(record: Record) -> Steps:
    """The server knows of this upgrade, and of no earlier one."""
    plan = f"{RECORD}/{PLAN}"
    yield command(
        "no earlier upgrade is recorded",
        f"rm -rf {RECORD}",
        unless=f'[[ ! -e {plan} || $(<{plan}) == "{record.plan}" ]]',
    )
    yield steps.directory(RECORD)
    yield steps.file(plan, record.plan)


def reached(point: str, text: str = "yes") -> Step:
    """The server knows that this point of the upgrade was reached."""
    return steps.file(f"{RECORD}/{point}", text)


def forgotten_record() -> Step:
    """The server knows of no upgrade any more."""
    return command("no upgrade is recorded any more", f"rm -rf {RECORD}", f"[[ ! -e {RECORD} ]]")
