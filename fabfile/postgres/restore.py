"""Point-in-time restore. Replaced data is moved aside on each server, never deleted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from time import strftime

from runbook.declare.facts import Facts
from runbook.declare.step import Step, quote
from runbook.declare.steps import action, command
from runbook.declare.templates import script
from runbook.declare.work import Procedure, Question, stage
from runbook.errors import MissingFact, RunbookError, UsageError
from runbook.inventory.cluster import Cluster, Host

from .archive import recovery_command
from .backup import PGBACKREST
from .common import (
    BY_POSTGRES,
    MAJOR,
    PSQL,
    binaries,
    data,
    key,
    members,
    refuse_another_major,
    section,
)
from .etcd import ETCD
from .members import MEMBER, leader, serves
from .repository import BACKUPS, take, the_repository

ALONE = "postgresql-restore.service"
"""PostgreSQL without Patroni, for as long as the restore takes."""

MOMENT = re.compile(r"\d{4}-\d{2}-\d{2} \d{2}:\d{2}(:\d{2}(\.\d+)?)?[+-]\d{2}(:?\d{2})?")


@section.procedure(
    needs=[MEMBER, ETCD, BACKUPS, MAJOR],
    help={
        "to": "the point in time, such as '2026-11-22 09:30:00+00', or latest",
        "i_know": "accept the loss of what was written after that time",
    },
)
def restore(
    hosts: Sequence[Host], cluster: Cluster, facts: Facts, *, to: str, i_know: bool = False
) -> Procedure:
    """Restore the database to a point in time: 'YYYY-MM-DD HH:MM:SS+00'. Asks first.

    What was written after that time is lost, so it needs --i-know. Stop Airflow first, because it
    writes. The present data directories stay on the servers under another name.
    """
    refuse_restore(cluster, facts, to, i_know)
    first = restored_on(cluster, facts)
    others = [host for host in members(cluster) if host != first]
    yield Question(
        f"The database is restored to {to}, first on {first.name}. It is down until that is done."
    )
    if facts.known(MEMBER).get(first.name):
        yield stage("the last WAL reaches the archive", first, archived())
    yield stage("stop the replicas", others, stopped())
    yield stage(f"stop {first.name}", first, stopped())
    now = strftime("%Y%m%d-%H%M%S")
    yield stage(
        f"restore on {first.name}",
        first,
        moved_aside(cluster, now),
        fetched(cluster, to),
        recovered(cluster),
        verified(),
        no_recovery_left(cluster),
        forgotten(cluster),
        leads(first),
    )
    yield stage("copy to the replicas", others, moved_aside(cluster, now), follows)
    yield stage(
        "a new full backup", the_repository(cluster), wal_arrives(cluster), take(cluster, "full")
    )


def refuse_restore(cluster: Cluster, facts: Facts, to: str, i_know: bool) -> None:
    """Refuse without a point in time, a backup, all members, and consent to lose later writes."""
    refuse_another_major(cluster, facts)
    if to != "latest" and not MOMENT.fullmatch(to):
        raise UsageError(
            f"{to!r} is not a point in time; write 'YYYY-MM-DD HH:MM:SS+00', with the time zone."
        )
    if facts.of(BACKUPS, the_repository(cluster)).age is None:
        raise RunbookError("There is no backup to restore from.")
    away = [host.name for host in members(cluster) if host.name not in facts.known(ETCD)]
    if away:
        raise RunbookError(
            f"{', '.join(away)} cannot be reached; it could come back with the old data. "
            "Bring it back first, or take it out: fab postgres.remove"
        )
    if not i_know:
        raise UsageError(
            f"What was written after {to} will be lost. If that is intended, add --i-know."
        )


def restored_on(cluster: Cluster, facts: Facts) -> Host:
    """The leader, or the first server if none leads."""
    try:
        return leader(cluster, facts)
    except MissingFact:
        return members(cluster)[0]


def archived() -> Step:
    """Everything written so far is in the repository."""
    return action(
        "the last WAL segment is in the repository",
        f"""last=$({PSQL} -c 'select pg_walfile_name(pg_switch_wal())')
