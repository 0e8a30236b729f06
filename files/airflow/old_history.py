#!/usr/bin/env -S python3 -I
"""Delete what is older than some days from Airflow's database: old-history DAYS [--count].

The tables and times are those of `airflow db clean`. Besides what that keeps, this keeps runs that
have not ended and all that belongs to them, the tasks of the last scheduled run of each DAG,
triggers that a task waits for, and DAGs that are active, whose switch would be lost with their row.

Each table is walked through once, some blocks at a time. What a batch deletes is committed at
once, rows that others have locked are passed over, and after each batch it rests as long as that
took: nobody waits for it for more than a moment. Only one server does this at a time.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from configparser import ConfigParser
from datetime import datetime
from typing import Any, Callable

import psycopg2

CFG = "/etc/airflow/airflow.cfg"
LOCK = 0x41666C6F  # Of this program, for pg_try_advisory_lock.

LONGEST, SHORTEST = 0.5, 0.1
"""Seconds that a batch should take: after a longer one the next is smaller, and vice versa."""
MOST_BLOCKS = 1024
TRIES, PAUSE = 3, 60
"""How often a lost connection is made anew, and the seconds before that: a failover is shorter."""

BUSY = (
    psycopg2.errors.LockNotAvailable,
    psycopg2.errors.QueryCanceled,
    psycopg2.errors.DeadlockDetected,
)
"""Others need the rows of a batch now, so they stay until the next time."""

GOES_ON = """('queued', 'scheduled', 'running', 'restarting', 'deferred', 'up_for_retry',
  'up_for_reschedule')"""

NOT_IN_USE = """not exists (select from dag_run r where r.dag_id = t.dag_id and r.run_id = t.run_id
  and r.state in ('queued', 'running'))
and not exists (select from kept k where k.dag_id = t.dag_id and k.run_id = t.run_id)"""

KEPT = """create temporary table kept as
select r.dag_id, r.run_id from dag_run r join (
  select dag_id, max(start_date) as latest from dag_run where not external_trigger group by dag_id
) newest on newest.dag_id = r.dag_id and newest.latest = r.start_date"""
"""The last scheduled run of each DAG: from it, Airflow derives the next one, and `depends_on_past`
asks for its tasks."""

TABLES = (
    ("xcom", "timestamp", NOT_IN_USE),
    ("task_fail", "start_date", NOT_IN_USE),
    ("task_reschedule", "start_date", NOT_IN_USE),
    ("task_instance", "start_date", f"{NOT_IN_USE} and coalesce(t.state, '') not in {GOES_ON}"),
    (
        "dag_run",
        "start_date",
        f"""{NOT_IN_USE} and coalesce(t.state, '') not in ('queued', 'running')
and not exists (select from task_instance i where i.dag_id = t.dag_id and i.run_id = t.run_id
  and i.state in {GOES_ON})""",
    ),
    (
        "trigger",
        "created_date",
        "not exists (select from task_instance i where i.trigger_id = t.id)",
    ),
    ("job", "latest_heartbeat", "true"),
    ("log", "dttm", "true"),
    ("sla_miss", "timestamp", "true"),
    ("dataset_event", "timestamp", "true"),
    ("import_error", "timestamp", "true"),
    ("callback_request", "created_at", "true"),
    ("celery_taskmeta", "date_done", "true"),
    ("celery_tasksetmeta", "date_done", "true"),
    ("session", "expiry", "true"),
    ("dag", "last_parsed_time", "not t.is_active"),
)
"""Tables, the column that says how old a row is, and what must hold for `t`, a row, to go. What
refers to runs comes before them, so that one run does not take thousands of rows with it."""

ARCHIVES = """select relname from pg_class where relkind = 'r' and relnamespace = current_schema()
::regnamespace and relname ~ '^_airflow_deleted__.*__[0-9]{14}$'
and right(relname, 14) < to_char(%s at time zone 'UTC', 'YYYYMMDDHH24MISS')"""
"""Tables in which `airflow db clean` kept what it deleted longer ago than that."""


def address() -> str:
    """How to reach the database: not through PgBouncer, where no session keeps a lock."""
    config = ConfigParser(interpolation=None)
    config.read(CFG)
    known = config.get("database", "sql_alchemy_conn", fallback="").replace("%%", "%")
    given = os.environ.get("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", known)
    return given.replace("+psycopg2", "", 1)


def connected() -> Any:
    """A connection on which no statement waits long for a lock, or runs for long."""
    connection = psycopg2.connect(address(), application_name="old-history")
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("set lock_timeout = '2s'; set statement_timeout = '60s'")
    return connection


def value(cursor: Any, query: str, *parameters: object) -> Any:
    """The only value that a query finds."""
    cursor.execute(query, parameters)
    return cursor.fetchone()[0]


def prepared(cursor: Any, days: int) -> datetime:
    """The time before which rows go; which runs stay is in a table of this session."""
    cursor.execute(KEPT)
    return value(cursor, "select now() - make_interval(days => %s)", days)


def present(cursor: Any) -> Iterator[tuple[str, str, str]]:
    """The tables that this version of Airflow has."""
    for table, column, condition in TABLES:
        if value(cursor, "select to_regclass(%s)", table):
            yield table, column, condition


def delete(
    cursor: Any, table: str, column: str, condition: str, before: datetime
) -> tuple[int, int]:
    """Delete the old rows of a table; how many went, and how many batches had to be left out."""
    blocks = value(
        cursor,
        "select pg_relation_size(to_regclass(%s)) / current_setting('block_size')::int",
        table,
    )
    block, step, gone, left_out = 0, 16, 0, 0
    while block < blocks:
        began = time.monotonic()
        batch = f"""with old as (select t.ctid from {table} t
  where t.ctid >= '({block},0)' and t.ctid < '({block + step},0)'
  and t.{column} < %s and {condition} for update of t skip locked)
