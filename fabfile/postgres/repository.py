"""The repository: WAL and backups of the database, on a server of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Optional, Union

import msgspec

from runbook.declare import steps
from runbook.declare.answers import Count, Time, of_json, one
from runbook.declare.facts import Fact, Facts
from runbook.declare.step import Step, Steps
from runbook.declare.steps import action, command
from runbook.declare.work import Procedure, stage
from runbook.errors import RunbookError, UsageError
from runbook.inventory.cluster import Cluster, Host
from runbook.inventory.entry import named

from .backup import PGBACKREST, repository_hosts
from .common import BY_POSTGRES, section
from .settings import Postgres

TYPES = ("full", "diff", "incr")


@dataclass(frozen=True)
class Backup:
    """One backup in the repository; times are seconds since 1970, sizes bytes.

    `database`: the size of the files that a restore writes. `major`: PostgreSQL's major version.
    """

    label: str
    type: str
    start: int
    stop: int
    size: int
    failed: bool
    database: int = 0
    major: str = ""


@dataclass(frozen=True)
class Repository:
    """What the repository holds, the oldest backup first; `now` is its server's clock.

    `system`: the identifier of the database, 0 if there is none.
    """

    now: int
    backups: list[Backup]
    system: int = 0

    @property
    def age(self) -> Optional[int]:
        """Seconds since the newest backup that did not fail; None if there is none."""
        return self.age_of(*TYPES)

    def age_of(self, *types: str) -> Optional[int]:
        """Seconds since the newest backup of these types that did not fail."""
        good = [one.stop for one in self.backups if not one.failed and one.type in types]
        return self.now - max(good) if good else None


_STAMP = "[0-9]{8}-[0-9]{6}"
Label = Annotated[str, named("label of a backup", f"{_STAMP}F(?:_{_STAMP}[DI])?")]


class _Span(msgspec.Struct):
    start: Time
    stop: Time


class _Size(msgspec.Struct):
    delta: Count


class _About(msgspec.Struct):
    repository: _Size
    size: Count = 0


class _Key(msgspec.Struct):
    """Which of the stanza's databases a backup is of."""

    id: Count = 0


class _Listed(msgspec.Struct):
    """A backup as `pgbackrest info` prints it."""

    label: Label
    type: Literal["full", "diff", "incr"]
    timestamp: _Span
    info: _About
    error: Union[bool, None] = False
    database: _Key = msgspec.field(default_factory=_Key)


class _Database(msgspec.Struct):
    system: Count = msgspec.field(name="system-id")
    id: Count = 0
    version: Annotated[str, named("major version", "[0-9.]{0,5}")] = ""


class _Stanza(msgspec.Struct):
    backup: list[_Listed] = []
    db: list[_Database] = []


def parse(text: str) -> Repository:
    """Parse the answer of BACKUPS: the time, and `pgbackrest info` of the only stanza."""
    now, _, info = text.partition("\n")
    stanzas = of_json(info, list[_Stanza])
    backups = [
        Backup(
            label=listed.label,
            type=listed.type,
            start=listed.timestamp.start,
            stop=listed.timestamp.stop,
            size=listed.info.repository.delta,
            failed=bool(listed.error),
            database=listed.info.size,
            major=next((own.version for own in stanza.db if own.id == listed.database.id), ""),
        )
        for stanza in stanzas
        for listed in stanza.backup
    ]
    systems = [found.system for stanza in stanzas for found in stanza.db]
    return Repository(one(now, Time), backups, systems[-1] if systems else 0)


BACKUPS = Fact(
    "the list of backups",
    on=repository_hosts,
    command=lambda cluster, host: (
        f"date +%s\n{PGBACKREST} --stanza={cluster.name} --log-level-console=off info --output=json"
    ),
    parse=parse,
    absent="fab postgres.backup-repository prepares the repository",
)


@section.task(on=repository_hosts)
def backup_repository(host: Host, cluster: Cluster) -> Steps:
    """Prepare the repository, prove that WAL reaches it, and back up on a schedule."""
    backup = cluster[Postgres].backup
    stanza = f"{PGBACKREST} --stanza={cluster.name}"
    yield folder(cluster)
    yield command(
        f"the repository knows the cluster {cluster.name}",
        f"{stanza} stanza-create",
        unless=f"[[ -s {backup.path}/archive/{cluster.name}/archive.info "
        f"&& -s {backup.path}/backup/{cluster.name}/backup.info ]]",
    )
    yield command(
        "WAL of the leader reaches the repository",
        f"{stanza} check",
        unless=f"{BY_POSTGRES} find {backup.path}/archive/{cluster.name} -name '*.gz' -print -quit"
        " | grep -q .",
    )
    context = {"cluster": cluster}
    yield steps.unit("pgbackrest-backup@.service", "postgres/pgbackrest-backup.service.j2", context)
    for kind, calendar in (("full", backup.full), ("diff", backup.differential)):
        name = f"pgbackrest-{kind}.timer"
        about = {"kind": kind, "calendar": calendar}
        yield steps.unit(name, "postgres/pgbackrest.timer.j2", about).then(steps.restarted(name))
        yield steps.service(name)
    yield command(
        "there is a first full backup",
        f"{stanza} --type=full backup",
        unless=f"{BY_POSTGRES} ls -d {backup.path}/backup/{cluster.name}/*F",
        timeout=6 * 3600,
    )


def folder(cluster: Cluster) -> Step:
    """The repository's folder is postgres'."""
    return steps.directory(cluster[Postgres].backup.path, "0750", "postgres", "postgres")


@section.procedure(needs=[BACKUPS], on=repository_hosts, help={"type": "full, diff or incr"})
def backup(
    hosts: Sequence[Host], cluster: Cluster, facts: Facts, *, type: str = "diff"
) -> Procedure:
    """Back up now: --type full, diff or incr.

    diff: what changed since the last full one; incr: since the last one of any kind.
    """
    if type not in TYPES:
        raise UsageError(f"--type {type} is not a type of backup; allowed: {', '.join(TYPES)}.")
    yield stage(f"a {type} backup", the_repository(cluster), take(cluster, type))


def take(cluster: Cluster, type: str) -> Step:
    """A backup of this type."""
    return action(
        f"{type} backup of {cluster.name}",
        f"{PGBACKREST} --stanza={cluster.name} --type={type} backup",
        timeout=6 * 3600,
    )


def the_repository(cluster: Cluster) -> Host:
    """The server that keeps the backups; an error if hosts.yaml names none."""
    for host in repository_hosts(cluster):
        return host
    raise RunbookError(f"{cluster.file.name} has no postgres.backup.host, so there are no backups.")


@section.table(needs=[BACKUPS])
def backups(cluster: Cluster, facts: Facts) -> list[dict[str, Any]]:
    """List the backups that a restore can start from."""
    from time import localtime, strftime

    return [
        {
            "backup": one.label,
            "type": one.type,
            "finished": strftime("%Y-%m-%d %H:%M:%S%z", localtime(one.stop)),
            "seconds": one.stop - one.start,
            "MB": round(one.size / 1_000_000, 1),
            "": "failed" if one.failed else "",
        }
        for one in facts.of(BACKUPS, the_repository(cluster)).backups
    ]
