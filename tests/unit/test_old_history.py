"""The program that deletes old rows, with a stand-in for the database; a lab has the real one."""

from __future__ import annotations

import importlib.util
import sys
import types
from datetime import datetime, timezone

import pytest
from conftest import PROJECT

BEFORE = datetime(2026, 10, 31, tzinfo=timezone.utc)


class Error(Exception):
    pass


class OperationalError(Error):
    pass


class LockNotAvailable(OperationalError):
    pass


@pytest.fixture
def program(monkeypatch):
    """The program as a module; nothing in it sleeps."""
    errors = types.SimpleNamespace(
        LockNotAvailable=LockNotAvailable,
        QueryCanceled=type("QueryCanceled", (OperationalError,), {}),
        DeadlockDetected=type("DeadlockDetected", (OperationalError,), {}),
    )
    fake = types.SimpleNamespace(
        errors=errors,
        Error=Error,
        OperationalError=OperationalError,
        InterfaceError=type("InterfaceError", (Error,), {}),
    )
    monkeypatch.setitem(sys.modules, "psycopg2", fake)
    spec = importlib.util.spec_from_file_location(
        "old_history", PROJECT / "files/airflow/old_history.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module.time, "sleep", lambda seconds: None)
    return module


class Cursor:
    """Answers queries by their beginning, and notes them; an exception is raised."""

    def __init__(self, *answers: tuple[str, object]) -> None:
        self.answers, self.asked, self.rowcount, self.answer = answers, [], 0, None

    def execute(self, query, parameters=()):
        self.asked.append((query, parameters))
        for words, answer in self.answers:
            if words in query:
                found = answer(query) if callable(answer) else answer
                if isinstance(found, Exception):
                    raise found
                self.answer, self.rowcount = found, found if isinstance(found, int) else 0

    def fetchone(self):
        return (self.answer,)

    def fetchall(self):
        return [(self.answer,)] if self.answer else []


def test_a_table_is_walked_through_once_in_small_batches(program):
    cursor = Cursor(("pg_relation_size", 100), ("with old", 7))
    gone, left_out = program.delete(cursor, "log", "dttm", "true", BEFORE)
    batches = [query for query, _ in cursor.asked if "with old" in query]
    assert "t.ctid >= '(0,0)' and t.ctid < '(16,0)'" in batches[0]
    assert "t.ctid >= '(16,0)' and t.ctid < '(48,0)'" in batches[1]
    assert (gone, left_out) == (7 * len(batches), 0)
    assert all("for update of t skip locked" in query for query in batches)
    assert "t.ctid < '(112,0)'" in batches[-1]


def test_a_batch_that_waits_for_a_lock_is_left_for_the_next_time(program):
    waits = iter([LockNotAvailable(), 5, 5, 5])
    cursor = Cursor(("pg_relation_size", 60), ("with old", lambda query: next(waits)))
    assert program.delete(cursor, "log", "dttm", "true", BEFORE) == (10, 1)


def test_slow_batches_become_smaller(program, monkeypatch):
    clock = iter(range(0, 1000, 2))
    monkeypatch.setattr(program.time, "monotonic", lambda: next(clock))
    cursor = Cursor(("pg_relation_size", 40), ("with old", 1))
    program.delete(cursor, "log", "dttm", "true", BEFORE)
    batches = [query for query, _ in cursor.asked if "with old" in query]
    assert "t.ctid >= '(16,0)' and t.ctid < '(24,0)'" in batches[1]


def test_only_one_server_works(program, capsys):
    cursor = Cursor(("pg_try_advisory_lock", False))
    program.clean(cursor, 365)
    assert capsys.readouterr().out == "another server is at it\n"
    assert len(cursor.asked) == 1


def test_counting_deletes_nothing(program, capsys):
    cursor = Cursor(
        ("make_interval", BEFORE), ("to_regclass", "there"), ("count(*)", 3), ("relname", None)
    )
    program.count(cursor, 365)
    told = capsys.readouterr().out
    assert "log: 3 rows\n" in told
    assert not any(word in query for query, _ in cursor.asked for word in ("delete from", "drop "))


def test_a_lost_connection_is_made_anew(program, monkeypatch, capsys):
    tries = iter([OperationalError("the leader is gone"), None])
    cursor = Cursor()

    class Connection:
        def cursor(self):
            return self

        def __enter__(self):
            return cursor

        def __exit__(self, *ended):
            return False

    def connected():
        error = next(tries)
        if error:
            raise error
        return Connection()

    monkeypatch.setattr(program, "connected", connected)
    program.main(365, lambda cursor, days: print(f"done, {days} days"))
    told = capsys.readouterr().out
    assert told == "the leader is gone; trying again in 60 s\ndone, 365 days\n"


def test_what_is_still_needed_is_in_the_conditions(program):
    conditions = {table: condition for table, _, condition in program.TABLES}
    for table in ("xcom", "task_fail", "task_reschedule", "task_instance", "dag_run"):
        assert "r.state in ('queued', 'running')" in conditions[table]
        assert "from kept" in conditions[table]
    assert "i.trigger_id = t.id" in conditions["trigger"]
    assert conditions["dag"] == "not t.is_active"
    order = [table for table, _, _ in program.TABLES]
    assert order.index("xcom") < order.index("task_instance") < order.index("dag_run")
    assert order.index("task_instance") < order.index("trigger")


def test_the_address_is_that_of_the_settings_without_pgbouncer(program, monkeypatch, tmp_path):
    cfg = tmp_path / "airflow.cfg"
    cfg.write_text("[database]\nsql_alchemy_conn = postgresql+psycopg2://a:b%%40c@h/airflow\n")
    monkeypatch.setattr(program, "CFG", str(cfg))
    monkeypatch.delenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", raising=False)
    assert program.address() == "postgresql://a:b%40c@h/airflow"
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "postgresql+psycopg2://direct/x")
    assert program.address() == "postgresql://direct/x"
