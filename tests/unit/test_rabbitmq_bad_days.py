"""A lost disk, lost nodes, another version: what the section does about them, without RabbitMQ."""

from __future__ import annotations

import pytest
from support.rabbitmq_facts import (
    ALL,
    MIRRORED,
    MQ,
    classic,
    facts,
    nodes,
    queue,
    replaced,
    stages,
    state,
    titles,
)

from fabfile import CONTENTS
from fabfile.rabbitmq import cluster as forming
from fabfile.rabbitmq import common, operate, recover, upgrade
from fabfile.rabbitmq.nodes import Node
from fabfile.rabbitmq.settings import NEXT_SERIES, erlang_for
from runbook.declare.work import Question
from runbook.errors import RunbookError, UsageError


@pytest.fixture(autouse=True)
def cookie(monkeypatch):
    """secrets.yaml is this cluster's."""
    monkeypatch.setenv("RUNBOOK_SECRET_RABBITMQ_COOKIE", "COOKIE")


# A lost disk


def test_the_others_forget_a_node_that_lost_its_disk_before_it_starts(cluster):
    steps = list(forming.cluster(cluster.hosts["mq3"], cluster, facts(replaced("mq3"))))
    forget, start = steps[1], steps[2]
    assert forget.apply == "rabbitmqctl -n rabbit@mq1 forget_cluster_node rabbit@mq3"
    assert start.title == "rabbitmq-server.service runs and is enabled"
    for name in MQ[:2]:
        others = forming.cluster(cluster.hosts[name], cluster, facts(replaced("mq3")))
        assert not any("forget" in step.apply for step in others)


def test_nobody_is_forgotten_while_the_others_are_no_majority(cluster):
    known = facts(replaced("mq3", down=["mq2"]))
    with pytest.raises(RunbookError, match=r"-H mq1,mq2 rabbitmq\.cluster.*rabbitmq\.recover"):
        list(forming.cluster(cluster.hosts["mq3"], cluster, known))
    *_, last = forming.cluster(cluster.hosts["mq1"], cluster, known)
    assert "rabbit@mq3" not in last.test


def test_a_node_that_cannot_be_asked_is_not_forgotten(cluster):
    known = replaced("mq3")
    del known["mq3"]
    for name in MQ[:2]:
        steps = forming.cluster(cluster.hosts[name], cluster, facts(known))
        assert not any("forget" in step.apply for step in steps)


def test_a_new_node_or_a_new_cluster_forgets_nobody(cluster):
    for known in (nodes(blank=["mq3"]), nodes(blank=MQ)):
        steps = forming.cluster(cluster.hosts["mq3"], cluster, facts(known))
        assert not any("forget" in step.apply for step in steps)


def test_join_says_that_a_lost_disk_has_nothing_to_discard(cluster):
    with pytest.raises(UsageError, match=r"has no data to discard.*fab rabbitmq"):
        list(operate.join([], cluster, facts(replaced("mq3")), host="mq3", i_know=True))


# Lost nodes


def survivor(**others: Node) -> dict[str, Node]:
    """mq1 has its data, and does not run; the others do not answer, if they are not named."""
    return {"mq1": Node(False, ALL, True), **others}


def recovered(cluster, known, i_know=True, host="mq1"):
    return recover.recover([], cluster, facts(known), host=host, i_know=i_know)


def test_a_node_goes_on_alone_and_asks_again_once_its_messages_are_known(cluster):
    parts = list(recovered(cluster, survivor()))
    shown = [part.text if isinstance(part, Question) else part.title for part in parts]
    assert shown[0].startswith("mq1 goes on without rabbit@mq2, rabbit@mq3. Quorum queues go on")
    assert shown[1:3] == ["mq1 starts alone", "what mq1 holds"]
    assert shown[3].startswith("mq1 goes on with these queues and messages.")
    assert shown[4:] == ["mq1 and its queues go on without the lost nodes"]
    [held] = parts[2].steps
    assert held.shows_output


def test_without_i_know_it_says_what_is_lost(cluster, hosts_yaml):
    with pytest.raises(UsageError, match="only the lost nodes have are lost"):
        list(recovered(cluster, survivor(), i_know=False))
    file = hosts_yaml("rabbitmq: 3.12.10", "rabbitmq: 3.11.28")
    file.write_text(file.read_text().replace("erlang: 26.1.2", "erlang: 25.3.2"))
    older = CONTENTS.load(file)
    with pytest.raises(UsageError, match="deleted with their messages"):
        list(recovered(older, survivor(), i_know=False))


@pytest.mark.parametrize("other", [Node(True, ALL, True), Node(False, ALL, True)])
def test_it_is_refused_while_a_majority_has_its_data(cluster, other):
    with pytest.raises(RunbookError, match="mq1, mq2 still have their data, which is a majority"):
        list(recovered(cluster, survivor(mq2=other)))


def test_it_is_refused_on_a_node_without_data(cluster):
    with pytest.raises(RunbookError, match="mq1 has no data"):
        list(recovered(cluster, survivor(mq1=Node(False, frozenset()))))


def test_replaced_servers_are_no_survivors(cluster):
    blank = Node(False, frozenset())
    assert stages(recovered(cluster, survivor(mq2=blank, mq3=blank)))


def test_of_five_nodes_the_other_survivor_is_stopped(hosts_yaml):
    more = "".join(
        f"  mq{n}: {{vm: {n + 17}, address: 192.168.83.16{n}, ram: 2GB, cpu: 1, disk: 10GB, "
        "roles: [rabbitmq]}\n"
        for n in (4, 5)
    )
    five = CONTENTS.load(hosts_yaml("  sql1:  ", f"{more}  sql1:  "))
    counted = frozenset(f"rabbit@mq{n}" for n in range(1, 6))
    known = {name: Node(False, counted, True) for name in ("mq1", "mq2")}
    first, *_ = stages(recovered(five, known))
    assert first == ("mq2 does not start again", ("mq2",))


