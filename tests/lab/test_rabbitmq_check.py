"""Each result of `fab rabbitmq.check` on nodes that are broken past the product, and its fix."""

from __future__ import annotations

import time

import pytest
from support.controller import said
from support.inventories import some_hosts
from support.messages import MQ, declared, told

STATE = "queue"
HOSTS = MQ

pytestmark = [pytest.mark.usefixtures("queue"), pytest.mark.long]

APP = "/usr/lib/rabbitmq/lib/rabbitmq_server-*/plugins/rabbit-*/ebin/rabbit.app"
OTP = "/usr/lib/erlang/releases/*/OTP_VERSION"


def fix_for(fab, words: str, level: str = "error") -> str:
    """What the check names as a fix; the nodes' figures may be some seconds old."""
    deadline = time.monotonic() + 120
    while True:
        answer = fab("rabbitmq.check")
        for result in answer.data["tasks"]["rabbitmq.check"]["hosts"].values():
            for step in result["steps"]:
                if words in said(step) and step["status"] == level:
                    return str(step["fix"])
        assert time.monotonic() < deadline, answer.text


def carry_out(fab, fix: str) -> None:
    """The fix, up to the words that explain it; afterwards there is nothing to say any more."""
    command, *_ = fix.split(", ")
    answer = fab("--yes", *command.split()[1:])
    assert answer.code == 0, answer.text
    fab.settled("rabbitmq")


@pytest.fixture
def queues(on):
    """queues("a", "b"): quorum queues that mq1 leads, and no others."""
    made: list[str] = []

    def delete(*names: str) -> None:
        for name in names:
            on("mq1", f"rabbitmqctl -q delete_queue -p airflow {name} || :")

    def make(*names: str) -> None:
        delete("lab")
        on("mq1", declared(*names))
        made.extend(names)

    yield make
    delete(*made)


# Nodes


@pytest.mark.parametrize(
    ("command", "words", "fix"),
    [
        (
            "systemctl stop rabbitmq-server",
            "mq2: its management API does not answer",
            "fab rabbitmq.cluster rabbitmq.users",
        ),
        (
            "rabbitmqctl -q stop_app",
            "mq2: its management API does not answer",
            "fab rabbitmq.cluster rabbitmq.users",
        ),
        ("rabbitmqctl -q suspend_listeners", "AMQP listens", "fab -H mq2 rabbitmq"),
    ],
)
def test_a_node_that_does_not_do_its_work_is_told_and_mended(fab, on, command, words, fix):
    on("mq2", command)
    assert fix_for(fab, words) == fix
    carry_out(fab, fix)


def test_a_plugin_that_is_off_is_told_and_mended(fab, on):
    on("mq2", "rabbitmq-plugins -q disable rabbitmq_prometheus")
    fix = fix_for(fab, "prometheus listens on 15692")
    assert fix == "fab -H mq2 rabbitmq"
    differing = fab("rabbitmq.check").steps("differs")
    assert ("mq2", "file /etc/rabbitmq/enabled_plugins") in differing
    carry_out(fab, fix)


def test_versions_that_differ_are_told_and_mended(fab, on):
    on("mq3", f"sed -i.kept 's/vsn, \"[0-9]*.[0-9]*/&.99/' {APP}")
    on("mq3", "systemctl restart rabbitmq-server")
    try:
        fix = fix_for(fab, "mq3 has 3.10.99")
        assert fix == "fab -H mq3 rabbitmq.restart, once the packages match hosts.yaml"
    finally:
        on("mq3", f"app=$(echo {APP}); mv $app.kept $app")
    carry_out(fab, fix)


def test_an_erlang_that_does_not_fit_is_told(fab, on):
    for name in MQ:
        on(name, f"otp=$(echo {OTP}); cp $otp /root/otp.kept; echo 26.2.5.16 >$otp")
    try:
        fix = fix_for(fab, "needs Erlang 23.2 to 25.3, but has 26.2.5.16")
        assert fix == "dnf install erlang-25.2.3 on each server, then fab rabbitmq.restart"
    finally:
        for name in MQ:
            on(name, f"otp=$(echo {OTP}); cat /root/otp.kept >$otp")
    fab.settled("rabbitmq")


