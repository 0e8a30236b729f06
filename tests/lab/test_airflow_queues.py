"""Workers with queues of their own: who takes what, what restarts, and what a check says."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from support.controller import PROJECT, Controller
from support.drill import DAGS, Airflow, Outcome

STATE = "whole"

pytestmark = pytest.mark.long

ALL = {"success": 20}
UNIT = "airflow-worker.service"
OTHERS = ("airflow", "scheduler2", "haproxy2", "ftp", "nfs2")


@pytest.fixture(scope="module")
def airflow(lab) -> Airflow:
    return Airflow(lab)


@pytest.fixture(scope="module")
def asking(fab, tmp_path_factory) -> Callable[..., Controller]:
    """asking(worker1={…}, hosts={…}) -> the controller whose hosts.yaml says that of workers."""
    folder = tmp_path_factory.mktemp("queues")

    def controller(hosts: dict[str, object] | None = None, **workers: object) -> Controller:
        data = yaml.safe_load((PROJECT / "lab/override.yaml").read_text())
        data["airflow"]["celery_workers"] = workers
        override = folder / f"override-{len(list(folder.iterdir()))}.yaml"
        override.write_text(yaml.safe_dump({**data, "hosts": hosts or {}}))
        return fab.given(RUNBOOK_OVERRIDE=str(override))

    return controller


@pytest.fixture(scope="module")
def team(asking) -> Controller:
    """worker1 serves a second queue."""
    return asking(worker1={"queues": ["default", "gpu"]})


@pytest.fixture(scope="module")
def two(asking) -> Controller:
    """scheduler2 is a worker, too: it alone serves the second queue, and scales."""
    roles = {"scheduler2": {"roles": ["scheduler", "triggerer", "worker"]}}
    scale = {"min": 1, "max": 3}
    return asking(hosts=roles, scheduler2={"queues": ["gpu"], "autoscale": scale})


@pytest.fixture
def drill(airflow, report, request) -> Callable[[Callable[[], object]], Outcome]:
    """drill(work) -> what became of twenty tasks of which some ran when the work began."""
    airflow.deploy_drill(airflow.active())

    def go(work: Callable[[], object]) -> Outcome:
        run = f"{request.node.name}-{int(time.time())}"
        began = airflow.start(run)
        airflow.wait_until_in_flight(run)
        work()
        outcome = airflow.outcome(run, began)
        report(f"{request.node.name[5:]}: {outcome}")
        return outcome

    return go


def starts(airflow: Airflow, *hosts: str) -> str:
    """When the services of these servers began."""
    show = "systemctl show -p ActiveEnterTimestampMonotonic 'airflow-*.service'"
    return "".join(airflow.shell(host, show) for host in hosts)


def queues(airflow: Airflow) -> dict[str, list[str]]:
    """Queues of tasks on RabbitMQ: type, messages, consumers."""
    columns = "name type messages consumers"
    listed = airflow.shell(
        "mq1", f"rabbitmqctl -q list_queues -p airflow {columns} --silent </dev/null"
    )
    rows = [line.split("\t") for line in listed.splitlines()]
    return {name: about for name, *about in rows if "celery" not in name}


def begin(airflow: Airflow, run: str) -> None:
    """Start the DAG with tasks in several queues."""
    text = (PROJECT / "tests/support/queue_dag.py").read_text()
    airflow.shell(airflow.active(), f"cat >{DAGS}/queues.py <<'DAG'\n{text}DAG")
    airflow.wait_for("select 1 from dag where dag_id = 'queues' and is_active", 90)
    assert airflow.api("dags/queues/dagRuns", {"dag_run_id": run})["dag_run_id"] == run


def state_of(airflow: Airflow, run: str, task: str) -> list[list[str]]:
    return airflow.ask(
        f"select state, hostname from task_instance where run_id = '{run}' "
        f"and task_id = '{task}' and dag_id = 'queues'"
    )


def test_only_the_worker_would_change(airflow, team):
    planned = team("--plan", "systemd")
    assert planned.code == 0, planned.text
    assert {host for host, _ in planned.steps("differs")} == {"worker1"}
    assert "--queues default,gpu --concurrency" in team.text("--plan", "systemd").text


def test_only_the_worker_restarts_and_its_tasks_end_first(airflow, team, drill):
    before, own = starts(airflow, *OTHERS), starts(airflow, "worker1")

    def go() -> None:
        answer = team("airflow.configure", "systemd")
        assert answer.code == 0, answer.text
        assert {host for host, _ in answer.steps("changed")} == {"worker1"}

    outcome = drill(go)
    assert outcome.states == ALL
    assert outcome.retried == outcome.twice == []
    assert starts(airflow, *OTHERS) == before
    assert starts(airflow, "worker1") != own
    assert team("airflow", "systemd").steps("changed", "failed") == set()
    team.settled("airflow", 120)


def test_tasks_run_in_their_queues_and_those_of_no_worker_are_told(airflow, team):
    begin(airflow, "one")
    for task in ("default", "gpu"):
        query = f"select 1 from task_instance where run_id = 'one' and task_id = '{task}'"
        airflow.wait_for(f"{query} and state = 'success'", 120)
        assert state_of(airflow, "one", task) == [["success", "worker1"]]
    airflow.wait_for("select 1 from task_instance where task_id = 'gpux' and state = 'queued'", 60)
    assert queues(airflow)["gpux"] == ["quorum", "1", "0"]
    assert queues(airflow)["gpu"][0] == queues(airflow)["default"][0] == "quorum"
    check = team("airflow.check")
    assert check.code == 1
    stuck = (
        "waiting tasks are in queues that have a worker: 1 wait in vain: no worker serves gpux (1)"
    )
    assert ("cluster", stuck) in check.steps("error"), check.text
    warned = {said for _, said in check.steps("warn")}
    assert "every queue on RabbitMQ has a worker: no worker serves gpux (1)" in warned
    assert "every queue that a DAG names has a worker: no worker serves gpux (DAG queues)" in warned


def test_every_queue_has_a_replica_on_every_node(airflow, team):
    assert team("rabbitmq.queues", "rabbitmq.check").code == 0
    listed = airflow.shell(
        "mq1", "rabbitmqctl -q list_queues -p airflow name members --silent </dev/null"
    )
    members = dict(line.split("\t") for line in listed.splitlines() if "celery" not in line)
    assert set(members) >= {"default", "gpu", "gpux"}
    assert all(text.count("rabbit@") == 3 for text in members.values())


def test_an_upgrade_does_not_begin_while_a_task_waits_for_ever(airflow, team):
    """The stage that asks comes before the question, so a plan says it, too."""
    data = yaml.safe_load(Path(team.environment["RUNBOOK_OVERRIDE"]).read_text())
    data["versions"]["airflow"] = "2.7.3"
    override = Path(team.environment["RUNBOOK_OVERRIDE"]).with_name("older.yaml")
    override.write_text(yaml.safe_dump(data))
    older = team.given(RUNBOOK_OVERRIDE=str(override))
    assert older("airflow.install", "airflow.ship", "airflow.receive").code == 0
    answer = older("--yes", "airflow.upgrade")
    assert answer.code == 1
    assert "Queues without a worker, their tasks, and 0 consumers:" in answer.text
    assert "rabbitmqctl purge_queue -p airflow QUEUE" in answer.text
    airflow.shell("mq1", "rabbitmqctl purge_queue -q -p airflow gpux </dev/null")


def test_a_second_worker_takes_a_queue_over_and_scales_with_its_tasks(airflow, two):
    answer = two("base", "hosts", "nfs", "airflow", "systemd")
    assert answer.code == 0, answer.text
    line = airflow.shell("scheduler2", f"systemctl show -p ExecStart --value {UNIT}")
    assert "--queues gpu --autoscale 3,1" in line
    deadline = time.monotonic() + 120
    while not queues(airflow)["gpu"][2] == queues(airflow)["default"][2] == "1":
        assert time.monotonic() < deadline, "each queue has one worker"
        time.sleep(2)
    begin(airflow, "two")
    scaled = "select 1 from task_instance where run_id = 'two' and task_id = 'scaled'"
    airflow.wait_for(f"{scaled} and state = 'running' and map_index = 2", 120)
    assert {host for _, host in state_of(airflow, "two", "scaled")} == {"scheduler2"}
    said = airflow.shell("scheduler2", f"journalctl -u {UNIT} -b -o cat")
    assert "Scaling up" in said
    check = two("airflow.check")
    assert "scheduler2 is the only worker of the queue gpu" in check.text


def test_a_queue_that_nobody_serves_any_more_is_told_and_deleted(airflow, fab):
    """hosts.yaml is as it was: gpu and gpux are left, and the check has the command."""
    airflow.shell("scheduler2", f"systemctl disable --now {UNIT}; rm /etc/systemd/system/{UNIT}")
    airflow.shell(airflow.active(), f"rm {DAGS}/queues.py")
    airflow.ask("update dag set is_paused = true where dag_id = 'queues' returning 1")
    assert fab("airflow", "systemd").code == 0
    for name in ("gpu", "gpux"):
        airflow.shell("mq1", f"rabbitmqctl purge_queue -q -p airflow {name} </dev/null")
    airflow.ask("update task_instance set state = 'failed' where dag_id = 'queues' returning 1")
    warned = {said for _, said in fab("airflow.check").steps("warn")}
    assert "every queue on RabbitMQ has a worker: no worker serves gpu (0), gpux (0)" in warned
    for name in ("gpu", "gpux"):
        airflow.shell("mq1", f"rabbitmqctl delete_queue -p airflow {name} </dev/null")
    fab.settled("airflow", 180)
