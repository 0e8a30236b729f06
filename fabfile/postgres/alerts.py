"""What the monitoring reads on the servers of the database, and when it alerts."""

from __future__ import annotations

from runbook.declare.probes import ERROR, WARN
from runbook.inventory.cluster import Cluster

from ..shared.metrics import HOST, Alert, Alerts, Reading, Watched, in_steps
from ..shared.roles import POSTGRES
from .backup import repository_hosts
from .check import (
    BEHIND,
    ETCD_DOWN,
    ETCD_MEMBER,
    FAR_BEHIND,
    NO_LEADER,
    PAUSED,
    REPLICA,
    RESTART,
    TWO_LEADERS,
    etcd_said,
)
from .check_backups import BACKUP, DAY, GRACE, longest_gap
from .check_servers import (
    AGE,
    ARCHIVE,
    CONNECTIONS,
    CROWDED,
    DROPPED,
    FULL,
    LAST_NUMBERS,
    ONE_COPY,
    PAGES,
    SLOW,
    STUCK,
)
from .common import PATRONICTL, members
from .figures import numbers
from .pools import DOWN, LONG, POOLER, WAITS, pooled
from .pools import STUCK as STUCK_IN_POOL
from .repository import BACKUPS
from .settings import Postgres

READINGS = (
    Reading("database", POSTGRES, lambda cluster, host: numbers(cluster)),
    Reading("etcd", POSTGRES, lambda cluster, host: etcd_said(host)),
    Reading("pooler", pooled, POOLER.command),
    Reading("backups", repository_hosts, BACKUPS.command),
)


def alerts(cluster: Cluster) -> Alerts:
    """All of the database's."""
    if members(cluster):
        yield from leaders()
        yield from followers(cluster)
        yield from etcd(cluster)
        yield from servers(cluster)
        yield from poolers()
    if repository_hosts(cluster):
        yield from backups(cluster)


def leaders() -> Alerts:
    """Exactly one server leads."""
    yield Alert(
        NO_LEADER,
        ERROR,
        "sum(patroni_primary) == 0 or absent(patroni_primary)",
        "no server leads: the database is read-only or down",
        "wait half a minute if a server has just failed; else, once a majority of them is up: "
        "fab postgres.etcd postgres.patroni",
        wait=30,
    )
    yield Alert(
        TWO_LEADERS,
        ERROR,
        "sum(patroni_primary) > 1",
        "{{ $value }} servers say they lead",
        "stop one: systemctl stop patroni",
        wait=30,
    )


def followers(cluster: Cluster) -> Alerts:
    """The other servers follow, and may take over."""
    again = f"fab -H {HOST} postgres.patroni; if that does not help: fab postgres.reinit {HOST}"
    yield Alert(
        REPLICA,
        ERROR,
        'max by (host) (up{job="patroni"} == bool 0) == 1\n'
        "or max by (host) (patroni_postgres_running == bool 0) == 1\n"
        "or max by (host) (patroni_replica - patroni_postgres_streaming) == 1",
        f"{HOST}: its PostgreSQL or Patroni does not run, or does not stream from the leader",
        again,
    )
    yield Alert(
        BEHIND,
        WARN,
        "scalar(max(patroni_xlog_location))\n"
        f"- max by (host) (patroni_xlog_replayed_location and patroni_replica == 1) > {FAR_BEHIND}",
        f"{HOST} is {{{{ $value | humanize1024 }}}}B behind",
        f"it recovers by itself; after some minutes: {again}",
        wait=120,
    )
    yield Alert(
        PAUSED,
        WARN,
        "max(patroni_is_paused) == 1",
        "Patroni is paused",
        f"fab -H {members(cluster)[0].name} -- sudo {PATRONICTL} resume",
    )
    yield Alert(
        RESTART,
        WARN,
        "max by (host) (patroni_pending_restart) == 1",
        f"settings of {HOST} wait for a restart",
        "fab postgres.restart",
        wait=300,
    )
    settings = cluster[Postgres]
    if settings.synchronous_mode and len(members(cluster)) > 1:
        yield Alert(
            ONE_COPY,
            ERROR if settings.synchronous_mode_strict else WARN,
            "(sum(patroni_sync_standby) or vector(0)) + (sum(patroni_quorum_standby) or vector(0))"
            " == 0\nand sum(patroni_primary) == 1",
            "no standby is synchronous",
            "fab postgres.patroni",
        )


def etcd(cluster: Cluster) -> Alerts:
    """etcd has its quorum, and all of its members."""
    majority = len(members(cluster)) // 2 + 1
    yield Alert(
        ETCD_DOWN,
        ERROR,
        f"(sum(runbook_etcd_healthy) or vector(0)) < {majority}",
        f"{{{{ $value }}}} of {len(members(cluster))} members of etcd are healthy",
        "fab postgres.etcd",
    )
    yield Alert(
        ETCD_MEMBER,
        ERROR,
        "max by (host) (runbook_etcd_healthy) == 0\n"
        f"and on () sum(runbook_etcd_healthy) >= {majority}",
        f"etcd on {HOST} does not run, or has no quorum",
        f"fab -H {HOST} postgres.etcd",
    )