until [[ $({PSQL} -c "select last_archived_wal >= '$last' from pg_stat_archiver") == t ]]
do sleep 1; done""",
        timeout=600,
    )


def stopped() -> Step:
    """Neither Patroni nor PostgreSQL runs, not even that of an interrupted restore."""
    return command(
        "Patroni and PostgreSQL are stopped",
        f"""systemctl stop patroni
if systemctl is-active -q {ALONE}; then systemctl stop {ALONE}; fi""",
        unless=f"unit_is patroni.service inactive && unit_is {ALONE} inactive",
        timeout=900,
    )


def moved_aside(cluster: Cluster, when: str) -> Step:
    """The data directory is out of the way, whole."""
    kept = f"{data(cluster)}.before-{when}"
    return command(
        f"the present data are in {kept}",
        f"""if [[ -e {data(cluster)} ]]; then {BY_POSTGRES} mv -T {data(cluster)} {kept}; fi
{BY_POSTGRES} mkdir -p -m 0700 {data(cluster)}""",
        unless=f"[[ -d {data(cluster)} && ! -e {data(cluster)}/PG_VERSION ]]",
    )


def fetched(cluster: Cluster, to: str) -> Step:
    """The files of the backup before that moment."""
    target = "" if to == "latest" else f" --type=time --target={quote(to)} --target-action=promote"
    fetch = f"--recovery-option={quote(f'restore_command={recovery_command(cluster)}')}"
    return command(
        "the files are restored",
        f"{PGBACKREST} --stanza={cluster.name}{target} {fetch} restore",
        unless=f"[[ -e {data(cluster)}/PG_VERSION ]]",
        timeout=6 * 3600,
    )


def recovered(cluster: Cluster) -> Step:
    """WAL is replayed up to that time, by a PostgreSQL to which no client can connect.

    Not as a hot standby, which would stop for ever if max_connections was higher then than now.
    """
    return action(
        "WAL is replayed",
        script(
            "postgres/replay.sh",
            unit=ALONE,
            programs=binaries(cluster),
            data=data(cluster),
        ),
        timeout=6 * 3600,
    )


def verified() -> Step:
    """The database opens; then it stops again, for Patroni to start it."""
    return action(
        "the database airflow opens",
        f"{PSQL} -d airflow -c 'select count(*) from pg_class'\nsystemctl stop {ALONE}",
        timeout=900,
    )


def no_recovery_left(cluster: Cluster) -> Step:
    """The next start must not try to recover again."""
    path = f"{data(cluster)}/postgresql.auto.conf"
    return command(
        "no recovery settings are left",
        f"{BY_POSTGRES} sed -i -E '/^(restore_command|recovery_target)/d' {path}",
        unless=f"! {BY_POSTGRES} grep -qE '^(restore_command|recovery_target)' {path}",
    )


def forgotten(cluster: Cluster) -> Step:
    """Delete the leader and positions from etcd; settings and identifier stay."""
    keys = ("leader", "status", "sync", "failover", "failsafe", "history")
    return action(
        "etcd has no previous leader",
        "\n".join(f"etcdctl del {key(cluster, name)}" for name in keys),
    )


def leads(host: Host) -> Step:
    """Patroni runs here, as leader."""
    api = f"http://{host.address}:8008"
    return action(
        f"{host.name} leads",
        f"systemctl start patroni\nuntil curl -sf -o /dev/null {api}/primary; do sleep 1; done",
    )


def follows(host: Host) -> Step:
    """Patroni copies the leader's data and streams."""
    return action(
        "it follows the new leader",
        f"systemctl start patroni\nuntil {serves(host)}; do sleep 1; done",
        timeout=6 * 3600,
    )


def wal_arrives(cluster: Cluster) -> Step:
    """pgBackRest's own check: WAL of the new timeline arrives."""
    return action("WAL reaches the repository", f"{PGBACKREST} --stanza={cluster.name} check")
