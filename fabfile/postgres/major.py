"""PostgreSQL changes to another major version with pg_upgrade, in link mode.

The order is that of the documentation of PostgreSQL ("pg_upgrade"), Patroni ("Major upgrades of
PostgreSQL versions") and pgBackRest ("Upgrading PostgreSQL"). All servers stop at the same
position; one is upgraded; the others keep their old data untouched, and copy the new from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from time import strftime

from runbook.declare.facts import Facts
from runbook.declare.step import Step, Steps
from runbook.declare.steps import action, command, service
from runbook.declare.templates import script
from runbook.declare.work import Procedure, Question, Stage, asked_again, stage
from runbook.errors import RunbookError
from runbook.inventory.cluster import Cluster, Host

from ..shared.versions import Versions
from .backup import PGBACKREST, participants, repository_hosts
from .backup import configuration as backup_configuration
from .before_upgrade import refuse_unless_whole
from .common import BY_POSTGRES, PATRONICTL, binaries, data, etcdctl, key, members
from .hold import MASKED, detached, released
from .major_before import (
    announced,
    is_under_way,
    only_major,
    prepared,
    refuse_other_plans,
    refuse_upgrade,
    refuse_without_all,
)
from .major_record import (
    DIRECTORIES,
    FINISHED,
    RECORD,
    STARTED,
    STOPPED,
    UPGRADED,
    Directory,
    Record,
    begun,
    reached,
    recorded,
    upgraded_in_place,
)
from .members import claiming, in_its_place, leader
from .patroni import in_etcd, no_half_copy, present
from .recover import forgotten, leads
from .restored import archived, full_backup


def to_another_major(cluster: Cluster, facts: Facts, i_know: bool) -> Procedure:
    """All servers change to hosts.yaml's major version; what was interrupted goes on."""
    wanted = cluster[Versions].postgresql
    record = recorded(cluster, facts)
    refuse_other_plans(record, wanted)
    if record and not record.finished and is_under_way(record, facts):
        refuse_without_all(cluster, facts)
        yield Question(f"The upgrade from PostgreSQL {record.old} to {record.new} goes on.")
        yield from carried_on(record, cluster, facts)
        return
    present = only_major(cluster, facts)
    if present == wanted:
        yield stage(
            f"PostgreSQL {wanted} runs", members(cluster), lambda host: in_its_place(host, cluster)
        )
        return
    refuse_upgrade(present, wanted, cluster, facts, i_know)
    refuse_unless_whole(cluster, facts, paused=record is not None)
    first = leader(cluster, facts)
    record = Record(present, wanted, first.name, strftime("%Y%m%d-%H%M%S"))
    yield Question(announced(record, cluster))
    yield from prepared(record, cluster, facts)
    yield from carried_on(record, cluster, facts)


def carried_on(record: Record, cluster: Cluster, facts: Facts) -> Procedure:
    """From the first stop to the end; what has been done already is left alone."""
    leading = [host for host in claiming(cluster, facts) if record.started]
    first = leading[0] if leading else upgraded_in_place(record, cluster)
    others = [host for host in members(cluster) if host != first]
    if not record.position:
        yield from stopped(record, cluster, facts)
    if not leading:
        yield from upgraded(record, cluster, facts, first)
    yield from completed(record, cluster, facts, first, others)


def stopped(record: Record, cluster: Cluster, facts: Facts) -> Procedure:
    """All servers stop at the same position, the leader first; nobody takes over from it."""
    first = upgraded_in_place(record, cluster)
    others = [host for host in members(cluster) if host != first]
    yield stage("note what is being done", members(cluster), lambda host: begun(record))
    yield stage("Patroni is paused", first, paused())
    yield stage("Patroni stops", members(cluster), detached())
    yield stage(f"stop PostgreSQL on {first.name}", first, shut_down(record, cluster))
    if others:
        title = "stop the replicas, which have all that it has"
        yield stage(title, others, shut_down(record, cluster, replica=True))
    yield asked_again(DIRECTORIES)
    position = common_position(record, cluster, facts)
    yield stage("note where they stopped", members(cluster), reached(STOPPED, position))


def paused() -> Step:
    """Patroni neither restarts what stops now, nor lets another server lead."""
    shown = f"timeout 20 {PATRONICTL} show-config 2>/dev/null"
    return command(
        "Patroni is paused on all servers",
        f"{PATRONICTL} pause --wait",
        unless=f"{MASKED} || {shown} | grep -qx 'pause: true'",
    )


def shut_down(record: Record, cluster: Cluster, replica: bool = False) -> Step:
    """PostgreSQL is shut down cleanly."""
    programs, path = binaries(cluster, record.old), data(cluster, record.old)
    state = "shut down in recovery" if replica else "shut down"
    control = f"{BY_POSTGRES} {programs}/pg_controldata -D {path}"
    kind = "replica" if replica else "leader"
    return command(
        f"PostgreSQL {record.old} is {state}",
        script("postgres/major-stop.sh", programs=programs, data=path, kind=kind),
        unless=f"LC_ALL=C {control} | grep -qx 'Database cluster state: *{state}'",
        timeout=1000,
    )


