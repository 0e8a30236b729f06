"""What the section does differently for RabbitMQ 4 and its metadata store Khepri."""

from __future__ import annotations

import os
import subprocess

import pytest
from support.rabbitmq_facts import MQ, classic, facts, nodes, stages, state

from fabfile import CONTENTS
from fabfile.rabbitmq import cluster as forming
from fabfile.rabbitmq import common, configure, recover, upgrade, users
from fabfile.rabbitmq import nodes as asking
from fabfile.rabbitmq.nodes import Node, parse
from fabfile.rabbitmq.settings import erlang_for
from runbook.declare.facts import Facts
from runbook.declare.work import Question
from runbook.errors import RunbookError

KHEPRI = {"name": "khepri_db", "state": "enabled", "stability": "stable"}
ALONE = Node(True, frozenset({"rabbit@mq1"}), True)


@pytest.fixture(autouse=True)
def cookie(monkeypatch):
    """secrets.yaml is this cluster's."""
    monkeypatch.setenv("RUNBOOK_SECRET_RABBITMQ_COOKIE", "COOKIE")


@pytest.fixture
def wanting(hosts_yaml):
    """wanting("4.0.5", "27.3.4") -> the cluster of hosts.yaml with these versions."""

    def load(rabbitmq: str, erlang: str, settings: str = "{}"):
        file = hosts_yaml("rabbitmq: 3.12.10", f"rabbitmq: {rabbitmq}")
        text = file.read_text().replace("erlang: 26.1.2", f"erlang: {erlang}")
        own = "settings: {}                   # rabbitmq.conf"
        file.write_text(text.replace(own, f"settings: {settings}  # rabbitmq.conf"))
        return CONTENTS.load(file)

    return load


# Versions


@pytest.mark.parametrize(
    ("rabbitmq", "range_"),
    [
        ("3.12.10", ("25.0", "26.2")),
        ("4.0.3", ("26.2", "26.2")),
        ("4.0.4", ("26.2", "27.3")),
        ("4.2.8", ("26.2", "27.3")),
        ("4.2.10", ("27.0", "27.3")),
        ("4.3.6", ("27.0", "28.5")),
        ("4.3.12", ("27.0", "29.1")),
        ("5.0.0", None),
    ],
)
def test_the_erlang_of_a_release_within_a_series(rabbitmq, range_):
    assert erlang_for(rabbitmq) == range_


@pytest.mark.parametrize(("rabbitmq", "erlang"), [("4.0.3", "27.3.4"), ("4.3.6", "29.1.1")])
def test_an_erlang_that_came_later_is_refused(wanting, rabbitmq, erlang):
    with pytest.raises(RunbookError, match=f"{erlang} does not fit RabbitMQ {rabbitmq}"):
        wanting(rabbitmq, erlang)


def test_a_setting_that_is_gone_is_refused(wanting):
    gone = "{mqtt.default_user: somebody, backlog: 128}"
    with pytest.raises(RunbookError, match=r"4\.0\.5 does not know mqtt\.default_user"):
        wanting("4.0.5", "27.3.4", gone)
    assert not wanting("3.13.7", "26.2.5", gone).warnings


# Settings


def written(cluster) -> str:
    return next(
        step.text
        for step in configure.configure(cluster.hosts["mq1"], cluster, Facts())
        if step.title == "file /etc/rabbitmq/rabbitmq.conf"
    )


@pytest.mark.parametrize(
    ("rabbitmq", "erlang", "partitions", "transient"),
    [
        ("3.12.10", "26.1.2", True, False),
        ("3.13.7", "26.2.5", True, False),
        ("4.0.5", "27.3.4", True, True),
        ("4.2.1", "27.3.4", True, True),
        ("4.3.6", "27.3.4", False, True),
    ],
)
def test_settings_are_those_that_a_version_heeds(wanting, rabbitmq, erlang, partitions, transient):
    text = written(wanting(rabbitmq, erlang))
    assert ("cluster_partition_handling = pause_minority" in text) == partitions
    assert ("deprecated_features.permit.transient_nonexcl_queues = true" in text) == transient