def servers(cluster: Cluster) -> Alerts:
    """WAL leaves the leader; connections and transaction numbers are left; no page is damaged."""
    leads = "\nand on (host) max by (host) (patroni_primary) == 1"
    if repository_hosts(cluster):
        fix = "fab postgres.backup-repository"
        fails = f"max by (host) (runbook_wal_archiving) == 0{leads}"
        yield Alert(ARCHIVE, ERROR, fails, "the last attempt to archive WAL failed", fix)
        oldest = "max by (host) (runbook_wal_waiting_seconds)"
        says = "WAL waits for the archive, the oldest for {{ $value | humanizeDuration }}"
        slow, stuck = f"{oldest} > {SLOW} <= {STUCK}{leads}", f"{oldest} > {STUCK}{leads}"
        yield Alert(ARCHIVE, WARN, slow, says, fix, about="waiting")
        yield Alert(ARCHIVE, ERROR, stuck, says, fix, about="waiting")
        yield Alert(
            DROPPED,
            ERROR,
            "max by (host) (runbook_wal_dropped_seconds)\n"
            ">= scalar(max(runbook_backup_started_seconds) or vector(0))",
            f"{HOST} has given up WAL that the repository did not take",
            "when the repository works again: fab postgres.backup --type full",
        )
    yield from in_steps(
        CONNECTIONS,
        "100 * runbook_database_connections / runbook_database_connections_allowed",
        (CROWDED, FULL),
        f"{HOST} has {{{{ $value | printf `%.0f` }}}} % of its connections in use",
        "close what does not need them: select * from pg_stat_activity; or set max_connections "
        "in postgres.parameters, then: fab postgres.settings postgres.restart",
    )
    yield Alert(
        PAGES,
        ERROR,
        "max by (host) (runbook_database_damaged_pages) > 0",
        f"{HOST} has read {{{{ $value }}}} with wrong checksums since its statistics were reset",
        "replace or check its disk; on a replica: fab postgres.reinit HOST; if it leads, first "
        "fab postgres.switchover; then select pg_stat_reset() in each database there",
    )
    age = "max by (host) (runbook_database_oldest_row)"
    says = "the oldest row is {{ $value }} transactions old"
    fix = (
        "end what holds vacuum back: an old transaction (pg_stat_activity), a prepared one "
        "(pg_prepared_xacts), a replication slot (pg_replication_slots); then vacuumdb --freeze -a"
    )
    late = f"{age} > 2 * max by (host) (runbook_database_freezes_at) <= {LAST_NUMBERS}"
    yield Alert(AGE, WARN, f"{late}{leads}", says, fix)
    yield Alert(AGE, ERROR, f"{age} > {LAST_NUMBERS}{leads}", says, fix)


def poolers() -> Alerts:
    """PgBouncer answers, where there is one, and nobody waits long for a connection."""
    yield Alert(
        DOWN,
        ERROR,
        "max by (host) (runbook_pooler_answers) == 0",
        f"PgBouncer on {HOST} does not run, or does not answer",
        f"fab -H {HOST} postgres.pooler; see journalctl -u pgbouncer there",
    )
    yield from in_steps(
        WAITS,
        "runbook_pooler_wait_seconds",
        (LONG, STUCK_IN_POOL),
        f"a client of PgBouncer on {HOST} has waited for {{{{ $value | humanizeDuration }}}}",
        "end long transactions: select * from pg_stat_activity order by xact_start; or raise "
        "postgres.pool_size, then: fab postgres.settings postgres.pooler postgres.restart",
    )


def backups(cluster: Cluster) -> Alerts:
    """There is a backup; it, its test, and etcd's copies are not older than planned."""
    planned = cluster[Postgres].backup
    any_type = longest_gap(planned.full, planned.differential) or 8 * DAY
    full = longest_gap(planned.full) or 35 * DAY
    [keeper, *_] = repository_hosts(cluster)
    yield Alert(
        BACKUP,
        ERROR,
        "absent(runbook_backup_finished_seconds)",
        "there is no backup, or the repository does not answer",
        "fab postgres.backup-repository",
        wait=600,
        host=keeper.name,
    )
    first = "see journalctl -u pgbackrest-backup@{} there, then: fab postgres.backup{}"
    for about, which, gap, fix in (
        ("backup", "", any_type, first.format("diff", "")),
        ("full backup", '{type="full"}', full, first.format("full", " --type full")),
    ):
        age = f"time() - max(runbook_backup_finished_seconds{which})"
        limits = (gap + GRACE, 2 * gap + GRACE)
        says = f"the newest {about} is {{{{ $value | humanizeDuration }}}} old"
        late, missed = f"{age} > {limits[0]} <= {limits[1]}", f"{age} > {limits[1]}"
        yield Alert(BACKUP, WARN, late, says, fix, about=about)
        yield Alert(BACKUP, ERROR, missed, says, fix, about=about)
    again = "fab postgres.backup-verify"
    newest = "max by (host) (runbook_restore_tried_seconds)"
    failed = "max by (host) (runbook_restore_succeeded) == 0"
    last = f"\nand {newest} == scalar(max(runbook_restore_tried_seconds))"
    says, about = "the last test restore failed", "test restore"
    yield Alert(BACKUP, ERROR, f"{failed}{last}", says, again, about=about)
    old = f"time() - max(runbook_restore_tried_seconds) > {35 * DAY}"
    says = "the last test restore was {{ $value | humanizeDuration }} ago"
    yield Alert(BACKUP, WARN, old, says, again, about=about)
    yield Alert(
        BACKUP,
        WARN,
        f"time() - max by (host) (runbook_etcd_copied_seconds) > {2 * DAY + GRACE}",
        f"the newest copy of what etcd holds on {HOST} is older than two days",
        "see journalctl -u etcd-snapshot there",
        about="etcd",
    )


WATCHED = Watched("postgres", READINGS, alerts)
