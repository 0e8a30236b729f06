"""What `inv runbook.show` prints, typed by hand on one host, and the tasks on its sister."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import yaml
from support.controller import Controller
from support.inventories import some_hosts
from support.person import Person
from support.states import bare_hosts

TYPED = {"haproxy2": "airflow", "mq1": "mq2"}
"""The host that a person sets up: its sister, that the tasks set up."""

TYPISTS = ",".join(TYPED)
SISTERS = ",".join(TYPED.values())


@pytest.fixture(scope="module")
def person(tmp_path_factory):
    file = some_hosts(
        tmp_path_factory.mktemp("typed"),
        ("airflow", "haproxy2", "mq1", "mq2"),
        {},
        postgres={},
        ssh={"key_host": "airflow"},
    )
    with bare_hosts("typed", file) as lab:
        fab = Controller(lab)
        answer = fab("--accept-host-keys", "ssh.trust")
        assert answer.code == 0, answer.text
        answer = fab("-H", SISTERS, "ssh.bootstrap", "base", "hostnames", "hosts")
        assert answer.code == 0, answer.text
        yield Person(lab, fab)


@pytest.fixture(scope="module")
def prepared_by_hand(person) -> Person:
    """Section 1, typed on fresh hosts. No task has ever been there."""
    for host in TYPED:
        person.types_section_one(host)
    return person


@pytest.mark.parametrize("host", TYPED)
def test_section_one_by_hand_leaves_nothing_to_do(prepared_by_hand, host):
    prepared_by_hand.nothing_left(host, TYPED[host], "base", "hostnames", "hosts")


def test_haproxy_by_hand_leaves_nothing_to_do(prepared_by_hand):
    answer = prepared_by_hand.fab("-H", "airflow", "haproxy")
    assert answer.code == 0, answer.text
    for chapter in ("install", "keys", "certificates", "configure"):
        prepared_by_hand.types("haproxy2", f"haproxy.{chapter}", "--ask")
    prepared_by_hand.nothing_left("haproxy2", "airflow", "haproxy")


@pytest.mark.long
def test_rabbitmq_by_hand_leaves_nothing_to_do(prepared_by_hand):
    """A person sets up a node that joins the one of the tasks, which waits for it meanwhile."""
    person = prepared_by_hand
    for chapter in ("install", "keys", "certificates", "configure"):
        person.types("mq1", f"rabbitmq.{chapter}", "--ask")
    sister = person.fab.start("-H", "mq2", "rabbitmq")
    deadline = time.monotonic() + 300
    while person.lab.root_shell("mq2", "rabbitmqctl await_startup --timeout 60").returncode:
        assert time.monotonic() < deadline
        time.sleep(1)
    person.types("mq1", "rabbitmq.cluster", "--ask")
    said, _ = sister.communicate(timeout=300)
    assert sister.returncode == 0, said
    for chapter in ("users", "policies", "queues", "definitions"):
        person.types("mq1", f"rabbitmq.{chapter}", "--ask")
    person.nothing_left("mq1", "mq2", "rabbitmq")


def test_ssh_by_hand_leaves_nothing_to_do(prepared_by_hand):
    """The key of VM1 is a fact of another host: it is asked for, and written out."""
    person = prepared_by_hand
    for host, task in (("airflow", "ssh.keygen"), ("mq2", "ssh.distribute")):
        answer = person.fab("-H", host, task)
        assert answer.code == 0, answer.text
    person.types("mq1", "ssh", "--ask")
    person.nothing_left("mq1", "mq2", "ssh")


def test_a_walk_shows_asks_and_mends_and_the_journal_tells(prepared_by_hand):
    person = prepared_by_hand
    for host in ("mq1", "mq2"):
        person.lab.root_shell(host, "sed -i s/192.168.83.129/192.168.83.29/ /etc/hosts")
    asked = person.inv("runbook.walk", "hosts", feed="d\nq\n")
    assert asked.code == 0, asked.text
    assert "hosts.names on mq1, mq2" in asked.text
    assert "-192.168.83.29 airflow" in asked.text
    done = person.inv("runbook.walk", "hosts", feed="r\n")
    assert done.code == 0, done.text
    assert "Continuing at hosts.names" in done.text
    assert "Everything is in the wanted state." in done.text
    assert person.inv("runbook.walk", "hosts").text.endswith("Everything is in the wanted state.\n")
    lines = person.inv("runbook.log", "--task", "hosts", "--last", "4", "--json").text.splitlines()
    entries = [json.loads(line) for line in lines]
    assert {entry["host"] for entry in entries if entry.get("step")} == {"mq1", "mq2"}
    assert {entry["result"] for entry in entries} == {"changed"}
    assert len({entry["run"] for entry in entries}) == 1


@pytest.mark.long
def test_an_unreachable_host_is_named_and_the_rest_is_shown(prepared_by_hand):
    person = prepared_by_hand
    person.lab.fault("mq2", "unplug")
    try:
        shown = person.inv("runbook.show", "rabbitmq.cluster", "--host", "mq1,mq2", "--ask")
        assert shown.code == 3
        assert "# On mq1:" in shown.text
        walked = person.inv("runbook.walk", "hosts")
        assert walked.code == 3
        assert "mq2 (192.168.83.136:22) is unreachable" in walked.text
    finally:
        person.lab.heal("mq2")


def test_no_password_is_ever_shown(prepared_by_hand, person):
    file = Path(person.lab.environment()["RUNBOOK_STATE"]) / "secrets.yaml"
    kept = yaml.safe_load(file.read_text())
    assert len(kept) > 1
    for form in ("text", "markdown", "html"):
        shown = person.inv("runbook.show", "--format", form, "--ask").text
        assert [name for name, value in kept.items() if value in shown] == []
        assert "@rabbitmq_admin@" in shown
