"""The chapter on RabbitMQ, as far as it needs no RabbitMQ."""

from __future__ import annotations

import hashlib
import json

import pytest
from support.rabbitmq_facts import ALL, MQ, facts, nodes, queue, stages, state, titles

from fabfile import CONTENTS
from fabfile.rabbitmq import check, common, configure, operate, users
from fabfile.rabbitmq import cluster as forming
from fabfile.rabbitmq.configure import COOKIES
from fabfile.rabbitmq.nodes import NODE, Node, parse, seen
from runbook.declare.facts import Facts
from runbook.declare.probes import Answer
from runbook.declare.work import Question
from runbook.errors import MissingFact, RunbookError, UsageError


@pytest.mark.parametrize(
    ("code", "sentence"), [(0, ""), (1, "nothing does"), (124, "no answer within 3 seconds")]
)
def test_a_port_that_does_not_answer_is_not_one_where_nobody_listens(code, sentence):
    assert check.listens(Answer("", code)).sentence == sentence


@pytest.fixture(autouse=True)
def cookie(monkeypatch):
    """secrets.yaml is this cluster's."""
    monkeypatch.setenv("RUNBOOK_SECRET_RABBITMQ_COOKIE", "COOKIE")


def found(cluster, **states) -> dict[str, tuple[str, str]]:
    return {
        one.title: (one.verdict.level, one.verdict.sentence)
        for one in check.check_cluster(cluster, facts(**states))
    }


def test_what_a_node_remembers_is_read_from_its_disk():
    text = "active\nfiles\n{['rabbit@mq-1',rabbit@mq2],\n ['rabbit@mq-1']}.\n"
    assert parse(text) == Node(True, frozenset({"rabbit@mq-1", "rabbit@mq2"}), True)
    assert not parse("inactive\nnone\n").has_data


def test_a_stopped_node_with_khepri_has_data_although_it_names_no_cluster(cluster):
    khepri = parse("inactive\nfiles\n")
    assert khepri.has_data
    known = facts({**nodes(), "mq3": khepri})
    assert not forming.stranger(cluster.hosts["mq3"], known)
    assert not forming.blank(cluster.hosts["mq3"], known)


def test_the_api_s_answers_are_read():
    overview = {"rabbitmq_version": "3.12.10", "erlang_version": "26.1.2"}
    lines = [overview, [{"name": "rabbit@mq1", "running": True}], [queue()], [{"name": "admin"}]]
    lines += [[{"name": "a_flag", "state": "enabled"}], []]
    text = "\n".join(json.dumps(line) for line in lines)
    assert seen(f"{text}\n200").critical is False
    assert seen(f"{text}\n503").critical is True
    assert seen(f"{text}\n200").running == {"rabbit@mq1"}


# Forming a cluster


def test_no_new_cluster_as_long_as_a_server_cannot_be_asked(cluster):
    known = facts(nodes(blank=MQ, silent=["mq3"]))
    with pytest.raises(MissingFact, match="mq3"):
        list(forming.cluster(cluster.hosts["mq1"], cluster, known))


def test_a_new_node_waits_for_one_that_answers(cluster):
    known = facts(nodes(blank=["mq3"]))
    assert titles(forming.cluster(cluster.hosts["mq3"], cluster, known))[0] == (
        "a node of the cluster answers"
    )
    assert "a node of the cluster answers" not in titles(
        forming.cluster(cluster.hosts["mq1"], cluster, known)
    )


def test_a_node_that_stood_alone_is_refused_with_the_way_out(cluster):
    known = facts(nodes(alone=["mq3"]))
    with pytest.raises(RunbookError, match=r"fab rabbitmq\.join mq3 --i-know"):
        list(forming.cluster(cluster.hosts["mq3"], cluster, known))
    *_, last = forming.cluster(cluster.hosts["mq1"], cluster, known)
    assert "rabbit@mq2" in last.test
    assert "rabbit@mq3" not in last.test


def forgotten(*running: str) -> dict[str, Node]:
    """The others have forgotten mq3, which remembers all three."""
    two = ALL - {"rabbit@mq3"}
    return {name: Node(name in running, ALL if name == "mq3" else two) for name in MQ}


@pytest.mark.parametrize("running", [(), ("mq1", "mq2"), MQ])
def test_a_node_that_the_others_forgot_is_refused(cluster, running):
    known = facts(forgotten(*running))
    with pytest.raises(RunbookError, match=r"with rabbit@mq1, rabbit@mq2.*fab rabbitmq\.join mq3"):
        list(forming.cluster(cluster.hosts["mq3"], cluster, known))
    assert titles(forming.cluster(cluster.hosts["mq1"], cluster, known))