def common_position(record: Record, cluster: Cluster, facts: Facts) -> str:
    """Where all servers stopped; RunbookError if one of them lacks something."""
    known = {
        host.name: facts.of(DIRECTORIES, host).get(record.old, Directory(0, "0/0", "absent"))
        for host in members(cluster)
    }
    first = known[record.leader]
    where = {(own.system, own.checkpoint) for own in known.values()}
    if len(where) > 1 and first.state == "shut down":
        told = ", ".join(f"{name} at {own.checkpoint}" for name, own in known.items())
        raise RunbookError(
            f"The servers have not stopped at the same position: {told}. Nothing was upgraded. To "
            f"go on with PostgreSQL {record.old}: set versions.postgresql to "
            f'"{record.old}" and run fab postgres.upgrade --major --back'
        )
    return first.checkpoint


def upgraded(record: Record, cluster: Cluster, facts: Facts, first: Host) -> Iterator[Stage]:
    """One server has the new version, and leads with it."""
    yield stage(
        f"pg_upgrade on {first.name}", first, detached(), linked(record, cluster), reached(UPGRADED)
    )
    yield stage(
        "settings of pgBackRest",
        participants(cluster) or members(cluster),
        lambda host: pgbackrest_of(host, cluster),
    )
    yield stage(
        "etcd knows the new database",
        first,
        lambda host: present(host, cluster, facts),
        identified(cluster),
        in_etcd(cluster),
        forgotten(cluster),
    )
    yield stage(
        f"from here on, {first.name}'s old data is unusable", members(cluster), reached(STARTED)
    )
    yield stage(f"{first.name} leads with PostgreSQL {record.new}", first, released(), leads(first))


def linked(record: Record, cluster: Cluster) -> Step:
    """The database is in the new version's data directory; a former attempt is undone first."""
    common = {"old": binaries(cluster, record.old), "new": binaries(cluster)}
    paths = {"from": data(cluster, record.old), "to": data(cluster)}
    again = script("postgres/major-undo.sh", **common, **paths)
    empty = script("postgres/major-empty.sh", **common, data=paths["from"], empty=paths["to"])
    upgrade = script("postgres/major-upgrade.sh", **common, **paths)
    return command(
        f"PostgreSQL {record.old} has become {record.new}: pg_upgrade --link",
        f"{again}\n{empty}\n{upgrade}",
        unless=f"[[ -e {RECORD}/{UPGRADED} || "
        f"-e {paths['to']}/PG_VERSION && -e {paths['from']}/global/pg_control.old && "
        f"! -e {paths['to']}/pg_upgrade_output.d ]]",
        timeout=6 * 3600,
    )


def pgbackrest_of(host: Host, cluster: Cluster) -> Steps:
    """pgBackRest's settings, if it is in use."""
    if repository_hosts(cluster):
        yield backup_configuration(host, cluster)


def identified(cluster: Cluster) -> Step:
    """etcd has the identifier of the database in this data directory."""
    own = (
        f"$(LC_ALL=C {BY_POSTGRES} {binaries(cluster)}/pg_controldata "
        f"-D {data(cluster)} | sed -n 's/^Database system identifier: *//p')"
    )
    place = key(cluster, "initialize")
    return command(
        "etcd has the identifier of this database",
        f"{etcdctl()} put {place} {own}",
        unless=f"[[ $({etcdctl()} get --print-value-only {place}) == {own} ]]",
    )


def completed(
    record: Record, cluster: Cluster, facts: Facts, first: Host, others: list[Host]
) -> Procedure:
    """Statistics, backups and replicas; then nothing is left to do."""
    for keeper in repository_hosts(cluster):
        yield stage("the repository knows the new version", keeper, stanza_upgraded(cluster))
    yield stage("statistics and extensions", first, *refreshed(cluster))
    if others:
        yield stage(
            "copy to the replicas",
            others,
            no_half_copy(cluster),
            lambda host: present(host, cluster, facts),
            released(),
            service("patroni.service"),
            lambda host: in_its_place(host, cluster, "it follows the new leader"),
        )
    if repository_hosts(cluster):
        yield archives_again(first)
        yield full_backup(cluster)
    yield stage("note that it is done", members(cluster), reached(FINISHED))


def archives_again(first: Host) -> Stage:
    """WAL reaches the repository: PostgreSQL waits up to a minute after attempts that failed."""
    return stage("the WAL that has waited reaches the archive", first, archived())


def stanza_upgraded(cluster: Cluster) -> Step:
    """The repository accepts WAL and backups of this version; until now, WAL has waited.

    An attempt to archive WAL holds the lock for a moment: error 50 (pgBackRest's error.yaml).
    """
    upgraded = f"{PGBACKREST} --stanza={cluster.name} stanza-upgrade"
    return action(
        "pgBackRest expects the version that runs",
        f"until code=0; {upgraded} || code=$?; ((code != 50)); do sleep 1; done; ((code == 0))",
        timeout=120,
    )


def refreshed(cluster: Cluster) -> tuple[Step, Step]:
    """What pg_upgrade does not bring along, the most urgent first."""
    local = f"{BY_POSTGRES} env PGOPTIONS='-c synchronous_commit=local'"
    analyze = f"{local} {binaries(cluster)}/vacuumdb --all --analyze-in-stages"
    return (
        action("extensions are up to date", script("postgres/extensions.sh")),
        action("the planner has statistics", analyze, timeout=6 * 3600),
    )
