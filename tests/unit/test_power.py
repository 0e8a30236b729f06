"""The power cycle and the rolling reboot: what comes after what."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from support.postgres_facts import SQL, member
from support.share_facts import facts as share_facts

from fabfile import CONTENTS
from fabfile.nfs.common import NETWORK
from fabfile.nfs.state import SERVER
from fabfile.operator.reboot import Begun, not_yet, question
from fabfile.postgres.members import MEMBER
from fabfile.postgres.power import LED
from fabfile.postgres.settings import Postgres
from runbook.declare.contents import Contents
from runbook.declare.facts import Fact, Facts
from runbook.declare.probes import (
    CLUSTER_WIDE,
    ERROR,
    UNKNOWN,
    WARN,
    Finding,
    Verdict,
)
from runbook.declare.step import Step
from runbook.declare.work import Stage
from runbook.execute.run import Options
from runbook.inventory.cluster import Cluster
from runbook.operate import phases
from runbook.operate.rolling import OUTDATED, batches, broken, updates
from runbook.results import CHECK, HostResult, Status, StepResult

STARTS, STOPS = CONTENTS.start_phases, CONTENTS.stop_phases


@pytest.fixture
def known() -> Facts:
    """sql1 leads the database, ftp serves the share, airflow's VIP is not asked about."""
    share = share_facts()
    return Facts(
        {
            MEMBER: {name: member(name) for name in SQL},
            NETWORK: share.known(NETWORK),
            SERVER: share.known(SERVER),
        }
    )


def way(chosen, cluster, facts, hosts=None) -> list[tuple[str, tuple[str, ...], list[Step]]]:
    """Title, hosts and steps of each stage."""
    hosts = hosts or list(cluster.hosts.values())
    return [
        (part.title, tuple(host.name for host in part.hosts), part.of(part.hosts[0]))
        for phase in chosen
        for part in phase.stages(hosts, cluster, facts)
        if isinstance(part, Stage)
    ]


def position(stages, words: str) -> int:
    return next(number for number, (title, _, _) in enumerate(stages) if words in title)


def test_what_uses_something_stops_before_it(cluster, known):
    stages = way(STOPS, cluster, known)
    order = [
        position(stages, words)
        for words in (
            "stop: scheduler",
            "stop: Celery worker",
            "leave the share",
            "entry points",
            "stop the replicas",
            "stop the leader",
            "stop etcd",
            "RabbitMQ on mq3",
            "RabbitMQ on mq1",
            "the standby has every change",
            "share on nfs2",
            "share on ftp",
        )
    ]
    assert order == sorted(order)


def test_the_leader_of_the_database_stops_alone_and_last(cluster, known):
    stages = {title: hosts for title, hosts, _ in way(STOPS, cluster, known)}
    assert stages["stop the replicas"] == ("sql2", "sql3")
    assert stages["stop the leader"] == ("sql1",)
    assert stages["stop etcd, all members at the same time"] == ("sql1", "sql2", "sql3")


def test_a_cluster_that_has_stopped_is_stopped_again(cluster):
    stages = way(STOPS, cluster, Facts())
    assert "stop the leader" not in [title for title, _, _ in stages]
    steps = [step for _, _, steps in stages for step in steps]
    assert all(step.test and "carried_out" not in step.test for step in steps)


def test_servers_that_are_left_out_are_in_no_stage(cluster, known):
    hosts = [host for host in cluster.hosts.values() if host.name not in ("sql3", "mq2")]
    for chosen in (STOPS, STARTS):
        named = {name for _, hosts_of, _ in way(chosen, cluster, known, hosts) for name in hosts_of}
        assert named == {host.name for host in hosts} - {"card1"}


def test_it_starts_in_reverse(cluster, known):
    names = [phase.name for phase in STARTS]
    assert names == ["nfs", "rabbitmq", "postgres", "haproxy", "systemd"]
    assert names == [phase.name for phase in reversed(STOPS)]
    stages = way(STARTS, cluster, known)
    assert position(stages, "start: Celery worker") < position(stages, "start: scheduler")


def test_the_server_that_led_the_database_last_goes_first(cluster):
    states = {"sql1": "shut down in recovery", "sql2": "shut down"}
    [database] = [one for one in STARTS if one.name == "postgres"]
    stages = way([database], cluster, Facts({LED: states}))
    assert [hosts for _, hosts, _ in stages] == [
        ("sql1", "sql2", "sql3"),
        ("sql2",),
        ("sql1", "sql3"),
    ]


def test_while_one_leads_nobody_goes_first(cluster, known):
    [database] = [one for one in STARTS if one.name == "postgres"]
    states = {"sql2": "shut down"}
    facts = Facts({MEMBER: known.known(MEMBER), LED: states})
    assert [hosts for _, hosts, _ in way([database], cluster, facts)][1:] == [tuple(SQL)]


def test_the_node_that_stopped_last_starts_first(cluster, known):
    [stop] = [one for one in STOPS if one.name == "rabbitmq"]
    [start] = [one for one in STARTS if one.name == "rabbitmq"]
    assert way([stop], cluster, known)[-1][1] == way([start], cluster, known)[0][1] == ("mq1",)


