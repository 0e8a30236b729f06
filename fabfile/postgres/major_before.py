"""Before PostgreSQL changes its major version: what forbids it, and what is done in advance."""

from __future__ import annotations

from typing import Optional

import yaml

from runbook.declare import steps
from runbook.declare.facts import Facts
from runbook.declare.step import Step, Steps
from runbook.declare.steps import action, precondition
from runbook.declare.templates import script
from runbook.declare.work import Procedure, stage
from runbook.errors import RunbookError, UsageError
from runbook.inventory.cluster import Cluster, Host

from ..shared.versions import POSTGRESQL_FOR_AIRFLOW, Versions
from .backup import repository_hosts
from .before_upgrade import no_backup_runs
from .common import BY_POSTGRES, MAJOR, PSQL, binaries, data, members, with_repository
from .hold import HELD
from .install import pgdg
from .major_record import Record, upgraded_in_place
from .patroni import shared, sized
from .pools import CONSOLE, UNIT
from .repository import BACKUPS, take
from .restored import archived
from .settings import Postgres
from .versions import installed_alike, server_packages

FRESH = 24 * 3600
"""Seconds: a full backup that is older is made anew before anything stops."""


def is_under_way(record: Record, facts: Facts) -> bool:
    """Whether servers have been stopped for it; before that, it begins anew."""
    return any(facts.known(HELD).values()) or bool(record.position) or record.started


def only_major(cluster: Cluster, facts: Facts) -> str:
    """The major version of the database; refused if it has none, or more than one."""
    known = {name: major for name, major in facts.known(MAJOR).items() if major}
    if not known:
        raise RunbookError("There is no database yet: fab postgres")
    if len(set(known.values())) > 1:
        told = ", ".join(f"{name} {major}" for name, major in known.items())
        raise RunbookError(f"The servers have different versions of PostgreSQL: {told}.")
    return next(iter(known.values()))


def refuse_other_plans(record: Optional[Record], wanted: str) -> None:
    """Refuse while another upgrade, or the way back, is unfinished."""
    if not record or (record.finished and not record.back):
        return
    if record.back or wanted != record.new:
        way = "" if record.back else f', or to "{record.new}" and run fab postgres.upgrade --major'
        what = "The way back from" if record.back else "An upgrade to"
        raise RunbookError(
            f"{what} PostgreSQL {record.new} was interrupted. Set versions.postgresql to "
            f'"{record.old}" and run fab postgres.upgrade --major --back{way}.'
        )


def refuse_without_all(cluster: Cluster, facts: Facts) -> None:
    """Refuse while a server cannot be asked: it could come back with the old data."""
    away = [host.name for host in members(cluster) if host.name not in facts.known(HELD)]
    if away:
        raise RunbookError(
            f"{', '.join(away)} cannot be reached; it could come back with the old data. "
            "Bring it back first."
        )


def refuse_upgrade(present: str, wanted: str, cluster: Cluster, facts: Facts, i_know: bool) -> None:
    """Refuse an older version; without --i-know, also what Airflow is not tested with."""
    if int(wanted) < int(present):
        raise RunbookError(
            f"PostgreSQL {present} runs, and does not become {wanted}. After an upgrade, its old "
            "data can be used again: fab postgres.upgrade --major --back"
        )
    airflow = cluster[Versions].airflow
    lowest, highest = POSTGRESQL_FOR_AIRFLOW[airflow]
    if not i_know and not lowest <= int(wanted) <= highest:
        raise UsageError(
            f"Airflow {airflow} is tested with PostgreSQL {lowest} to {highest}, not with "
            f"{wanted}. If you have tested it yourself, add --i-know."
        )
    if not i_know and not repository_hosts(cluster):
        raise UsageError(
            f"{cluster.file.name} has no postgres.backup.host, so there would be no backup but a "
            "dump on the leader. If that is intended, add --i-know."
        )


def announced(record: Record, cluster: Cluster) -> str:
    """What the user confirms."""
    others = [host.name for host in members(cluster) if host.name != record.leader]
    way_back = (
        f"Until you delete it, the old data on {' and '.join(others)} is a way back."
        if others
        else "Once the new version has started, a dump and the backups are the only way back."
    )
    copies = f", then {', '.join(others)} copy it" if others else ""
    return (
        f"PostgreSQL {record.old} becomes {record.new}: first on {record.leader}, in place"
        f"{copies}. The database is down until the first one is done, and has one copy until the "
        "others are. Airflow has to be stopped: fab systemd.stop. A dump goes to "
        f"{dump_folder(record)} on {record.leader}; the old data stays in "
        f"{data(cluster, record.old)}. {way_back}"
    )


def dump_folder(record: Record) -> str:
    """Where the leader keeps the dump from before the upgrade."""
    return f"/var/lib/pgsql/before-{record.new}-{record.when}"


