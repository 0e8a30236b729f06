"""Airflow over TLS: what somebody hears on the network, and the switch with tasks in flight."""

from __future__ import annotations

import time

import pytest
from support.drill import Airflow
from support.ear import basic, in_any_form, listening

STATE = "whole"

pytestmark = pytest.mark.long

ALL = {"success": 20}
SECTIONS = ("tls", "postgres", "rabbitmq", "haproxy", "airflow", "systemd")
MARKER = "this-passes-in-clear"
TALK = {
    "SQL": r"(?:SELECT|UPDATE|INSERT INTO) (?:task_instance|dag_run|job|log)\b",
    "a message of Celery": r"execute_command",
    MARKER: MARKER,
}


@pytest.fixture(scope="module")
def airflow(lab) -> Airflow:
    """The drill is on the share."""
    seen = Airflow(lab)
    seen.deploy_drill(seen.active())
    return seen


def passwords(airflow: Airflow) -> dict[str, str]:
    """Those that are used on the network; VRRP's are sent as they are, by design."""
    kept = airflow.secrets.items()
    used = {
        name: value
        for name, value in kept
        if not name.startswith(("vrrp_", "tls_", "airflow_fernet")) and name != "rabbitmq_cookie"
    }
    return in_any_form(used, ("admin", "airflow", "patroni"))


def test_all_speak_tls(airflow, fab):
    answer = fab("tls.check")
    assert answer.code == 0, answer.text
    assert ("cluster", "Airflow uses TLS") in answer.steps("ok")
    for section in SECTIONS:
        assert fab(section).steps("changed") == set()


def test_nobody_hears_a_password_a_query_or_a_message(airflow, fab, lab, on, tmp_path):
    """During a run of each section and of a DAG, and while somebody uses the API."""
    with listening(lab, tmp_path, {**TALK, **passwords(airflow)}) as heard:
        for section in SECTIONS:
            assert fab(section).code == 0
        assert fab("airflow.smoke").code == 0
        assert airflow.api("dags?limit=5")
        on("worker1", f"curl -s -m 3 http://192.168.83.210:8081/{MARKER} || :")
        time.sleep(2)
    assert MARKER in heard, "the listener is deaf"
    del heard[MARKER]
    assert heard == {}


def test_a_person_in_clear_is_heard(airflow, lab, on, tmp_path):
    """The listener finds what it looks for, where it is there."""
    login = basic("admin", airflow.secrets["airflow_admin"])
    with listening(lab, tmp_path, passwords(airflow)) as heard:
        header = f"Authorization: Basic {login}"
        on("worker1", f"curl -s -m 3 -H '{header}' http://192.168.83.210:8081/ || :")
        time.sleep(2)
    assert set(heard) == {"airflow_admin"}


@pytest.mark.parametrize("to", ["clear", "tls"])
def test_the_switch_with_tasks_in_flight(airflow, fab, report, to):
    run = f"switch-{to}-{int(time.time())}"
    began = airflow.start(run) if to == "clear" else in_clear(airflow, run)
    airflow.wait_until_in_flight(run)
    answer = fab("--yes", "tls.switch", "--to", to)
    assert answer.code == 0, answer.text
    outcome = airflow.outcome(run, began, 900)
    report(f"twenty tasks, the cluster changes to {to}: {outcome}")
    assert outcome.states == ALL
    for section in ("postgres", "rabbitmq", "haproxy", "airflow"):
        fab.settled(section, 240)
    assert fab("airflow.smoke").code == 0
    assert fab("--yes", "tls.switch", "--to", to).steps("changed") == set()
    for section in SECTIONS:
        assert fab(section).steps("changed") == set()
    report(f"what {to} costs: {cost(airflow, fab, to)}")


def cost(airflow: Airflow, fab, to: str) -> str:
    """How long a run without changes and twenty tasks take."""
    began = time.monotonic()
    assert fab(*SECTIONS).steps("changed") == set()
    quiet = time.monotonic() - began
    run = f"cost-{to}-{int(time.time())}"
    began = airflow.start(run) if to == "tls" else in_clear(airflow, run)
    outcome = airflow.outcome(run, began, 900)
    assert outcome.states == ALL
    return f"{quiet:.1f} s for a run without changes; {outcome}"


def in_clear(airflow: Airflow, run: str) -> float:
    """Start a run where the web UI speaks in clear."""
    told = airflow.api("dags/drill/dagRuns", {"dag_run_id": run}, "http://192.168.83.210:8081")
    assert told["dag_run_id"] == run
    return time.monotonic()