# What a node says


@pytest.fixture
def says(cluster, monkeypatch, tmp_path):
    """says(files={...}, active=True, api="") -> what the servers' answers are read as."""
    monkeypatch.setattr(asking, "DATA", str(tmp_path / "mnesia"))

    def answered(files: dict[str, str], active: bool = True, api: str = "", ctl: str = "") -> Node:
        programs = {
            "systemctl": f"[[ $* == *-q* ]] || echo {'active' if active else 'inactive'}\n"
            f"exit {0 if active else 3}",
            "runuser": 'shift 3; exec "$@"',
            "curl": f"echo '{api}'; exit {0 if api else 22}",
            "rabbitmqctl": f"echo '{ctl}'",
        }
        for name, text in programs.items():
            program = tmp_path / "bin" / name
            program.parent.mkdir(exist_ok=True)
            program.write_text(f"#!/bin/bash\n{text}\n")
            program.chmod(0o755)
        for name, text in files.items():
            file = tmp_path / "mnesia" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        command = asking.NODE.command(cluster, cluster.hosts["mq1"])
        path = f"{tmp_path}/bin:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-c", command], capture_output=True, text=True, env={"PATH": path}
        )
        assert done.returncode == 0, done.stderr
        return parse(done.stdout)

    return answered


MEMORY = "rabbit@mq1/cluster_nodes.config"
FLAGS = "rabbit@mq1-feature_flags"
BOTH = frozenset({"rabbit@mq1", "rabbit@mq2"})


@pytest.mark.parametrize("active", [True, False])
def test_with_mnesia_the_disk_names_the_cluster(says, active):
    files = {MEMORY: "{[rabbit@mq1,rabbit@mq2],[]}.", FLAGS: "[quorum_queue]."}
    assert says(files, active, api='[{"name":"rabbit@mq9"}]') == Node(active, BOTH, True)


def test_with_khepri_the_running_node_does_and_not_what_mnesia_left(says):
    files = {MEMORY: "{[rabbit@mq1],[rabbit@mq1]}.", FLAGS: "[khepri_db,quorum_queue]."}
    api = '[{"name":"rabbit@mq1"},{"name":"rabbit@mq2"}]'
    assert says(files, api=api) == Node(True, BOTH, True)
    assert says(files, ctl='{"disk_nodes":["rabbit@mq1","rabbit@mq2"]}') == Node(True, BOTH, True)
    assert says(files, active=False, api=api) == Node(False, frozenset(), True)


def test_a_node_that_never_started_has_nothing_to_say(says):
    assert says({}, active=False) == Node(False, frozenset(), False)


# Forming


def test_with_khepri_a_blank_node_waits_until_another_runs(cluster):
    stopped = Node(False, frozenset(), True)
    known = {"mq1": stopped, "mq2": stopped, "mq3": Node(False, frozenset())}
    with pytest.raises(RunbookError, match=r"First start them: fab -H mq1,mq2 rabbitmq\.cluster"):
        list(forming.cluster(cluster.hosts["mq3"], cluster, facts(known)))
    *_, last = forming.cluster(cluster.hosts["mq1"], cluster, facts(known))
    assert last.title == "all nodes run, and are one cluster"
    assert "rabbit@mq2" in last.test
    assert "rabbit@mq3" not in last.test


def test_celerys_classic_queues_for_delayed_tasks_make_room(cluster):
    delayed = {**classic("celery_delayed_27"), "policy": None}
    known = facts(**{name: state(name, queues=[delayed]) for name in MQ})
    [step] = users.queues(cluster.hosts["mq1"], cluster, known)
    assert "delete_queue -p airflow --if-empty" in step.apply
    assert not list(users.queues(cluster.hosts["mq2"], cluster, known))
    delayed["state"] = "down"
    assert not list(users.queues(cluster.hosts["mq1"], cluster, known))


# Lost nodes


def recovered(cluster, known):
    return list(recover.recover([], cluster, facts(known), host="mq1", i_know=True))