# Another version


def upgraded(cluster, known=None, installed=None, **states):
    hosts = common.members(cluster)
    extra = {"installed": installed} if installed else {}
    return upgrade.upgrade(hosts, cluster, facts(known, **extra, **states))


def everywhere(**about):
    return {name: state(name, **about) for name in MQ}


@pytest.fixture
def newer(hosts_yaml):
    """hosts.yaml names the next series."""

    def load(rabbitmq: str, erlang: str, old: str = "3.12.10", airflow: str = "2.9.0"):
        file = hosts_yaml(f"rabbitmq: {old}", f"rabbitmq: {rabbitmq}")
        text = file.read_text().replace("erlang: 26.1.2", f"erlang: {erlang}")
        file.write_text(text.replace("airflow: 2.9.0", f"airflow: {airflow}"))
        return CONTENTS.load(file)

    return load


def test_an_upgrade_goes_node_by_node_with_feature_flags_before_and_after(newer):
    done = stages(upgraded(newer("3.13.7", "26.2.5")))
    assert [title for title, _ in done] == [
        "packages are on the servers",
        "feature flags of the present version",
        "upgrade mq1",
        "upgrade mq2",
        "upgrade mq3",
        "feature flags of the new version",
        "queues are whole",
        "spread the leaders",
    ]


def test_one_node_gets_both_packages_after_its_queues_do_without_it(newer):
    cluster = newer("3.13.7", "26.2.5")
    steps = list(upgrade.of_one(cluster.hosts["mq1"], cluster, facts()))
    assert titles(steps) == [
        "no alarm on any node",
        "no queue needs this node",
        "file /etc/rabbitmq/rabbitmq.conf",
        "mq1 runs rabbitmq-server-3.13.7 erlang-26.2.5",
        "installed: python3-dnf-plugin-versionlock",
        "held by dnf: rabbitmq-server-3.13.7 erlang-26.2.5",
        "all nodes run, and are one cluster",
    ]


def test_an_interrupted_upgrade_goes_on_with_the_rest(newer):
    states = everywhere()
    states["mq1"] = state("mq1", rabbitmq="3.13.7", erlang="26.2.5")
    cluster = newer("3.13.7", "26.2.5")
    known = facts(**states)
    known.known(upgrade.INSTALLED)["mq1"].update({"rabbitmq-server": "3.13.7", "erlang": "26.2.5"})
    done = stages(upgrade.upgrade(common.members(cluster), cluster, known))
    assert [title for title, _ in done] == [
        "packages are on the servers",
        "upgrade mq2",
        "upgrade mq3",
        "feature flags of the new version",
        "queues are whole",
        "spread the leaders",
    ]


def test_a_finished_upgrade_asks_nothing_and_changes_nothing(cluster):
    parts = list(upgraded(cluster))
    assert not any(isinstance(part, Question) for part in parts)
    assert {step.title for part in parts for step in part.steps} == {
        "all stable feature flags are enabled"
    }


@pytest.mark.parametrize(
    ("target", "erlang", "words"),
    [
        ("4.0.5", "26.2.5", "from 3.12, the next is 3.13"),
        ("3.11.28", "25.3.2", "3.12.10 runs, and RabbitMQ does not go back"),
    ],
)
def test_a_series_is_not_skipped_and_there_is_no_way_back(newer, target, erlang, words):
    with pytest.raises(RunbookError, match=words):
        list(upgraded(newer(target, erlang)))


def test_a_series_whose_flags_came_late_is_refused_before_them(cluster):
    with pytest.raises(RunbookError, match=r"Set versions.rabbitmq to 3\.11\.18 or later"):
        list(upgraded(cluster, **everywhere(rabbitmq="3.11.10", erlang="25.3")))
    assert stages(upgraded(cluster, **everywhere(rabbitmq="3.11.18", erlang="25.3")))


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ({"own": {"disk_free_alarm": True}}, "has an alarm"),
        ({"own": {"partitions": ["rabbit@mq2"]}}, "is partitioned"),
        ({"queues": [queue(online=MQ[:2])]}, r"Queues lack a member \(q\)"),
        (
            {"queues": [classic(synchronised=())], "policies": [MIRRORED]},
            "no synchronised mirror",
        ),
    ],
)
def test_an_upgrade_is_refused_while_something_is_wrong(newer, about, words):
    with pytest.raises(RunbookError, match=words):
        list(upgraded(newer("3.13.7", "26.2.5"), **everywhere(**about)))


def test_an_upgrade_is_refused_while_a_node_is_down(newer):
    with pytest.raises(RunbookError, match="mq2 does not run"):
        list(upgraded(newer("3.13.7", "26.2.5"), known=nodes(down=["mq2"])))


def test_rabbitmq_4_is_refused_while_queues_are_mirrored(newer):
    states = everywhere(rabbitmq="3.13.7", erlang="26.2.5", queues=[classic()], policies=[MIRRORED])
    with pytest.raises(RunbookError, match=r"\(mirrored\).*default would lose the second copy"):
        list(upgraded(newer("4.0.5", "26.2.5"), **states))


def test_hosts_yaml_cannot_ask_for_rabbitmq_4_with_airflow_2_7_3(newer):
    with pytest.raises(RunbookError, match=r"does not mirror queues, which Airflow 2\.7\.3 needs"):
        newer("4.0.5", "26.2.5", airflow="2.7.3")


def test_every_next_series_has_a_known_erlang():
    following = {new for series in NEXT_SERIES.values() for new in series}
    assert all(erlang_for(f"{series}.0") for series in following)
