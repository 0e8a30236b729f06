"""What `fab rabbitmq.check` says of queues, versions, limits and exports, and when it is silent."""

from __future__ import annotations

import pytest
from support.rabbitmq_facts import ALL, MIRRORED, MQ, classic, facts, queue, replaced, state

from fabfile import CONTENTS
from fabfile.rabbitmq import check, definitions, nodes, status, version_check
from fabfile.rabbitmq.definitions import Export
from runbook.declare.probes import OK


@pytest.fixture
def older(hosts_yaml):
    """A cluster for Airflow 2.7.3, whose queues are mirrored."""
    return CONTENTS.load(hosts_yaml("airflow: 2.9.0", "airflow: 2.7.3"))


def found(cluster, known=None, installed=None, exports=None, **everywhere):
    """The findings by title, if all nodes say the same of `everywhere`."""
    states = {name: state(name, **everywhere) for name in MQ}
    extra = {"installed": installed} if installed else {}
    answers = facts(known, exports=exports, **extra, **states)
    return {one.title: one for one in check.check_cluster(cluster, answers)}


def said(finding) -> tuple[str, str]:
    return str(finding.level), finding.verdict.sentence


# Mirrored queues


@pytest.mark.parametrize(
    ("queues", "level", "words"),
    [
        ([classic(state="down", node="rabbit@mq3")], "error", "1 (default) down, because"),
        ([classic(state="down", policy=None)], "error", "their node is: mq1"),
        ([classic(synchronised=())], "warn", "1 (default) without a synchronised mirror"),
        ([classic(mirrors=(), synchronised=())], "warn", "without a synchronised mirror"),
        ([classic(mirrors=("mq2", "mq3"))], "warn", "without a synchronised mirror"),
        ([classic(str(n), synchronised=()) for n in range(5)], "warn", "5 (0, 1, 2 and more)"),
    ],
)
def test_mirrored_queues_that_are_down_or_lack_a_copy_are_named(older, queues, level, words):
    finding = found(older, queues=queues, policies=[MIRRORED])["classic queues are whole"]
    assert said(finding)[0] == level
    assert words in said(finding)[1]
    assert finding.fix


def test_without_a_synchronised_mirror_there_is_no_redundancy(older):
    result = found(older, queues=[classic(synchronised=())], policies=[MIRRORED])
    assert said(result["redundancy"]) == ("warn", "none until mirrors have all messages")


def test_a_cluster_for_mirrored_queues_without_the_policy_is_told(older):
    assert said(found(older)["classic queues are whole"]) == ("warn", "no policy mirrors them")


def test_a_down_queue_is_told_with_quorum_queues_too(cluster):
    assert "classic queues are whole" not in found(cluster)
    finding = found(cluster, queues=[classic(state="down")])["classic queues are whole"]
    assert finding.level == "error"


# Quorum queues


def test_a_quorum_queue_without_a_majority_is_told_apart_from_one_that_lacks_a_member(cluster):
    stopped = found(cluster, queues=[queue(online=MQ[:1])])["quorum queues are whole"]
    assert said(stopped) == ("error", "1 (q) without a majority of members: stopped")
    assert "rabbitmq.recover" in stopped.fix
    assert stopped.cause.code == "MQ_NO_MAJORITY"
    short = found(cluster, queues=[queue(online=MQ[:2])])["quorum queues are whole"]
    assert said(short)[1] == "1 lack a member: q"


def test_a_stopped_queue_has_no_leader_and_the_node_that_lists_it_is_still_heard():
    listed = '[{"name":"q","vhost":"v","type":"quorum","leader":null,"members":["rabbit@mq3"]}]'
    about = '{"rabbitmq_version":"3.12.10","erlang_version":"26.1.2"}'
    heard = nodes.seen("\n".join([about, "[]", listed, "[]", "[]", "[]", "200"]))
    assert [one["leader"] for one in heard.quorum_queues] == [None]
    assert status.marks(None, facts(mq1=heard)).badges == {}


@pytest.mark.parametrize(
    ("names", "drawn"),
    [
        (["q", "celery_delayed_0", "celery_delayed_27"], ["leads q"]),
        (["a", "b", "c"], ["leads 3 queues"]),
        (["celery_delayed_3"], None),
    ],
)
def test_the_drawing_has_room_for_what_a_node_leads(names, drawn):
    known = facts(mq1=state("mq1", queues=[queue(name) for name in names]))
    assert status.marks(None, known).badges == ({"mq1": drawn} if drawn else {})


# Nodes


