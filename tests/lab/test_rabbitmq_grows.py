"""The message queue gains nodes and loses one, in a lab of its own."""

from __future__ import annotations

import pytest
from support.inventories import some_hosts
from support.messages import declared

pytestmark = pytest.mark.long

FIVE = ("mq1", "mq2", "mq3", "mq4", "mq5")
SIZE = {"ram": "2GB", "cpu": 1, "disk": "10GB", "roles": ["rabbitmq"]}
MORE = {
    "mq4": {"vm": 22, "address": "192.168.83.162", **SIZE},
    "mq5": {"vm": 23, "address": "192.168.83.163", **SIZE},
}


@pytest.fixture(scope="module")
def run(lab_of_its_own, tmp_path_factory):
    """run(5, "rabbitmq") -> what fab said, with hosts.yaml naming the first five of the nodes."""
    folder = tmp_path_factory.mktemp("grows")
    files = {count: some_hosts(folder, FIVE[:count], MORE, postgres={}) for count in (3, 4, 5)}
    fab = lab_of_its_own("mqgrows", files[5])

    def run(count: int, *arguments: str):
        return fab(*arguments, RUNBOOK_INVENTORY=str(files[count]))

    run.lab = fab.lab
    return run


def queues(lab) -> list[str]:
    """Every quorum queue's members."""
    listed = lab.root_shell("mq1", "rabbitmqctl -q list_queues -p airflow name members --silent")
    assert listed.returncode == 0, listed.stderr
    return listed.stdout.splitlines()


def test_three_become_five_and_queues_follow(run):
    first = run(3, "rabbitmq")
    assert first.code == 0, first.text
    made = run.lab.root_shell("mq1", declared("tasks"))
    assert made.returncode == 0, made.stdout + made.stderr
    [before] = queues(run.lab)
    assert before.count("rabbit@") == 3
    grown = run(5, "rabbitmq")
    assert grown.code == 0, grown.text
    [after] = queues(run.lab)
    assert after.count("rabbit@") == 5
    told = run(5, "rabbitmq.check")
    assert told.code == 0, told.text
    assert run(5, "rabbitmq").steps("changed", "failed") == set()


def test_one_is_taken_out(run):
    answer = run(5, "--yes", "rabbitmq.shrink", "mq5")
    assert answer.code == 0, answer.text
    [after] = queues(run.lab)
    assert after.count("rabbit@") == 4
    assert "mq5" not in after
    again = run(4, "rabbitmq")
    assert again.code == 0, again.text
    assert run(4, "rabbitmq.check").code == 0


def test_one_that_is_gone_for_good_is_taken_out(run):
    run.lab.fault("mq4", "power-loss")
    answer = run(4, "--yes", "rabbitmq.shrink", "mq4")
    assert answer.code == 0, answer.text
    assert run(3, "rabbitmq").code == 0
    assert run(3, "rabbitmq.check").code == 0
