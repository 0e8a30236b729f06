"""Workers with queues of their own: what hosts.yaml may say, their units, and what a check says."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import yaml
from conftest import PROJECT
from support.status_of import well

from fabfile import CONTENTS, systemd
from fabfile.airflow import queue_check, queues, state
from fabfile.airflow.heartbeats import not_taken, redundancy, takers
from fabfile.airflow.heartbeats import workers as workers_at_work
from fabfile.airflow.state import CONSUMERS, DAG_QUEUES, DATABASE, TASK_QUEUES, TaskQueue
from fabfile.shared.airflow import Autoscale, connections, tasks_at_once
from runbook.declare.facts import NOTHING_KNOWN, Facts
from runbook.errors import InventoryError


@pytest.fixture
def load(tmp_path):
    """load(worker2={…}) -> a cluster with two workers, and what is said about each of them."""

    def loaded(airflow=None, **workers):
        data = yaml.safe_load((PROJECT / "hosts.yaml").read_text())
        data["hosts"]["worker2"] = {
            **data["hosts"]["worker1"],
            "vm": 15,
            "address": "192.168.83.160",
        }
        data["airflow"] = {**data["airflow"], "celery_workers": workers, **(airflow or {})}
        file = tmp_path / "hosts.yaml"
        file.write_text(yaml.safe_dump(data))
        return CONTENTS.load(file)

    return loaded


def started(cluster, host) -> str:
    """The command line of a host's worker."""
    for step in systemd.install(cluster.hosts[host], cluster, NOTHING_KNOWN):
        if step.title.endswith("airflow-worker.service"):
            [line] = [one for one in step.text.splitlines() if one.startswith("ExecStart=")]
            return line.partition("/bin/airflow ")[2]
    raise AssertionError(host)


# hosts.yaml


def test_each_worker_serves_its_queues_and_runs_as_many_tasks(load):
    cluster = load(
        {"concurrency": 6},
        worker2={"queues": ["gpu", "default"], "concurrency": 1},
    )
    begin = "celery worker --celery-hostname celery@%H --pid /run/airflow-worker/worker.pid"
    assert started(cluster, "worker1") == f"{begin} --queues default --concurrency 6"
    assert started(cluster, "worker2") == f"{begin} --queues gpu,default --concurrency 1"
    assert queues.all_served(cluster) == ["default", "gpu"]


def test_a_worker_scales_with_its_tasks(load):
    """Celery takes the larger number first, and the database has to have room for it."""
    cluster = load(worker2={"autoscale": {"min": 2, "max": 12}})
    assert started(cluster, "worker2").endswith("--queues default --autoscale 12,2")
    assert tasks_at_once(cluster.hosts["worker2"], cluster) == 12
    assert connections(cluster) - connections(load(worker2={"concurrency": 2})) == 3 * 10


def test_what_is_said_of_one_worker_goes_over_what_is_said_of_all(load):
    scale = {"min": 1, "max": 8}
    cluster = load({"autoscale": scale}, worker2={"concurrency": 3})
    assert started(cluster, "worker1").endswith("--autoscale 8,1")
    assert started(cluster, "worker2").endswith("--concurrency 3")
    other = load({"concurrency": 3}, worker2={"autoscale": scale})
    assert started(other, "worker2").endswith("--autoscale 8,1")


def test_the_default_queue_may_have_another_name(load):
    named = {"settings": {"operators": {"default_queue": "main"}}}
    cluster = load(named, worker2={"queues": ["gpu"]})
    assert queues.all_served(cluster) == ["main", "gpu"]


def test_only_the_unit_of_that_worker_changes(load):
    before, after = load(), load(worker2={"queues": ["default", "gpu"]})

    def files(cluster, host):
        steps = systemd.install(cluster.hosts[host], cluster, NOTHING_KNOWN)
        return {step.paths: step.text for step in steps if step.paths}

    def changed(host):
        old, new = files(before, host), files(after, host)
        return [paths for paths in new if new[paths] != old[paths]]

    assert changed("worker2") == [("/etc/systemd/system/airflow-worker.service",)]
    for name in ("worker1", "airflow", "scheduler2", "ftp"):
        assert changed(name) == []


@pytest.mark.parametrize(
    ("workers", "airflow", "words"),
    [
        ({"worker3": {}}, {}, r"is not one of the hosts \(did you mean worker"),
        ({"card1": {}}, {}, "card1 does not have the role worker; add it to its roles"),
        ({"worker2": {"queues": []}}, {}, "this list is empty"),
        ({"worker2": {"queues": ["a b"]}}, {}, "allowed: queue"),
        ({"worker2": {"queues": ["amq.x"]}}, {}, "allowed: queue"),
        ({"worker2": {"queues": ["celery_delayed_1"]}}, {}, "allowed: queue"),
        ({"worker2": {"queues": ["a", "a"]}}, {}, "a is named twice; keep one"),
        ({"worker2": {"queue": ["a"]}}, {}, "did you mean queues"),
        (
            {"worker2": {"concurrency": 2, "autoscale": {"min": 1, "max": 2}}},
            {},
            "worker2.concurrency: contradicts autoscale",
        ),
        ({}, {"concurrency": 2, "autoscale": {"min": 1, "max": 2}}, "contradicts autoscale"),
        ({}, {"autoscale": {"min": 3, "max": 2}}, "min is 3, and max only 2; swap them"),
        (
            {"worker1": {"queues": ["a"]}, "worker2": {"queues": ["b"]}},
            {},
            "no worker serves default, the queue of tasks that name no queue",
        ),
        (
            {},
            {"settings": {"celery": {"worker_concurrency": 2}}},
            "celery.worker_concurrency: has no effect; set airflow.concurrency instead",
        ),
    ],
)
def test_what_cannot_be_is_refused(load, workers, airflow, words):
    with pytest.raises(InventoryError, match=words):
        load(airflow, **workers)