def prepared(record: Record, cluster: Cluster, facts: Facts) -> Procedure:
    """All that can be done and found out while the database goes on."""
    first, everybody = upgraded_in_place(record, cluster), members(cluster)
    yield stage("repositories", with_repository(cluster), lambda host: pgdg(cluster))
    yield stage(
        f"install PostgreSQL {record.new} beside {record.old}",
        everybody,
        room(record, cluster),
        unused(cluster),
        lambda host: packages(host, cluster, facts),
    )
    yield stage("can it be upgraded?", first, checked(record, cluster, first))
    for keeper in repository_hosts(cluster):
        age = facts.of(BACKUPS, keeper).age_of("full")
        if age is None or age > FRESH:
            yield stage("a full backup", keeper, no_backup_runs(), take(cluster, "full"))
    closed = [idle_sessions_closed()] if cluster[Postgres].pooler else []
    yield stage("nobody writes any more", first, *closed, no_clients())
    yield stage("a dump", first, dumped(record, cluster))
    for keeper in repository_hosts(cluster):
        yield stage("no backup is running", keeper, no_backup_runs())
        yield stage("the last WAL reaches the archive", first, archived())


def packages(host: Host, cluster: Cluster, facts: Facts) -> Steps:
    """The packages of the new version; Patroni starts it, and not its own unit."""
    yield from installed_alike(host, server_packages(cluster), facts)
    yield steps.service_off(f"postgresql-{cluster[Versions].postgresql}.service")


def room(record: Record, cluster: Cluster) -> Step:
    """There is room for another copy: the old data stays on every server."""
    size = f"$(du -sxm {data(cluster, record.old)} | cut -f 1)"
    free = "$(df --output=avail -BM /var/lib/pgsql | tail -1 | tr -dc 0-9)"
    return precondition(
        "/var/lib/pgsql has room for a second copy of the database and a dump",
        f"(({free} >= {size} * 3 / 2 + 1024))",
        f"""echo "The old data ({size} MB) stays, and the new needs as much again and a dump;"
echo "{free} MB are free in /var/lib/pgsql. Make room first.\"""",
    )


def unused(cluster: Cluster) -> Step:
    """No database is where the new one will be."""
    path = data(cluster)
    return precondition(
        f"{path} has no database",
        f"[[ ! -e {path}/PG_VERSION ]]",
        f"echo '{path} has a database already. To put it away:'\n"
        f"echo '{BY_POSTGRES} mv {path} {path}.old'",
    )


def checked(record: Record, cluster: Cluster, first: Host) -> Step:
    """pg_upgrade finds no obstacle, pgBackRest knows the new version, no parameter is unknown."""
    names = yaml.safe_load(shared(cluster))["postgresql"]["parameters"]
    own = [name for name in (*names, *sized(first, cluster)) if "." not in name]
    empty = f"{data(cluster).rpartition('/')[0]}/check"
    common = {"old": binaries(cluster, record.old), "new": binaries(cluster)}
    common |= {"data": data(cluster, record.old), "empty": empty}
    compare = script("postgres/major-check.sh", **common, parameters=" ".join(own))
    return action(
        f"PostgreSQL {record.old} can become {record.new}: pg_upgrade --check",
        f"{BY_POSTGRES} rm -rf {empty}\n{script('postgres/major-empty.sh', **common)}\n{compare}",
        timeout=3600,
    )


def idle_sessions_closed() -> Step:
    """PgBouncer keeps sessions of clients that are gone for ten minutes, unless it is told."""
    return action(
        "PgBouncer ends its idle sessions",
        f"! systemctl is-active -q {UNIT} || {{ {CONSOLE} reconnect; sleep 2; }}",
    )


def no_clients() -> Step:
    """Nobody is connected who could write: what they write later would be cut off."""
    query = (
        "select string_agg(distinct coalesce(usename || '@' || host(client_addr), usename), ', ') "
        "from pg_stat_activity where backend_type = 'client backend' "
        "and usename not in ('postgres', 'rewinder', 'replicator')"
    )
    clients = f'$({PSQL} -d postgres -c "{query}")'
    return precondition(
        "no client is connected",
        f"[[ ! {clients} ]]",
        f'echo "Connected: {clients}"\n'
        "echo 'Stop what writes to the database, then rerun. To stop Airflow: fab systemd.stop'",
    )


def dumped(record: Record, cluster: Cluster) -> Step:
    """The database and its roles as SQL, which every later version reads."""
    folder = dump_folder(record)
    dump = script("postgres/major-dump.sh", programs=binaries(cluster, record.old), folder=folder)
    return action(f"dump to {folder}", dump, timeout=6 * 3600).with_output()
