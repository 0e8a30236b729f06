"""Airflow, from servers that have all else to its services: the plan, and what the run does."""

from __future__ import annotations

import pytest
from support.drill import Airflow

STATE = "python"

pytestmark = pytest.mark.long


def test_an_index_that_is_away_leaves_nothing_half_installed(fab, settings, on):
    away = settings("sources", pypi={"index": "http://labmirror:1/simple/"})
    before = on("airflow", "ls -A /opt/airflow | grep -v lock || :")
    answer = fab("-H", "airflow", "airflow.install", **away)
    assert answer.code == 1
    assert "was not installed; what was there was not changed." in answer.text
    assert on("airflow", "ls -A /opt/airflow | grep -v lock || :") == before


def test_the_plan_is_what_the_run_does(fab, lab):
    plan = fab("--plan", "airflow", "systemd")
    assert plan.code == 0, plan.text
    run = fab("airflow", "systemd")
    assert run.code == 0, run.text
    unknown = plan.unknown()
    assert plan.changes(but=unknown) <= run.changes(but=unknown)
    for secret in Airflow(lab).secrets.values():
        assert secret not in plan.text
        assert secret not in run.text


def test_a_second_run_changes_nothing(fab):
    again = fab("airflow", "systemd")
    assert again.code == 0, again.text
    assert again.steps("changed", "failed") == set()
    assert fab("--plan", "airflow", "systemd").steps("differs") == set()
    fab.settled("airflow", 180)