# What the check says


def consumer(name: str, *queues: str) -> list[dict]:
    details = {"connection_name": name, "peer_host": "10.0.0.1"}
    all_of_them = (*queues, f"celery@{name}.celery.pidbox")
    return [{"queue": {"name": one}, "channel_details": details} for one in all_of_them]


def seen(**taken: tuple[str, ...]) -> Facts:
    told = [one for name, queues in taken.items() for one in consumer(name, *queues)]
    return Facts({CONSUMERS: {"mq1": state.taking(json.dumps(told))}})


@pytest.fixture
def two(load):
    """worker1 serves default, worker2 both."""
    return load(worker2={"queues": ["gpu", "default"]})


def test_a_worker_is_missed_in_each_of_its_queues(two):
    known = seen(worker1=("default",), worker2=("default",))
    assert not_taken(two.hosts["worker2"], two, known) == ["gpu"]
    [finding] = workers_at_work(two, known)
    assert finding.verdict.sentence == "worker2 takes none from gpu; 1 of 2 do"
    [finding] = workers_at_work(two, seen(worker1=("default",)))
    assert finding.verdict.sentence == "worker2 does not; 1 of 2 do"
    [finding] = workers_at_work(two, seen(worker1=("default",), worker2=("default", "gpu")))
    assert finding.verdict.sentence == "2 of 2"


def test_a_queue_with_one_worker_is_no_redundancy(two):
    known = seen(worker1=("default",), worker2=("default", "gpu"))
    of = "worker of the queue "
    assert takers(two, known) == {
        f"{of}default": ["worker1", "worker2"],
        f"{of}gpu": ["worker2"],
    }
    [database, *_] = well(two)[DATABASE].values()
    sentence = redundancy(database, two, known).verdict.sentence
    assert "worker of the queue default" in sentence.partition(";")[0]
    assert "worker2 is the only worker of the queue gpu" in sentence.partition(";")[2]


def judged(cluster, known: Facts, waiting=None, left=(), named=None) -> dict[str, tuple]:
    [database, *_] = well(cluster)[DATABASE].values()
    values = {
        CONSUMERS: known.known(CONSUMERS),
        TASK_QUEUES: dict.fromkeys(("mq1", "mq2"), left),
        **({DAG_QUEUES: {"sql1": named, "sql2": {}}} if named is not None else {}),
    }
    at_work = replace(database, waiting=waiting or {})
    findings = queue_check.queues(at_work, cluster, Facts(values))
    return {one.title: (one.level, one.verdict.sentence, one.fix) for one in findings}


def test_queues_that_have_a_worker_are_fine(two):
    known = seen(worker1=("default",), outside=("other",))
    said = judged(
        two,
        known,
        waiting={"default": 9, "gpu": 3, "other": 1},
        left=(TaskQueue("gpu", 3, 0), TaskQueue("other", 0, 1)),
        named={"gpu": ["report"]},
    )
    assert {level for level, *_ in said.values()} == {"ok"}, "worker2 is down, and that is told"
    assert len(said) == 3


def test_tasks_that_no_worker_will_ever_take_are_an_error(two):
    said = judged(two, seen(worker1=("default",)), waiting={"gpux": 3, "default": 1, "?": 2})
    level, sentence, fix = said["waiting tasks are in queues that have a worker"]
    assert (level, sentence) == ("error", "5 wait in vain: no worker serves gpux (3), ? (2)")
    assert fix.startswith("name it in airflow.celery_workers of hosts.yaml, then fab systemd")


def test_queues_and_dags_without_a_worker_are_a_warning(two):
    left = tuple(TaskQueue(f"q{number}", number, 0) for number in range(7))
    named = {"gpux": ["report", "train"], "gpu": ["train"]}
    said = judged(two, seen(worker1=("default",)), left=left, named=named)
    level, sentence, fix = said["every queue on RabbitMQ has a worker"]
    assert level == "warn"
    assert sentence == "no worker serves q0 (0), q1 (1), q2 (2), q3 (3), q4 (4) and more"
    assert fix.endswith("fab -H mq1 -- sudo rabbitmqctl delete_queue -p airflow q0")
    level, sentence, _ = said["every queue that a DAG names has a worker"]
    assert (level, sentence) == ("warn", "no worker serves gpux (DAG report, train)")


def test_no_command_is_told_with_a_name_that_a_shell_would_understand(two):
    said = judged(two, seen(worker1=("default",)), left=(TaskQueue("x; reboot", 0, 0),))
    assert "delete_queue" not in said["every queue on RabbitMQ has a worker"][2]


def test_without_an_answer_of_rabbitmq_its_own_section_says_why(two):
    assert judged(two, NOTHING_KNOWN, waiting={"gpux": 3}) == {}


def test_celerys_own_queues_are_no_queues_of_tasks():
    names = ["default", "celery@worker1.celery.pidbox", "celeryev.1-2", "celery_delayed_27"]
    told = [{"name": name, "messages": 2, "consumers": 1} for name in names]
    assert state.task_queues(json.dumps([*told, {"name": "down"}])) == (
        TaskQueue("default", 2, 1),
        TaskQueue("down", 0, 0),
    )


def test_autoscale_is_written_as_bounds(load):
    cluster = load({"autoscale": {"min": 1, "max": 2}})
    assert cluster.settings["airflow"].autoscale == Autoscale(1, 2)
