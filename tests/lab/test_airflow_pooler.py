"""Airflow through PgBouncer: it is turned on under a running Airflow, used, and turned off."""

from __future__ import annotations

import csv
import time

import pytest
import yaml
from support.controller import PROJECT, Controller
from support.drill import Airflow

STATE = "whole"

pytestmark = pytest.mark.long
ALL = {"success": 20}
SQL = ("sql1", "sql2", "sql3")


@pytest.fixture(scope="module")
def airflow(lab) -> Airflow:
    """The drill is on the share."""
    seen = Airflow(lab)
    seen.deploy_drill(seen.active())
    return seen


@pytest.fixture(scope="module")
def pooled(fab, tmp_path_factory) -> Controller:
    """fab with PgBouncer."""
    override = tmp_path_factory.mktemp("pooler") / "override.yaml"
    data = yaml.safe_load((PROJECT / "lab/override.yaml").read_text())
    data.setdefault("postgres", {})["pooler"] = True
    override.write_text(yaml.safe_dump(data))
    return fab.given(RUNBOOK_OVERRIDE=str(override))


@pytest.fixture
def drill(airflow, report, request):
    """drill(change) -> what became of twenty tasks of which some ran when the change began."""

    def go(change):
        run = f"{request.node.name}-{int(time.time())}"
        began = airflow.start(run)
        airflow.wait_until_in_flight(run)
        change()
        outcome = airflow.outcome(run, began)
        report(f"{request.node.name[5:]}: {outcome}")
        return outcome

    return go


def carried_out(fab: Controller, *tasks: str) -> None:
    for task in tasks:
        answer = fab("--yes", task)
        assert answer.code == 0, answer.text


def asked(on, command: str) -> list[dict[str, str]]:
    """What all PgBouncers answer about Airflow's database."""
    psql = "runuser -u pgbouncer -- psql -X -q --csv -h /run/pgbouncer -p 6432 pgbouncer"
    answers = (csv.DictReader(on(host, f"{psql} -c {command}").splitlines()) for host in SQL)
    return [row for answer in answers for row in answer if row["database"] == "airflow"]


def in_clear(on) -> str:
    """Sessions of Airflow that are not over TLS."""
    ask = "runuser -u pgbouncer -- psql -X -q --csv -h /run/pgbouncer -p 6432 pgbouncer"
    shown = f"{ask} -c 'show clients' | grep ',airflow,' | grep -v ',TLSv1.' || :"
    return "".join(on(host, shown) for host in SQL)


def test_it_is_turned_on_while_tasks_run(drill, pooled, on):
    outcome = drill(
        lambda: carried_out(pooled, "postgres", "haproxy.configure", "airflow.configure")
    )
    assert outcome.states == ALL
    assert outcome.retried == outcome.twice == []
    assert sum(int(row["total_query_count"]) for row in asked(on, "'show stats'")) > 0


def test_tasks_run_through_it(drill, pooled, on):
    carried_out(pooled, "systemd.restart")
    outcome = drill(lambda: None)
    assert outcome.states == ALL
    assert outcome.retried == outcome.twice == []
    assert len(asked(on, "'show clients'")) > 10
    assert in_clear(on) == ""
    for section in ("postgres", "haproxy", "airflow"):
        pooled.settled(section, 240)


def test_migrations_have_a_session_of_their_own(pooled, airflow, on):
    before = "select count(*) from pg_locks where locktype = 'advisory'"
    on("airflow", "airflow db migrate >/root/migrate.log 2>&1 </dev/null")
    assert airflow.ask(before) == [["0"]]
    on("worker1", "airflow db check </dev/null")
    assert "sslmode=verify-full" in on("worker1", "cat /etc/airflow/direct.env")
    assert on("worker1", "stat -c '%a %U %G' /etc/airflow/direct.env") == "640 root airflow"


def test_a_switchover_while_tasks_run(drill, pooled):
    assert drill(lambda: carried_out(pooled, "postgres.switchover")).states == ALL


def test_a_new_password_while_tasks_run(drill, pooled):
    def rotate() -> None:
        answer = pooled("--yes", "airflow.secrets-rotate", "--what", "database")
        assert answer.code == 0, answer.text

    assert drill(rotate).states == ALL
    pooled.settled("airflow", 240)


def test_it_is_turned_off_while_tasks_run(drill, fab, on):
    outcome = drill(lambda: carried_out(fab, "postgres", "haproxy.configure", "airflow.configure"))
    assert outcome.states == ALL
    assert outcome.retried == outcome.twice == []
    assert on("worker1", "ls /etc/airflow").split().count("direct.env") == 0