@pytest.mark.parametrize(
    ("own", "title", "level"),
    [
        ({"fd_used": 80, "fd_total": 100}, "file descriptors of mq1", "warn"),
        ({"fd_used": 99, "fd_total": 100}, "file descriptors of mq1", "error"),
        ({"sockets_used": 85, "sockets_total": 100}, "sockets of mq1", "warn"),
        ({"proc_used": 96, "proc_total": 100}, "Erlang processes of mq1", "error"),
    ],
)
def test_a_limit_that_is_nearly_reached_is_told(cluster, own, title, level):
    assert found(cluster, own=own)[title].level == level


def test_a_node_that_has_lost_its_disk_is_told(cluster):
    finding = found(cluster, known=replaced("mq3"))["RabbitMQ is one cluster"]
    assert said(finding) == (
        "error",
        "mq3 has no data any more, but the others still count it",
    )
    assert finding.fix == "fab rabbitmq"


# Versions


def test_a_node_that_does_not_run_what_is_installed_is_told(cluster):
    newer = {"rabbitmq-server": "3.12.14", "erlang": "26.1.2"}
    finding = found(cluster, installed=newer)["nodes run the installed versions"]
    assert finding.level == "error"
    assert "mq1 runs RabbitMQ 3.12.10, installed is 3.12.14" in finding.verdict.sentence
    assert finding.fix == "fab -H mq1,mq2,mq3 rabbitmq.restart"


def test_versions_that_hosts_yaml_does_not_name_are_a_warning_with_the_upgrade(cluster):
    newer = {"rabbitmq-server": "3.12.14", "erlang": "26.1.2"}
    finding = found(cluster, installed=newer, rabbitmq="3.12.14")[
        "nodes run the installed versions"
    ]
    assert finding.level == "warn"
    assert finding.fix == "fab rabbitmq.upgrade"


def test_what_rpm_answers_is_read():
    text = "rabbitmq-server 3.12.10\nerlang 26.1.2\npackage x is not installed\n"
    assert version_check.parse(text) == {"rabbitmq-server": "3.12.10", "erlang": "26.1.2"}


def test_a_feature_flag_that_is_off_is_told(cluster):
    finding = found(cluster, flags=["stream_queue"])["feature flags are enabled"]
    assert said(finding) == ("warn", "stream_queue is disabled")
    assert finding.fix.endswith("rabbitmqctl enable_feature_flag all")


def test_while_versions_differ_flags_are_not_asked_for(cluster):
    states = {name: state(name, flags=["new"]) for name in MQ}
    states["mq3"] = state("mq3", rabbitmq="3.13.7", flags=["new"])
    titles = [one.title for one in check.check_cluster(cluster, facts(**states))]
    assert "feature flags are enabled" not in titles


# Exports


@pytest.mark.parametrize(
    ("export", "words"),
    [
        (Export(None, "success", True), "mq1 has none; mq2 has none"),
        (Export(90000, "exit-code", True), "the last one failed on mq1, the newest is 1 d old"),
        (Export(90000, "success", False), "mq1 has no schedule, the newest is 1 d old"),
    ],
)
def test_exports_that_are_missing_are_told(cluster, export, words):
    finding = found(cluster, exports=export)["definitions are exported"]
    assert finding.level == "warn"
    assert words in finding.verdict.sentence


def test_what_is_said_of_exports_is_read():
    text = "active\nResult=success\n1700000100\n1700000000\n"
    assert definitions.parse(text) == Export(100, "success", True)
    assert definitions.parse("inactive\nResult=exit-code\n1700000100") == Export(
        None, "exit-code", False
    )


def test_the_status_says_how_old_the_newest_export_is(cluster):
    assert status.line(cluster, facts(), []).endswith(", definitions 2 h old")


# Silence

HARMLESS = {
    "a queue of one connection": classic(exclusive=True, mirrors=(), synchronised=()),
    "a queue that does not outlive its node": classic(durable=False, mirrors=(), synchronised=()),
    "a queue that nobody wants mirrored": classic(policy=None, mirrors=(), synchronised=()),
    "a mirror that has everything": classic(),
}


@pytest.mark.parametrize("what", HARMLESS)
def test_nothing_is_said_of(older, what):
    result = found(older, queues=[HARMLESS[what]], policies=[MIRRORED])
    assert {one.level for one in result.values()} == {OK}


def test_nothing_is_said_of_flags_that_are_experimental(cluster):
    states = {name: state(name) for name in MQ}
    for one in states.values():
        one.flags.append({"name": "khepri_db", "state": "disabled", "stability": "experimental"})
    assert {one.level for one in check.check_cluster(cluster, facts(**states))} == {OK}


def test_nothing_is_said_of_a_whole_cluster_with_queues_in_use(cluster):
    own = {"fd_used": 700, "fd_total": 1000, "proc_used": 400, "proc_total": 1048576}
    leads = [queue(name, leader=leader) for name, leader in zip("abc", MQ)]
    result = found(cluster, queues=leads, own=own, running=ALL)
    assert {one.level for one in result.values()} == {OK}
