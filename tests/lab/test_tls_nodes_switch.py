"""RabbitMQ's nodes from TLS to clear and back, under load, interrupted, and with lost nodes."""

from __future__ import annotations

import time

import pytest
from support.messages import MQ, Queue, starts, told, waits
from support.nodes_tls import BETWEEN, ROW, heard, over_tls
from support.replaced import lost, replaced

STATE = "queue"
HOSTS = (*MQ, "worker1")
WAITS = True

pytestmark = pytest.mark.long

ALL_STOP = 120
"""Seconds that the stop and start of three nodes do not take."""

AWAY = 20
"""Seconds until somebody does something; the others have noticed by then."""

SECTIONS = ("tls", "rabbitmq")


@pytest.fixture
def in_clear(fab, settings):
    """fab with a hosts.yaml that wants the nodes in clear."""
    return fab.given(**settings("rabbitmq", nodes_tls=False))


def change(fab, queue: Queue, report, to: str) -> None:
    """The named task, while clients work."""
    with queue.talking():
        pass
    with queue.talking() as outcome:
        answer = fab("--yes", "rabbitmq.switch-nodes", "--to", to)
        queue.confirms(ALL_STOP)
    assert answer.code == 0, answer.text
    report(f"the nodes change to {to}: {outcome}")
    assert outcome.lost == 0
    assert outcome.pause < ALL_STOP


def test_a_run_does_not_change_nodes_that_run(queue, fab, in_clear, on):
    assert fab(*SECTIONS).steps("failed") == set()
    since = starts(queue)
    assert in_clear("rabbitmq").steps("changed") == set()
    assert told(in_clear, "to change it: fab rabbitmq.switch-nodes --to clear", "ok")
    assert (starts(queue), over_tls(on)) == (since, [True, True, True])


def test_a_plan_of_the_change_stops_nothing(queue, fab):
    since = starts(queue)
    plan = fab("--plan", "rabbitmq.switch-nodes", "--to", "clear")
    assert {(name, "rabbitmq-server.service has stopped") for name in MQ} <= plan.steps("differs")
    assert starts(queue) == since


def test_it_is_refused_while_a_node_does_not_run(fab, on):
    on("mq2", "systemctl stop rabbitmq-server")
    answer = fab("--yes", "rabbitmq.switch-nodes", "--to", "clear")
    assert answer.code == 1
    assert "mq2 does not run" in answer.text
    assert fab("rabbitmq.cluster").code == 0
    fab.settled("rabbitmq")


def test_to_clear_under_load(queue, fab, in_clear, lab, on, report, tmp_path):
    change(fab, queue, report, "clear")
    assert told(fab, f"{ROW}: in clear: mq1, mq2, mq3", "warn")
    in_clear.settled("rabbitmq")
    assert over_tls(on) == [False, False, False]
    since = starts(queue)
    assert fab("--yes", "rabbitmq.switch-nodes", "--to", "clear").steps("changed") == set()
    assert fab("rabbitmq").steps("changed") == set()
    assert starts(queue) == since
    assert f":{BETWEEN}" in heard(lab, on, tmp_path)["a message"]


def test_a_replaced_node_joins_as_the_others_run(queue, fab, in_clear, lab, on):
    """hosts.yaml asks for TLS."""
    lost(lab, "mq3")
    time.sleep(AWAY)
    replaced(lab, "mq3")
    answer = fab("rabbitmq")
    assert answer.code == 0, answer.text
    in_clear.settled("rabbitmq")
    assert over_tls(on) == [False, False, False]


def test_to_tls_under_load(queue, fab, lab, on, report, tmp_path):
    change(fab, queue, report, "tls")
    fab.settled("rabbitmq")
    assert over_tls(on) == [True, True, True]
    since = starts(queue)
    assert fab("--yes", "rabbitmq.switch-nodes").steps("changed") == set()
    for section in SECTIONS:
        assert fab(section).steps("changed") == set()
    assert starts(queue) == since
    assert heard(lab, on, tmp_path) == {}


def test_an_interrupted_change_is_told_and_completed(fab, on):
    on(
        "mq3",
        "systemctl stop rabbitmq-server; sed -i /^NODENAME=/q /etc/rabbitmq/rabbitmq-env.conf; "
        "systemctl start --no-block rabbitmq-server",
    )
    assert told(fab, f"{ROW}: mq1, mq2 over TLS, but mq3 in clear")
    assert fab("rabbitmq.configure").steps("changed", "failed") == set()
    answer = fab("--yes", "rabbitmq.switch-nodes")
    assert answer.code == 0, answer.text
    fab.settled("rabbitmq")
    assert over_tls(on) == [True, True, True]


def test_a_lost_majority_is_recovered(queue, fab, lab, on):
    lost(lab, "mq2", "mq3")
    time.sleep(AWAY)
    waits(fab, "its management API does not answer")
    answer = fab("--yes", "rabbitmq.recover", "mq1", "--i-know")
    assert answer.code == 0, answer.text
    replaced(lab, "mq2", "mq3")
    joined = fab("rabbitmq")
    assert joined.code == 0, joined.text
    fab.settled("rabbitmq")
    assert over_tls(on) == [True, True, True]
    with queue.talking() as after:
        pass
    assert after.lost == 0
    assert fab("rabbitmq").steps("changed", "failed") == set()