def test_of_two_memories_that_of_the_running_node_counts(cluster):
    known = facts({name: one for name, one in forgotten("mq1").items() if name != "mq2"})
    with pytest.raises(RunbookError, match="mq3 has been started before"):
        list(forming.cluster(cluster.hosts["mq3"], cluster, known))


def test_blank_nodes_join_one_that_stands_alone(cluster):
    known = facts(nodes(blank=["mq2", "mq3"], alone=["mq1"]))
    for name in MQ:
        assert titles(forming.cluster(cluster.hosts[name], cluster, known))


def test_two_that_stand_alone_are_not_guessed_about(cluster):
    known = facts(nodes(blank=["mq3"], alone=["mq1", "mq2"]))
    refused = []
    for name in MQ[:2]:
        try:
            list(forming.cluster(cluster.hosts[name], cluster, known))
        except RunbookError:
            refused.append(name)
    assert len(refused) >= 1


def test_the_cookie_of_a_running_cluster_is_not_replaced_file_by_file(cluster, monkeypatch):
    monkeypatch.setenv("RUNBOOK_SECRET_RABBITMQ_COOKIE", "WANTED")
    wanted = hashlib.sha256(b"WANTED").hexdigest()
    host = cluster.hosts["mq1"]

    def with_cookies(known, **cookies) -> Facts:
        return Facts({NODE: known, COOKIES: cookies})

    other = with_cookies(nodes(), mq1="x", mq2="x", mq3="x")
    with pytest.raises(RunbookError, match="is not the one in secrets"):
        list(configure.configure(host, cluster, other))
    one_differs = with_cookies(nodes(), mq1="x", mq2=wanted, mq3=wanted)
    assert list(configure.configure(host, cluster, one_differs))
    assert list(configure.configure(host, cluster, with_cookies(nodes(blank=MQ))))


def test_the_cookie_is_in_no_shown_command(cluster, monkeypatch):
    monkeypatch.setenv("RUNBOOK_SECRET_RABBITMQ_COOKIE", "WANTED")
    known = Facts({NODE: nodes(blank=MQ), COOKIES: {}})
    for step in configure.configure(cluster.hosts["mq1"], cluster, known):
        assert "WANTED" not in step.shown


def test_quorum_queues_for_airflow_2_9_and_mirrors_for_2_7(cluster, hosts_yaml):
    first = cluster.hosts["mq1"]
    assert "vhost airflow with quorum queues by default" in titles(
        users.users(first, cluster, facts())
    )
    assert titles(users.policies(first, cluster, facts())) == ["no queue is mirrored"]
    older = CONTENTS.load(hosts_yaml("airflow: 2.9.0", "airflow: 2.7.3"))
    assert "vhost airflow with classic queues by default" in titles(
        users.users(first, older, facts())
    )
    assert titles(users.policies(first, older, facts())) == ["queues are mirrored to a second node"]


def test_users_are_made_on_one_node_only(cluster):
    made = [name for name in MQ if titles(users.users(cluster.hosts[name], cluster, facts()))]
    assert made == ["mq1"]
    without = facts(nodes(down=["mq1"]))
    made = [name for name in MQ if titles(users.users(cluster.hosts[name], cluster, without))]
    assert made == ["mq2"]


def test_without_the_clusters_cookie_no_user_gets_a_new_password(hosts_yaml, monkeypatch):
    monkeypatch.delenv("RUNBOOK_SECRET_RABBITMQ_COOKIE")
    cluster = CONTENTS.load(hosts_yaml())
    with pytest.raises(RunbookError, match="Copy the cluster's file here"):
        list(users.users(cluster.hosts["mq1"], cluster, facts()))
    assert not cluster.vault.file.exists()


def test_users_of_a_cluster_that_does_not_run_yet_are_unknown(hosts_yaml, monkeypatch):
    monkeypatch.delenv("RUNBOOK_SECRET_RABBITMQ_COOKIE")
    cluster = CONTENTS.load(hosts_yaml())
    with pytest.raises(MissingFact, match="no RabbitMQ node runs"):
        list(users.users(cluster.hosts["mq1"], cluster, facts(nodes(blank=MQ))))


