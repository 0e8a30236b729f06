"""The steps of a restore: data aside, files of a backup, WAL up to a moment, and a new backup."""

from __future__ import annotations

from runbook.declare.facts import Facts
from runbook.declare.step import Step, quote
from runbook.declare.steps import action, command, precondition
from runbook.declare.templates import script
from runbook.declare.work import Stage, stage
from runbook.inventory.cluster import Cluster

from .archive import recovery_command
from .backup import PGBACKREST
from .common import BY_POSTGRES, PSQL, binaries, data
from .hold import ALONE
from .repository import BACKUPS, take, the_repository


def restored(cluster: Cluster, to: str, now: str) -> tuple[Step, ...]:
    """The files of the backup and the WAL up to that time; then the database has opened once."""
    return (
        moved_aside(cluster, now),
        fetched(cluster, to),
        recovered(cluster),
        verified(),
        no_recovery_left(cluster),
    )


def full_backup(cluster: Cluster) -> Stage:
    """WAL of the new timeline arrives, and later restores begin from here."""
    return stage(
        "a new full backup", the_repository(cluster), wal_arrives(cluster), take(cluster, "full")
    )


def archived() -> Step:
    """Everything written so far is in the repository."""
    return action(
        "the last WAL segment is in the repository",
        f"""last=$({PSQL} -c 'select pg_walfile_name(pg_switch_wal())')
until [[ $({PSQL} -c "select last_archived_wal >= '$last' from pg_stat_archiver") == t ]]
do sleep 1; done""",
        timeout=600,
    )


def room(cluster: Cluster, facts: Facts) -> Step:
    """There is room for another copy: the present data stays on the server."""
    backups = facts.of(BACKUPS, the_repository(cluster)).backups
    size = max((one.database for one in backups if not one.failed), default=0)
    need = size * 11 // 10 // 1_000_000 + 1024
    folder = data(cluster).rpartition("/")[0].rpartition("/")[0]
    free = f"$(df --output=avail -B1000000 {folder} | tail -1)"
    return precondition(
        f"{folder} has room for the restored database, {need} MB",
        f"(({free} >= {need}))",
        f"""echo "A restore needs {need} MB in {folder}, beside the present data, and only"
echo "{free} MB are free. Make room, or move older copies to another disk:"
ls -d {folder}/*/data.* 2>/dev/null || :""",
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


def wal_arrives(cluster: Cluster) -> Step:
    """pgBackRest's own check: WAL of the new timeline arrives."""
    return action("WAL reaches the repository", f"{PGBACKREST} --stanza={cluster.name} check")
