"""The message queue, from bare servers to what it does when nodes fail."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import yaml
from limits import HANDED_OVER
from messages import MQ, declared, starts, told

AWAY = 30
"""Seconds that a node stays away; the others go on before it is back."""


@pytest.fixture
def well_again(prepared):
    return lambda: prepared.settled("rabbitmq")


def journal(lab) -> list[dict[str, str]]:
    file = Path(lab.environment()["RUNBOOK_STATE"]) / "journal.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.fixture(scope="module")
def plan(prepared, lab):
    """The plan for servers that have had Section 1 only, and how much had been done by then."""
    return prepared("--plan", "rabbitmq"), len(journal(lab))


# From bare servers


def test_names_that_do_not_resolve_are_told(plan, prepared, on):
    assert prepared("rabbitmq.install").code == 0
    on("mq2", "cp /etc/hosts /root/hosts.kept; sed -i /mq3/d /etc/hosts")
    try:
        answer = prepared("rabbitmq")
        assert answer.code == 1
        assert "the name mq3 does not lead to 192.168.83.137 here: fab hosts" in answer.text
        assert on("mq2", "systemctl is-active rabbitmq-server || :") == "inactive"
    finally:
        on("mq2", "cat /root/hosts.kept >/etc/hosts")


def test_one_server_away_at_the_first_start_and_a_rerun(plan, prepared, lab, on):
    lab.fault("mq3", "power-loss")
    try:
        answer = prepared("rabbitmq")
        assert answer.code == 3
        assert on("mq1", "systemctl is-active rabbitmq-server || :") == "inactive"
    finally:
        lab.heal("mq3")
    answer = prepared("rabbitmq")
    assert answer.code == 0, answer.text


def test_the_plan_is_what_the_runs_then_did(plan, queue, lab):
    planned, began = plan
    assert planned.code == 0, planned.text
    assert planned.unknown() == {"rabbitmq.users", "rabbitmq.policies"}
    done = {
        (entry["host"], entry["step"])
        for entry in journal(lab)[began:]
        if entry["mode"] == "do" and entry["result"] == "changed" and "step" in entry
        if entry["task"].startswith("rabbitmq.") and entry["task"] not in planned.unknown()
    }
    assert planned.steps("differs") == done


def test_one_cluster_and_a_second_run_that_changes_nothing(queue, prepared):
    prepared.settled("rabbitmq")
    before = starts(queue)
    again = prepared("rabbitmq")
    assert again.code == 0
    assert again.steps("changed", "failed") == set()
    assert starts(queue) == before
    rows = prepared("rabbitmq.status").data["tables"]["rabbitmq.status"]
    assert [row["state"] for row in rows] == ["running"] * 3


def test_versions_are_the_wanted_ones_and_held(queue, on):
    versions = yaml.safe_load(
        (Path(__file__).resolve().parents[2] / "lab/override.yaml").read_text()
    )["versions"]
    assert on("mq1", "rpm -q --qf '%{version}' erlang") == versions["erlang"]
    assert versions["rabbitmq"] in on("mq1", "dnf versionlock list")


def test_guest_is_gone_and_no_password_lies_about(queue, prepared, lab, on):
    assert "guest" not in on("mq1", "rabbitmqctl -q list_users")
    state = Path(lab.environment()["RUNBOOK_STATE"])
    secrets = yaml.safe_load((state / "secrets.yaml").read_text())
    ours = [value for name, value in secrets.items() if name.startswith("rabbitmq")]
    assert len(ours) == 3
    shown = prepared("rabbitmq.check").text + prepared("--plan", "rabbitmq").text
    shown += (state / "journal.jsonl").read_text()
    for name in MQ:
        shown += on(
            name, "journalctl -b --no-pager -o cat; cat /var/log/rabbitmq/*; ps axww -o args"
        )
    for secret in ours:
        assert secret not in shown


# When nodes fail


def test_power_loss_of_the_queues_leader(queue, prepared, healed, report):
    with queue.talking():
        pass
    leader = queue.leader()
    with queue.talking(first=leader) as outcome:
        healed(leader, "power-loss")
        time.sleep(AWAY)
        assert told(prepared, "none until", "warn") or told(prepared, "does not answer")
    report(f"power loss of the leader: {outcome}")
    assert outcome.lost == 0
    assert outcome.pause < AWAY


def test_a_changed_setting_is_planned_and_rolled(queue, prepared, settings, on):
    longer = settings("rabbitmq", longest_task=90000)
    plan = prepared("--plan", "rabbitmq", **longer)
    restart = "rabbitmq-server.service runs with its present settings"
    assert {(name, restart) for name in MQ} <= plan.steps("differs")
    with queue.talking() as outcome:
        answer = prepared("rabbitmq", **longer)
    assert answer.code == 0, answer.text
    assert outcome.lost == 0
    assert "90000000" in on("mq3", "rabbitmqctl -q environment | grep -A1 consumer_timeout")
    assert prepared("rabbitmq", **longer).steps("changed") == set()


def test_a_rolling_restart(queue, prepared, on, report):
    """It takes back what the test above has set."""
    assert prepared("rabbitmq.configure").code == 0
    before = starts(queue)
    with queue.talking() as outcome:
        answer = prepared("rabbitmq.restart")
    assert answer.code == 0, answer.text
    report(f"rolling restart: {outcome}")
    assert all(old != new for old, new in zip(before, starts(queue)))
    assert outcome.lost == 0
    assert outcome.pause <= HANDED_OVER
    assert "90000000" not in on("mq3", "rabbitmqctl -q environment | grep -A1 consumer_timeout")
    assert prepared("rabbitmq").steps("changed") == set()
    prepared.settled("rabbitmq")


def whole_by_itself(fab) -> bool:
    """Whether the cluster heals within a minute: a node that woke up too early does not."""
    deadline = time.monotonic() + 60
    while told(fab, ""):
        if time.monotonic() > deadline:
            return False
    return True


@pytest.mark.parametrize(
    "leads",
    [
        pytest.param(True, id="leader"),
        pytest.param(False, id="follower", marks=pytest.mark.long),
    ],
)
def test_a_partition_of_one_node(queue, prepared, healed, lab, on, report, leads):
    on("mq1", declared("lab"))
    alone = next(name for name in MQ if (name == queue.leader()) == leads)
    with queue.talking(first=alone) as outcome:
        healed(alone, "cut", peers=[name for name in MQ if name != alone])
        time.sleep(30)
        assert told(prepared, "sees") or told(prepared, "does not answer")
        lab.heal(alone)
        if not whole_by_itself(prepared):
            assert prepared("rabbitmq.cluster").code == 0
        prepared.settled("rabbitmq")
    report(f"partition of one node, {'the leader' if leads else 'a follower'}: {outcome}")
    assert outcome.lost == 0


def test_all_nodes_off_and_on_again(queue, prepared, lab, report):
    with queue.talking():
        pass
    for name in MQ:
        lab.fault(name, "power-loss")
    for name in MQ:
        lab.heal(name)
    began = time.monotonic()
    prepared.settled("rabbitmq", 300)
    report(f"all nodes off and on: whole again after {time.monotonic() - began:.0f} s")


@pytest.mark.long
def test_the_first_one_off_is_on_alone_for_a_while(queue, prepared, lab, on, report):
    on("mq1", declared("kept"))
    lab.fault("mq3", "power-loss")
    time.sleep(15)
    for name in ("mq1", "mq2"):
        lab.fault(name, "power-loss")
    lab.heal("mq3")
    time.sleep(40)
    assert "mq3: its management does not answer" in prepared("-H", "mq3", "rabbitmq.check").text
    for name in ("mq1", "mq2"):
        lab.heal(name)
    began = time.monotonic()
    prepared.settled("rabbitmq", 300)
    report(f"the first one off is on first: whole again after {time.monotonic() - began:.0f} s")
    assert "kept" in on("mq3", "rabbitmqctl -q list_queues -p airflow name")
    on("mq3", "rabbitmqctl -q delete_queue -p airflow kept")


def test_a_cookie_that_differs_on_one_node(queue, prepared, on):
    cookie = "/var/lib/rabbitmq/.erlang.cookie"
    on(
        "mq2",
        f"systemctl stop rabbitmq-server; echo WRONG >{cookie}; "
        "systemctl start --no-block rabbitmq-server",
    )
    seen = prepared("rabbitmq.check")
    assert seen.code == 1
    assert ("mq2", f"file {cookie}") in seen.steps("differs")
    answer = prepared("rabbitmq")
    assert answer.code == 0, answer.text
    prepared.settled("rabbitmq")


# What people do


@pytest.mark.long
def test_an_odd_password(queue, prepared, lab):
    file = Path(lab.environment()["RUNBOOK_STATE"]) / "secrets.yaml"
    kept = file.read_text()
    odd = 'it\'s; 50% "odd" @here and there\\'
    file.write_text(yaml.safe_dump({**yaml.safe_load(kept), "rabbitmq_airflow": odd}))
    try:
        named = "user airflow with the password of secrets.yaml"
        assert named in {title for _, title in prepared("rabbitmq.check").steps("differs")}
        answer = prepared("rabbitmq.users")
        assert {title for _, title in answer.steps("changed")} == {named}
        assert odd not in answer.text
        with queue.talking() as outcome:
            pass
        assert outcome.errors == []
    finally:
        file.write_text(kept)
        assert prepared("rabbitmq.users").code == 0


def test_new_passwords_without_a_restart(queue, prepared):
    before = starts(queue)
    with queue.talking() as outcome:
        assert prepared("--yes", "rabbitmq.rotate").code == 0
        answer = prepared("--yes", "rabbitmq.rotate", "--cookie")
        assert answer.code == 0, answer.text
    assert outcome.errors == []
    assert outcome.lost == 0
    assert starts(queue) == before
    prepared.settled("rabbitmq")
    assert prepared("rabbitmq").steps("changed") == set()


def test_a_node_that_stood_alone_is_refused_then_joins(queue, prepared, on):
    on(
        "mq3",
        "systemctl stop rabbitmq-server; mv /var/lib/rabbitmq/mnesia /root/mnesia.kept; "
        "install -d -m 750 -o rabbitmq -g rabbitmq /var/lib/rabbitmq/mnesia; "
        "sed -i.kept '/classic_config/d' /etc/rabbitmq/rabbitmq.conf; "
        "systemctl start rabbitmq-server; rabbitmqctl -q add_vhost precious",
    )
    on("mq1", "rabbitmqctl -q forget_cluster_node rabbit@mq3")
    on("mq3", "rm /etc/rabbitmq/rabbitmq.conf.kept")
    answer = prepared("rabbitmq")
    assert answer.code == 1
    assert "mq3 has been started before and remembers a cluster of its own" in answer.text
    assert "precious" in on("mq3", "rabbitmqctl -q list_vhosts")
    assert prepared("rabbitmq.join", "mq3").code == 2
    joined = prepared("--yes", "rabbitmq.join", "mq3", "--i-know")
    assert joined.code == 0, joined.text
    assert on("mq3", "ls -d /var/lib/rabbitmq/mnesia.before-*")
    assert prepared("rabbitmq").code == 0
    prepared.settled("rabbitmq")


def test_a_node_is_taken_out_and_comes_back(queue, prepared):
    answer = prepared("--yes", "rabbitmq.shrink", "mq3")
    assert answer.code == 0, answer.text
    assert told(prepared, "mq3")
    back = prepared("rabbitmq")
    assert back.code == 0, back.text
    prepared.settled("rabbitmq")