def test_with_khepri_a_node_that_runs_in_the_minority_still_has_to_start_alone(cluster):
    known = {"mq1": Node(True, frozenset(f"rabbit@{name}" for name in MQ), True)}
    parts = recovered(cluster, known)
    alone = next(part for part in parts if not isinstance(part, Question)).steps[-1]
    assert alone.title == "mq1 runs without the others"
    assert "khepri_db" in alone.test
    assert "rabbit@mq2" in alone.test


@pytest.mark.parametrize(
    ("counted", "flags", "is_alone"),
    [
        (MQ, "[khepri_db]", False),
        (("mq1", "mq3"), "[khepri_db]", False),
        (("mq1",), "[khepri_db]", True),
        (MQ, "[quorum_queue]", True),
    ],
)
def test_a_node_with_khepri_is_alone_when_it_counts_itself_only(
    cluster, monkeypatch, tmp_path, counted, flags, is_alone
):
    monkeypatch.setattr(asking, "DATA", str(tmp_path))
    (tmp_path / FLAGS).write_text(flags)
    nodes = ",".join(f'"rabbit@{name}"' for name in counted)
    commands = f"rabbitmq-diagnostics() {{ :; }}; rabbitmqctl() {{ echo '[{nodes}]'; }}"
    alone = recover.alone(cluster.hosts["mq1"], ["rabbit@mq2", "rabbit@mq3"])
    done = subprocess.run(["bash", "-c", f"{commands}\n{alone.test}"], check=False)
    assert (done.returncode == 0) == is_alone


def test_a_recovery_that_was_interrupted_goes_on(cluster):
    titles = [title for title, _ in stages(recovered(cluster, {"mq1": ALONE}))]
    assert titles[-1] == "mq1 and its queues go on without the lost nodes"


def test_it_is_refused_once_a_new_node_has_joined(cluster):
    pair = frozenset({"rabbit@mq1", "rabbit@mq2"})
    known = {name: Node(True, pair, True) for name in ("mq1", "mq2")}
    with pytest.raises(RunbookError, match="which is a majority of 2"):
        recovered(cluster, known)


# Another version


def upgraded(cluster, **about):
    states = {name: state(name, **about) for name in MQ}
    return list(upgrade.upgrade(common.members(cluster), cluster, facts(nodes(), **states)))


@pytest.mark.parametrize(
    ("old", "new", "way"),
    [
        ("3.10", "4.0", ["3.11", "3.12", "3.13", "4.0"]),
        ("3.12", "4.3", ["3.13", "4.2", "4.3"]),
        ("4.0", "3.13", []),
    ],
)
def test_the_way_to_a_series(old, new, way):
    assert upgrade.way(old, new) == way


def test_a_skipped_series_is_refused_with_the_way(wanting):
    with pytest.raises(RunbookError, match=r"feature flags.*The way is 3\.11, 3\.12, 3\.13, 4\.0"):
        upgraded(wanting("4.0.5", "27.3.4"), rabbitmq="3.10.8", erlang="25.2.3")


def with_khepri(**about):
    states = {name: state(name, **about) for name in MQ}
    for one in states.values():
        one.flags.append(KHEPRI)
    return states


def test_khepri_of_3_13_has_no_way_to_4(wanting):
    cluster = wanting("4.0.5", "27.3.4")
    states = with_khepri(rabbitmq="3.13.7", erlang="26.2.5")
    with pytest.raises(RunbookError, match="khepri_db is enabled"):
        list(upgrade.upgrade(common.members(cluster), cluster, facts(nodes(), **states)))


@pytest.mark.parametrize(("target", "moves"), [("4.1.8", False), ("4.2.1", True)])
def test_the_question_says_when_metadata_moves_to_khepri(wanting, target, moves):
    cluster = wanting(target, "27.3.4")
    question, *_ = upgraded(cluster, rabbitmq="4.0.5", erlang="27.3.4")
    assert ("metadata moves from Mnesia to Khepri" in question.text) == moves
    states = with_khepri(rabbitmq="4.0.5", erlang="27.3.4")
    known = facts(nodes(), **states)
    question, *_ = upgrade.upgrade(common.members(cluster), cluster, known)
    assert "moves" not in question.text