# Reboot


def test_no_two_of_a_role_are_away_and_leaders_go_last(cluster, known):
    order = batches(CONTENTS, list(cluster.hosts.values()), cluster, known)
    for batch in order:
        roles = [role for host in batch for role in host.roles]
        assert len(roles) == len(set(roles))
    turn = {host.name: number for number, batch in enumerate(order) for host in batch}
    assert len(turn) == len(cluster.hosts)
    assert turn["sql1"] > max(turn["sql2"], turn["sql3"])
    assert turn["ftp"] > turn["nfs2"]


def test_the_backup_server_is_never_away_with_a_server_of_the_database(cluster, known):
    for batch in batches(CONTENTS, list(cluster.hosts.values()), cluster, known):
        names = {host.name for host in batch}
        assert not (cluster[Postgres].backup.host in names and names & set(SQL))


def test_who_leads_hands_over_before_the_reboot(cluster, known):
    hosts = [cluster.hosts[name] for name in ("sql1", "ftp", "worker1")]
    titles = [part.title for part in phases.reboot(CONTENTS).stages(hosts, cluster, known)]
    assert titles[0] == "hand the database over from sql1"
    assert "hand over from ftp to nfs2" in titles
    assert titles[-2:] == ["stop: Celery worker", "reboot"]


def test_before_services_restart_leaders_hand_over_and_queues_wait(cluster, known):
    hosts = [cluster.hosts[name] for name in ("sql1", "ftp", "mq1", "worker1")]
    titles = [part.title for part in phases.before_restarts(CONTENTS).stages(hosts, cluster, known)]
    assert titles[0] == "hand the database over from sql1"
    assert "hand over from ftp to nfs2" in titles
    assert titles[-1] == "no queue needs this node"


def test_a_replica_just_reboots(cluster, known):
    parts = list(phases.reboot(CONTENTS).stages([cluster.hosts["sql2"]], cluster, known))
    assert [part.title for part in parts] == ["reboot"]


def test_it_goes_on_with_those_that_have_not_rebooted(cluster):
    hosts = [cluster.hosts[name] for name in SQL]
    begun = Begun({"sql1": "old", "sql2": "old"})
    left = not_yet(hosts, begun, {"sql1": "new", "sql2": "old", "sql3": "any"})
    assert [host.name for host in left] == ["sql2", "sql3"]


def found(section: str, finding: Finding) -> HostResult:
    result = HostResult(f"{section}.check", CLUSTER_WIDE, CHECK)
    result.add(StepResult(finding.title, "").judged(finding))
    result.settle()
    return result


@pytest.mark.parametrize(
    ("finding", "stops"),
    [
        (Finding("one leader", Verdict(ERROR, "nobody")), True),
        (Finding.of_redundancy(WARN, "none until sql3 is back"), True),
        (Finding.of_redundancy(WARN, "none: sql1 is the only server", by_design=True), False),
        (Finding("the database is backed up", Verdict(WARN, "it is old")), False),
        (Finding("the standby is up to date", Verdict(UNKNOWN)), True),
    ],
)
def test_it_does_not_begin_without_redundancy(finding, stops):
    assert bool(broken([found("postgres", finding)])) == stops


def test_a_change_that_waits_does_not_keep_it_from_beginning():
    result = HostResult("hostnames.check", "mq1", CHECK)
    result.add(StepResult("reboot, as an earlier change asked for", "", Status.DIFFERS))
    assert not broken([result])


def test_what_has_no_second_server_is_asked_about(cluster):
    [worker] = cluster.group("worker")
    assert "without a second server: the worker (worker1)" in question([[worker]], cluster)
    assert "away" not in question([[cluster.hosts["sql2"]]], cluster)


# Updates


@dataclass
class Asked:
    """A plan's run, whose hosts have said these facts."""

    cluster: Cluster
    serves: dict[str, frozenset[str]]
    facts: dict[Fact, Any]
    contents: Contents = CONTENTS
    options: Options = field(default_factory=lambda: Options(plan=True))

    def gather(self, facts, hosts) -> Facts:
        [serves] = [fact for fact in facts if fact.name == "which services run"]
        return Facts({**self.facts, serves: self.serves})


def test_servers_on_which_new_packages_restart_nothing_are_updated_at_once(cluster, known):
    outdated = {name: name != "mq1" for name in cluster.hosts if name != "mq3"}
    serves = dict.fromkeys(("mq1", "mq2", "mq3", "sql1", "sql2"), frozenset({"rabbitmq"}))
    run = Asked(cluster, serves, {**known._values, OUTDATED: outdated})
    first, *others = updates(run, list(cluster.hosts.values()))
    at_work = [{host.name for host in batch} for batch in others]
    assert {host.name for host in first} == set(cluster.hosts) - {"mq2", "mq3", "sql1", "sql2"}
    assert at_work == [{"mq2", "sql2"}, {"mq3", "sql1"}], "one of a kind, who leads goes last"
