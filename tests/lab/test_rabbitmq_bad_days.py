"""The message queue's servers are lost, replaced, or get other addresses."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
import yaml
from support.bad_days import figure
from support.controller import PROJECT
from support.messages import ADDRESSES, MQ, declared, filled, starts, waits
from support.replaced import lost, replaced

STATE = "queue"
HOSTS = MQ
pytestmark = pytest.mark.long
ELSEWHERE = "192.168.83.163"
"""A free address for a server that moves."""

AWAY = 20
"""Seconds until somebody does something; the others have noticed by then."""

WAITING = 20
"""Messages in a queue that nobody reads."""


def listed(on, columns: str = "name members") -> str:
    return on("mq1", f"rabbitmqctl -q list_queues -p airflow --silent {columns}")


def test_a_dead_broker_is_replaced_under_its_name(queue, fab, lab, on, report):
    on("mq3", f"rabbitmqctl -q delete_queue -p airflow lab || :; {declared('lab')}")
    before = starts(queue)[:2]
    with queue.talking(first="mq3") as outcome:
        lost(lab, "mq3")
        time.sleep(AWAY)
        replaced(lab, "mq3")
        waits(fab, "mq3 has no data any more, but the others still count it")
        answer = fab("rabbitmq")
    assert answer.code == 0, answer.text
    report(
        figure(
            "a dead broker, which led the queue, is replaced under its name",
            "`fab rabbitmq`",
            outcome,
        )
    )
    assert ("mq3", "mq1 no longer counts the mq3 that is gone") in answer.steps("changed")
    assert {host for host, _ in answer.steps("changed")} == {"mq3"}
    assert outcome.lost == 0
    assert starts(queue)[:2] == before
    fab.settled("rabbitmq")
    assert listed(on).count("rabbit@") == 3
    assert fab("rabbitmq").steps("changed", "failed") == set()


def test_no_node_is_forgotten_while_the_others_are_no_majority(fab, lab, on):
    lost(lab, "mq3")
    replaced(lab, "mq3")
    on("mq2", "systemctl stop rabbitmq-server")
    answer = fab("-H", "mq3", "rabbitmq")
    assert answer.code == 1
    assert "First start them: fab -H mq1,mq2 rabbitmq.cluster" in answer.text
    assert "rabbit@mq3" in on("mq1", "cat /var/lib/rabbitmq/mnesia/rabbit@mq1/cluster_nodes.config")
    assert fab("-H", "mq1,mq2", "rabbitmq.cluster").code == 0
    answer = fab("rabbitmq")
    assert answer.code == 0, answer.text
    fab.settled("rabbitmq")


def test_recovery_is_refused_while_a_majority_has_its_data(fab, on):
    for name in ("mq2", "mq3"):
        on(name, "systemctl stop rabbitmq-server")
    answer = fab("--yes", "rabbitmq.recover", "mq1", "--i-know")
    assert answer.code == 1
    assert "mq1, mq2, mq3 still have their data, which is a majority of 3" in answer.text
    assert fab("rabbitmq.cluster").code == 0
    fab.settled("rabbitmq")


def test_two_of_three_brokers_are_lost_for_good(queue, fab, lab, on, report):
    """RabbitMQ 3.10 cannot keep what waits in quorum queues; it says so, and how much it is."""
    with queue.talking():
        pass
    on("mq1", "rabbitmqctl -q add_vhost kept")
    on("mq2", f"{declared('waiting')}; {filled('waiting', WAITING)}")
    with queue.talking() as outcome:
        lost(lab, "mq2", "mq3")
        time.sleep(AWAY)
        waits(fab, "mq1, mq2, mq3: its management API does not answer")
        asked = fab("rabbitmq.recover", "mq1")
        assert asked.code == 2
        assert "all quorum queues with replicas on lost nodes are deleted" in asked.text
        answer = fab("--yes", "rabbitmq.recover", "mq1", "--i-know")
        assert answer.code == 0, answer.text
        queue.confirms()
    given_up = replace(outcome, lost=outcome.lost + WAITING, confirmed=outcome.confirmed + WAITING)
    report(figure("two of three brokers are lost for good", "`fab rabbitmq.recover mq1`", given_up))
    assert f"quorum queue waiting in vhost airflow: {WAITING} messages" in answer.text
    left = "[amqqueue:get_name(Q) || Q <- rabbit_amqqueue:list()]."
    assert "waiting" not in on("mq1", f"rabbitmqctl -q eval '{left}'")
    assert on("mq1", "ls -d /var/lib/rabbitmq/mnesia.before-*")
    assert "kept" in on("mq1", "rabbitmqctl -q list_vhosts")
    replaced(lab, "mq2", "mq3")
    joined = fab("rabbitmq")
    assert joined.code == 0, joined.text
    fab.settled("rabbitmq")
    assert listed(on).count("rabbit@") == 3
    on("mq1", "rabbitmqctl -q delete_vhost kept")
    with queue.talking() as after:
        pass
    assert after.lost == 0
    assert fab("rabbitmq").steps("changed", "failed") == set()


def test_a_server_with_a_new_address(queue, fab, lab, on, report, tmp_path):
    data = yaml.safe_load((PROJECT / "hosts.yaml").read_text())
    data["hosts"]["mq3"]["address"] = ELSEWHERE
    inventory = tmp_path / "hosts.yaml"
    inventory.write_text(yaml.safe_dump(data))
    moved = fab.given(RUNBOOK_INVENTORY=str(inventory))
    before = starts(queue)[:2]
    with queue.talking() as outcome:
        on("mq3", "systemctl stop rabbitmq-server")
        on(
            "mq3",
            f"ip address del {ADDRESSES['mq3']}/24 dev eth0; "
            f"ip address add {ELSEWHERE}/24 dev eth0",
        )
        trusted = moved("--accept-host-keys", "-H", ",".join(MQ), "ssh.trust")
        assert trusted.code == 0, trusted.text
        for task in ("base", "hosts"):
            answer = moved("-H", ",".join(MQ), task)
            assert answer.code == 0, answer.text
        answer = moved("rabbitmq")
        assert answer.code == 0, answer.text
    report(figure("a broker gets a new address", "`fab base hosts rabbitmq`", outcome))
    assert outcome.lost == 0
    assert starts(queue)[:2] == before
    moved.settled("rabbitmq")
    assert moved("rabbitmq").steps("changed", "failed") == set()
