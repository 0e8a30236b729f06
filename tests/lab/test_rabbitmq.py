"""The message queue, from bare servers on, and what people do with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from support.messages import MQ, Queue, starts, told

STATE = "section one"
HOSTS = MQ


@pytest.fixture
def well_again(fab):
    return lambda: fab.settled("rabbitmq")


def journal(lab) -> list[dict[str, str]]:
    file = Path(lab.environment()["RUNBOOK_STATE"]) / "journal.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.fixture(scope="module")
def plan(fab, lab):
    """The plan for servers that have had Section 1 only, and how much had been done by then."""
    return fab("--plan", "rabbitmq"), len(journal(lab))


@pytest.fixture(scope="module")
def queue(plan, fab, lab, tmp_path_factory) -> Queue:
    """The section has been carried out."""
    answer = fab("rabbitmq")
    assert answer.code == 0, answer.text
    return Queue(lab, tmp_path_factory.mktemp("rabbitmq"))


# From bare servers


def test_names_that_do_not_resolve_are_told(plan, fab, on):
    assert fab("rabbitmq.install").code == 0
    on("mq2", "cp /etc/hosts /root/hosts.kept; sed -i /mq3/d /etc/hosts")
    try:
        answer = fab("rabbitmq")
        assert answer.code == 1
        assert "the name mq3 does not resolve to 192.168.83.137 here: fab hosts" in answer.text
        assert on("mq2", "systemctl is-active rabbitmq-server || :") == "inactive"
    finally:
        on("mq2", "cat /root/hosts.kept >/etc/hosts")


def test_one_server_away_at_the_first_start_and_a_rerun(plan, fab, lab, on):
    lab.fault("mq3", "power-loss")
    try:
        answer = fab("rabbitmq")
        assert answer.code == 3
        assert on("mq1", "systemctl is-active rabbitmq-server || :") == "inactive"
    finally:
        lab.heal("mq3")
    answer = fab("rabbitmq")
    assert answer.code == 0, answer.text


def test_the_plan_is_what_the_runs_then_did(plan, queue, lab):
    planned, began = plan
    assert planned.code == 0, planned.text
    assert planned.unknown() == {
        "rabbitmq.certificates",
        "rabbitmq.users",
        "rabbitmq.policies",
    }
    done = {
        (entry["host"], entry["step"])
        for entry in journal(lab)[began:]
        if entry["mode"] == "do" and entry["result"] == "changed" and "step" in entry
        if entry["task"].startswith("rabbitmq.") and entry["task"] not in planned.unknown()
    }
    assert planned.steps("differs") == done


def test_one_cluster_and_a_second_run_that_changes_nothing(queue, fab):
    fab.settled("rabbitmq")
    before = starts(queue)
    again = fab("rabbitmq")
    assert again.code == 0
    assert again.steps("changed", "failed") == set()
    assert starts(queue) == before
    rows = fab("rabbitmq.status").data["tables"]["rabbitmq.status"]
    assert [row["state"] for row in rows] == ["running"] * 3


def test_versions_are_the_wanted_ones_and_held(queue, on):
    versions = yaml.safe_load(
        (Path(__file__).resolve().parents[2] / "lab/override.yaml").read_text()
    )["versions"]
    assert on("mq1", "rpm -q --qf '%{version}' erlang") == versions["erlang"]
    assert versions["rabbitmq"] in on("mq1", "dnf versionlock list")


def test_guest_is_gone_and_no_password_lies_about(queue, fab, lab, on):
    assert "guest" not in on("mq1", "rabbitmqctl -q list_users")
    state = Path(lab.environment()["RUNBOOK_STATE"])
    secrets = yaml.safe_load((state / "secrets.yaml").read_text())
    ours = [value for name, value in secrets.items() if name.startswith("rabbitmq")]
    assert len(ours) == 3
    shown = fab("rabbitmq.check").text + fab("--plan", "rabbitmq").text
    shown += (state / "journal.jsonl").read_text()
    for name in MQ:
        shown += on(
            name, "journalctl -b --no-pager -o cat; cat /var/log/rabbitmq/*; ps axww -o args"
        )
    for secret in ours:
        assert secret not in shown


# What people do


@pytest.mark.long
def test_an_odd_password(queue, fab, lab):
    file = Path(lab.environment()["RUNBOOK_STATE"]) / "secrets.yaml"
    kept = file.read_text()
    odd = 'it\'s; 50% "odd" @here and there\\'
    file.write_text(yaml.safe_dump({**yaml.safe_load(kept), "rabbitmq_airflow": odd}))
    try:
        named = "user airflow with the password of secrets.yaml"
        assert named in {title for _, title in fab("rabbitmq.check").steps("differs")}
        answer = fab("rabbitmq.users")
        assert {title for _, title in answer.steps("changed")} == {named}
        assert odd not in answer.text
        with queue.talking() as outcome:
            pass
        assert outcome.errors == []
    finally:
        file.write_text(kept)
        assert fab("rabbitmq.users").code == 0


def test_new_passwords_without_a_restart(queue, fab):
    before = starts(queue)
    with queue.talking() as outcome:
        assert fab("--yes", "rabbitmq.rotate").code == 0
        answer = fab("--yes", "rabbitmq.rotate", "--cookie")
        assert answer.code == 0, answer.text
    assert outcome.errors == []
    assert outcome.lost == 0
    assert starts(queue) == before
    fab.settled("rabbitmq")
    assert fab("rabbitmq").steps("changed") == set()


@pytest.mark.long
def test_a_node_that_stood_alone_is_refused_then_joins(queue, fab, on):
    on(
        "mq3",
        "systemctl stop rabbitmq-server; mv /var/lib/rabbitmq/mnesia /root/mnesia.kept; "
        "install -d -m 750 -o rabbitmq -g rabbitmq /var/lib/rabbitmq/mnesia; "
        "sed -i.kept '/classic_config/d' /etc/rabbitmq/rabbitmq.conf; "
        "systemctl start rabbitmq-server; rabbitmqctl -q add_vhost precious",
    )
    on("mq1", "rabbitmqctl -q forget_cluster_node rabbit@mq3")
    on("mq3", "rm /etc/rabbitmq/rabbitmq.conf.kept")
    answer = fab("rabbitmq")
    assert answer.code == 1
    assert "mq3 has been started before and belongs to a cluster of its own" in answer.text
    assert "precious" in on("mq3", "rabbitmqctl -q list_vhosts")
    assert fab("rabbitmq.join", "mq3").code == 2
    joined = fab("--yes", "rabbitmq.join", "mq3", "--i-know")
    assert joined.code == 0, joined.text
    assert on("mq3", "ls -d /var/lib/rabbitmq/mnesia.before-*")
    assert fab("rabbitmq").code == 0
    fab.settled("rabbitmq")


@pytest.mark.long
def test_a_node_is_taken_out_and_comes_back(queue, fab):
    answer = fab("--yes", "rabbitmq.shrink", "mq3")
    assert answer.code == 0, answer.text
    assert told(fab, "mq3")
    back = fab("rabbitmq")
    assert back.code == 0, back.text
    fab.settled("rabbitmq")