def test_alarms_are_told(fab, on):
    on("mq2", "rabbitmqctl -q set_disk_free_limit 100000GB")
    on("mq3", "rabbitmqctl -q set_vm_memory_high_watermark absolute 1MB")
    try:
        assert "make room" in fix_for(fab, "mq2: its disk is too full: all publishers are blocked")
        assert "rabbitmq.status" in fix_for(fab, "mq3: it uses too much memory: all")
    finally:
        on("mq2", "rabbitmqctl -q set_disk_free_limit 1GB")
        on("mq3", "rabbitmqctl -q set_vm_memory_high_watermark 0.4")
    fab.settled("rabbitmq")


def test_a_node_that_hosts_yaml_does_not_have_is_taken_out_and_joins_again(fab, on, tmp_path):
    without = some_hosts(tmp_path, MQ[:2], {}, postgres={})
    two = fab.given(RUNBOOK_INVENTORY=str(without))
    fix = fix_for(two, "mq3 is a node, but not in hosts.yaml")
    assert fix == "fab rabbitmq.shrink mq3"
    taken_out = two("--yes", "rabbitmq.shrink", "mq3")
    assert taken_out.code == 0, taken_out.text
    assert "disable its service there" in taken_out.text
    assert on("mq3", "systemctl is-active rabbitmq-server || :") == "inactive"
    assert told(two, "RabbitMQ is one cluster: 2 nodes", "ok")
    fix = fix_for(fab, "mq3 belongs to a different cluster from the others")
    assert fix == "fab rabbitmq.join mq3 --i-know, which discards what it holds"
    assert fab("rabbitmq.cluster").hosts("refused") == {"mq3"}
    carry_out(fab, fix)


# Queues


def test_a_queue_that_lacks_a_member_is_told_and_mended(fab, on, queues):
    queues("red")
    on("mq1", "rabbitmq-queues -q delete_member -p airflow red rabbit@mq3")
    fix = fix_for(fab, "1 lack a member: red")
    assert fix == "fab rabbitmq.cluster rabbitmq.queues"
    assert told(fab, "redundancy: none", "warn")
    carry_out(fab, fix)


def test_queues_that_one_node_leads_are_told_and_spread(fab, queues):
    queues("red1", "red2", "red3", "red4")
    fix = fix_for(fab, "mq1 leads all 4", "warn")
    assert fix.startswith("fab -H mq1 -- sudo rabbitmq-queues rebalance quorum; if it fails: ")
    carry_out(fab, fix.partition(";")[0])


# Users


def test_an_administrator_who_is_not_let_in_is_told_and_mended(fab, on):
    on("mq1", "rabbitmqctl -q change_password admin other; rabbitmqctl -q set_user_tags admin")
    fix = fix_for(fab, "mq1, mq2, mq3: its management API does not answer the user admin")
    assert fix == "fab rabbitmq.cluster rabbitmq.users"
    carry_out(fab, fix)


def test_users_that_somebody_changed_are_told_and_mended(fab, on):
    on(
        "mq1",
        "rabbitmqctl -q add_user guest guest; rabbitmqctl -q delete_user airflow; "
        "rabbitmqctl -q set_permissions -p airflow admin '^$' '^$' '^$'",
    )
    wrong = {
        ("mq1", "there is no user guest"),
        ("mq1", "user airflow with the password of secrets.yaml"),
        ("mq1", "user airflow may use vhost airflow"),
        ("mq1", "user admin may use vhost airflow"),
    }
    assert fab("rabbitmq.check").steps("differs") == wrong
    assert fab("rabbitmq.users").steps("changed") == wrong
    fab.settled("rabbitmq")


def test_a_vhost_that_is_gone_or_gives_out_other_queues_is_told_and_mended(fab, on):
    title = "vhost airflow with quorum queues by default"
    on("mq1", "rabbitmqctl -q delete_vhost airflow")
    assert ("mq1", title) in fab("rabbitmq.check").steps("differs")
    on("mq1", "rabbitmqctl -q add_vhost airflow --default-queue-type classic")
    assert ("mq1", title) in fab("rabbitmq.check").steps("differs")
    answer = fab.text("rabbitmq.users")
    assert "RabbitMQ before 3.11.14 cannot change that" in answer.text
    on("mq1", "rabbitmqctl -q delete_vhost airflow")
    carry_out(fab, "fab rabbitmq.users")