def test_no_password_is_an_argument(cluster, monkeypatch):
    monkeypatch.setenv("RUNBOOK_SECRET_RABBITMQ_AIRFLOW", 'it\'s; 50% "odd" @here')
    for step in users.users(cluster.hosts["mq1"], cluster, facts()):
        commands = [line for line in step.apply.splitlines() if line.startswith("rabbitmqctl")]
        assert not any("odd" in line for line in commands)


def test_a_new_node_gets_a_replica_of_every_quorum_queue(cluster):
    states = {name: state(name, queues=[queue(members=MQ[:2])]) for name in MQ}
    known = facts(**states)
    assert titles(users.queues(cluster.hosts["mq3"], cluster, known)) == [
        "every quorum queue has a replica on mq3"
    ]
    assert titles(users.queues(cluster.hosts["mq1"], cluster, known)) == []


def test_a_node_whose_own_api_does_not_answer_yet_gets_replicas_too(cluster):
    known = facts(**{name: state(name, queues=[queue(members=MQ[:2])]) for name in MQ[:2]})
    assert titles(users.queues(cluster.hosts["mq3"], cluster, known)) == [
        "every quorum queue has a replica on mq3"
    ]


# The check


def test_a_healthy_cluster_may_lose_any_one_node(cluster):
    result = found(cluster)
    assert {level for level, _ in result.values()} == {"ok"}
    assert result["redundancy"] == ("ok", "survives the loss of any one node")


@pytest.mark.parametrize(
    ("states", "title", "level", "words"),
    [
        ({"mq3": None}, "RabbitMQ is one cluster", "error", "mq3: its management"),
        (
            {"mq3": state("mq3", running={"rabbit@mq3"})},
            "RabbitMQ is one cluster",
            "error",
            "mq3 sees rabbit@mq3",
        ),
        (
            {"mq2": state("mq2", own={"partitions": ["rabbit@mq1"]})},
            "mq2 is not cut off",
            "error",
            "partitioned from mq1",
        ),
        (
            {"mq2": state("mq2", own={"disk_free_alarm": True})},
            "no alarm on mq2",
            "error",
            "all publishers are blocked",
        ),
        ({"mq2": state("mq2", own={"mem_alarm": True})}, "no alarm on mq2", "error", "memory"),
        ({"mq2": state("mq2", erlang="26.2")}, "versions are equal", "error", "mq2 has 3.12.10"),
        (
            {"mq1": state("mq1", queues=[queue(online=MQ[:2])])},
            "quorum queues are whole",
            "error",
            "1 lack a member: q",
        ),
        (
            {"mq1": state("mq1", queues=[queue(str(n)) for n in range(4)])},
            "quorum queues are whole",
            "warn",
            "mq1 leads all 4",
        ),
        ({"mq2": state("mq2", critical=True)}, "redundancy", "warn", "none"),
    ],
)
def test_what_is_wrong_is_named(cluster, states, title, level, words):
    everybody = {name: states.get(name, state(name)) for name in MQ}
    result = found(cluster, **{name: one for name, one in everybody.items() if one})
    assert result[title][0] == level
    assert words in result[title][1]


def test_a_node_that_the_others_forgot_is_named_with_the_way_out(cluster):
    two = {name: state(name, running=ALL - {"rabbit@mq3"}) for name in MQ[:2]}
    first, *_ = check.check_cluster(cluster, facts(forgotten("mq1", "mq2"), **two))
    assert first.verdict.sentence == "mq3 belongs to a different cluster from the others"
    assert first.fix.startswith("fab rabbitmq.join mq3 --i-know, ")


def test_a_node_that_hosts_yaml_does_not_have_is_named(cluster):
    four = ALL | {"rabbit@mq4"}
    result = found(cluster, **{name: state(name, running=four) for name in MQ})
    assert result["RabbitMQ is one cluster"] == ("error", "mq4 is a node, but not in hosts.yaml")


def test_an_erlang_that_does_not_fit_is_named(cluster):
    result = found(cluster, **{name: state(name, erlang="27.0") for name in MQ})
    assert result["versions are equal"] == (
        "error",
        "RabbitMQ 3.12.10 needs Erlang 25.0 to 26.2, but has 27.0",
    )


def test_with_one_node_down_nothing_more_may_be_lost(cluster):
    two = ALL - {"rabbit@mq3"}
    result = found(cluster, mq1=state("mq1", running=two), mq2=state("mq2", running=two))
    assert result["redundancy"] == ("warn", "none until mq3 is back")


