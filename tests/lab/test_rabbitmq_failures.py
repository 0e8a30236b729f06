"""What the message queue does when nodes fail, or restart, or are parted."""

from __future__ import annotations

import time

import pytest
from support.bad_days import figure
from support.limits import HANDED_OVER
from support.messages import MQ, declared, starts, told

STATE = "queue"
HOSTS = MQ
AWAY = 30
"""Seconds that a node stays away; the others go on before it is back."""


@pytest.fixture
def well_again(fab):
    return lambda: fab.settled("rabbitmq")


def test_power_loss_of_the_queues_leader(queue, fab, healed, report):
    with queue.talking():
        pass
    leader = queue.leader()
    with queue.talking(first=leader) as outcome:
        healed(leader, "power-loss")
        time.sleep(AWAY)
        assert told(fab, "none until", "warn") or told(fab, "does not answer")
    report(figure("power loss of the node that leads the queue", "none", outcome))
    assert outcome.lost == 0
    assert outcome.pause < AWAY


@pytest.mark.long
def test_a_changed_setting_is_planned_and_rolled(queue, fab, settings, on):
    longer = settings("rabbitmq", longest_task=90000)
    plan = fab("--plan", "rabbitmq", **longer)
    restart = "rabbitmq-server.service runs with its present settings"
    assert {(name, restart) for name in MQ} <= plan.steps("differs")
    with queue.talking() as outcome:
        answer = fab("rabbitmq", **longer)
    assert answer.code == 0, answer.text
    assert outcome.lost == 0
    assert "90000000" in on("mq3", "rabbitmqctl -q environment | grep -A1 consumer_timeout")
    assert fab("rabbitmq", **longer).steps("changed") == set()


def test_a_rolling_restart(queue, fab, on, report):
    """It takes back what the test above has set."""
    assert fab("rabbitmq.configure").code == 0
    before = starts(queue)
    with queue.talking() as outcome:
        answer = fab("rabbitmq.restart")
    assert answer.code == 0, answer.text
    report(figure("rolling restart of three nodes", "`fab rabbitmq.restart`", outcome))
    assert all(old != new for old, new in zip(before, starts(queue)))
    assert outcome.lost == 0
    assert outcome.pause <= HANDED_OVER
    assert "90000000" not in on("mq3", "rabbitmqctl -q environment | grep -A1 consumer_timeout")
    assert fab("rabbitmq").steps("changed") == set()
    fab.settled("rabbitmq")


def whole_by_itself(fab) -> bool:
    """Whether the cluster heals within a minute: a node that woke up too early does not."""
    deadline = time.monotonic() + 60
    while told(fab, ""):
        if time.monotonic() > deadline:
            return False
    return True


@pytest.mark.long
@pytest.mark.parametrize("leads", [True, False], ids=["leader", "follower"])
def test_a_partition_of_one_node(queue, fab, healed, lab, on, report, leads):
    on("mq1", declared("lab"))
    alone = next(name for name in MQ if (name == queue.leader()) == leads)
    with queue.talking(first=alone) as outcome:
        healed(alone, "cut", peers=[name for name in MQ if name != alone])
        time.sleep(30)
        assert told(fab, "sees") or told(fab, "does not answer")
        lab.heal(alone)
        if not whole_by_itself(fab):
            assert fab("rabbitmq.cluster").code == 0
        fab.settled("rabbitmq")
    who = "leads the queue" if leads else "does not lead the queue"
    report(figure(f"partition of the node that {who}", "none", outcome))
    assert outcome.lost == 0


@pytest.mark.long
def test_all_nodes_off_and_on_again(queue, fab, lab, report):
    with queue.talking():
        pass
    for name in MQ:
        lab.fault(name, "power-loss")
    for name in MQ:
        lab.heal(name)
    began = time.monotonic()
    fab.settled("rabbitmq", 300)
    report(f"all nodes off and on: whole again after {time.monotonic() - began:.0f} s")


@pytest.mark.long
def test_the_first_one_off_is_on_alone_for_a_while(queue, fab, lab, on, report):
    on("mq1", declared("kept"))
    lab.fault("mq3", "power-loss")
    time.sleep(15)
    for name in ("mq1", "mq2"):
        lab.fault(name, "power-loss")
    lab.heal("mq3")
    time.sleep(40)
    assert "mq3: its management API does not answer" in fab("-H", "mq3", "rabbitmq.check").text
    for name in ("mq1", "mq2"):
        lab.heal(name)
    began = time.monotonic()
    fab.settled("rabbitmq", 300)
    report(f"the first one off is on first: whole again after {time.monotonic() - began:.0f} s")
    assert "kept" in on("mq3", "rabbitmqctl -q list_queues -p airflow name")
    on("mq3", "rabbitmqctl -q delete_queue -p airflow kept")


@pytest.mark.long
def test_a_cookie_that_differs_on_one_node(queue, fab, on):
    cookie = "/var/lib/rabbitmq/.erlang.cookie"
    on(
        "mq2",
        f"systemctl stop rabbitmq-server; echo WRONG >{cookie}; "
        "systemctl start --no-block rabbitmq-server",
    )
    seen = fab("rabbitmq.check")
    assert seen.code == 1
    assert ("mq2", f"file {cookie}") in seen.steps("differs")
    answer = fab("rabbitmq")
    assert answer.code == 0, answer.text
    fab.settled("rabbitmq")