delete from {table} using old where {table}.ctid = old.ctid"""
        try:
            cursor.execute(batch, (before,))
            gone += cursor.rowcount
        except BUSY:
            left_out += 1
        block += step
        took = time.monotonic() - began
        if took > LONGEST:
            step = max(1, step // 2)
        elif took < SHORTEST:
            step = min(MOST_BLOCKS, step * 2)
        time.sleep(min(took, 5))
    return gone, left_out


def drop_archives(cursor: Any, before: datetime) -> None:
    """Drop tables in which `airflow db clean` has kept older rows."""
    cursor.execute(ARCHIVES, (before,))
    for (name,) in cursor.fetchall():
        cursor.execute(f'drop table "{name}"')
        print(f"{name}: dropped", flush=True)


def clean(cursor: Any, days: int) -> None:
    """Delete all that is older, table by table."""
    if not value(cursor, "select pg_try_advisory_lock(%s)", LOCK):
        print("another server is at it")
        return
    before = prepared(cursor, days)
    print(f"what is older than {before:%Y-%m-%d %H:%M:%S%z} goes", flush=True)
    for table, column, condition in present(cursor):
        gone, left_out = delete(cursor, table, column, condition, before)
        if gone or left_out:
            later = f"; {left_out} batches waited for a lock too long, and stay" * bool(left_out)
            print(f"{table}: {gone} rows deleted{later}", flush=True)
    drop_archives(cursor, before)


def count(cursor: Any, days: int) -> None:
    """Print how many rows of which tables would go; nothing if none would."""
    cursor.execute("set statement_timeout = '10min'")
    before = prepared(cursor, days)
    for table, column, condition in present(cursor):
        query = f"select count(*) from {table} t where t.{column} < %s and {condition}"
        found = value(cursor, query, before)
        if found:
            print(f"{table}: {found} rows")
    cursor.execute(ARCHIVES, (before,))
    for (name,) in cursor.fetchall():
        print(f"{name}: the whole table")


def main(days: int, work: Callable[[Any, int], None]) -> None:
    """Do this, and again after a lost connection."""
    for again in reversed(range(TRIES)):
        try:
            connection = connected()
            with connection.cursor() as cursor:
                work(cursor, days)
            return
        except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
            if not again:
                sys.exit(str(error).strip())
            print(f"{str(error).strip()}; trying again in {PAUSE} s", flush=True)
            time.sleep(PAUSE)
        except psycopg2.Error as error:
            sys.exit(str(error).strip())


if __name__ == "__main__":
    words = sys.argv[1:]
    if not words or not words[0].isdigit() or words[1:] not in ([], ["--count"]):
        sys.exit(__doc__)
    main(int(words[0]), count if words[1:] else clean)