# Day two


def test_a_rolling_restart_goes_node_by_node(cluster):
    hosts = common.members(cluster)
    assert [title for title, _ in stages(operate.restart(hosts, cluster, facts()))] == [
        "restart mq1",
        "restart mq2",
        "restart mq3",
        "spread the leaders",
    ]
    with pytest.raises(RunbookError, match="mq2 does not run"):
        list(operate.restart(hosts, cluster, facts(nodes(down=["mq2"]))))


def test_shrinking_keeps_the_majority(cluster):
    done = stages(operate.shrink([], cluster, facts(), host="mq3"))
    assert [title for title, _ in done] == [
        "no queue has a replica on mq3",
        "stop RabbitMQ on mq3",
        "forget mq3",
    ]
    with pytest.raises(UsageError, match="mq9 is not a node"):
        list(operate.shrink([], cluster, facts(), host="mq9"))
    alone = facts(nodes(down=["mq2"]))
    with pytest.raises(RunbookError, match="not a majority"):
        list(operate.shrink([], cluster, alone, host="mq3"))


def test_a_node_that_hosts_yaml_does_not_have_is_stopped_from_another(cluster):
    known = facts(nodes((*MQ, "mq4")))
    question, *rest = operate.shrink([], cluster, known, host="mq4")
    assert "disable its service there" in question.text
    assert ("stop RabbitMQ on mq4", ("mq1",)) in stages(rest)


def test_a_node_that_runs_alone_joins_with_the_help_of_another(cluster):
    known = facts(nodes(alone=["mq1"]))
    first, *_ = stages(operate.join([], cluster, known, host="mq1", i_know=True))
    assert first == ("no queue has a replica on mq1", ("mq2",))


def test_joining_says_what_is_lost(cluster):
    states = {name: state(name) for name in MQ}
    states["mq3"] = state("mq3", running={"rabbit@mq3"}, queues=[queue()])
    known = facts(nodes(alone=["mq3"]), **states)
    with pytest.raises(UsageError, match="Queues there: 1, messages: 2"):
        list(operate.join([], cluster, known, host="mq3"))
    first, *rest = operate.join([], cluster, known, host="mq3", i_know=True)
    assert isinstance(first, Question)
    assert [title for title, _ in stages(rest)] == [
        "no queue has a replica on mq3",
        "stop RabbitMQ on mq3",
        "every queue has a replica on mq3",
    ]
    with pytest.raises(UsageError, match="belongs to the cluster"):
        list(operate.join([], cluster, facts(), host="mq3", i_know=True))


# Settings


def test_settings_of_hosts_yaml_are_written_as_rabbitmq_reads_them(hosts_yaml):
    given = "settings: {log.console: true, log.file: false, log.console.level: info, backlog: 128}"
    file = hosts_yaml("settings: {}                   # rabbitmq.conf", f"{given}  #")
    cluster = CONTENTS.load(file)
    written = next(
        step.text
        for step in configure.configure(cluster.hosts["mq1"], cluster, Facts())
        if step.title == "file /etc/rabbitmq/rabbitmq.conf"
    )
    assert written.splitlines()[-4:] == [
        "log.console = true",
        "log.file = false",
        "log.console.level = info",
        "backlog = 128",
    ]


@pytest.mark.parametrize(
    ("rabbitmq", "erlang", "warnings"),
    [
        ("3.12.10", "26.2.5", []),
        ("3.12.10", "26.3.1", ["RabbitMQ 3.12.10 is supported on 25.0 to 26.2 only."]),
        ("3.11.28", "25.3.2", []),
        ("9.9.9", "26.1.2", ["not one of the series 3.10, 3.11, 3.12, 3.13"]),
    ],
)
def test_a_later_erlang_of_a_known_release_is_a_warning_at_most(
    hosts_yaml, rabbitmq, erlang, warnings
):
    file = hosts_yaml("rabbitmq: 3.12.10", f"rabbitmq: {rabbitmq}")
    file.write_text(file.read_text().replace("erlang: 26.1.2", f"erlang: {erlang}"))
    found = CONTENTS.load(file).warnings
    assert len(found) == len(warnings)
    assert all(text in warning for text, warning in zip(warnings, found))


def test_a_running_erlang_that_is_later_is_a_warning(cluster):
    result = found(cluster, **{name: state(name, erlang="26.3") for name in MQ})
    assert result["versions are equal"][0] == "warn"
