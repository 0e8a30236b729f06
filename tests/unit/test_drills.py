"""Drills: which there are, whom they strike, what their load leaves, and who may carry them out."""

from __future__ import annotations

import ast
import json
import subprocess
from dataclasses import replace
from types import SimpleNamespace

import pytest
from conftest import PROJECT
from support.all_steps import answered
from support.rabbitmq_facts import MQ, state

from fabfile import CONTENTS
from fabfile.airflow import drill_loads, drill_tasks
from fabfile.airflow.common import SQL
from fabfile.operator.drill import site
from fabfile.operator.drill.ground import Ground
from fabfile.operator.drill.known import chosen, exposed, known, loads, out
from fabfile.operator.drill.listing import listed, mark, plan
from fabfile.operator.drill.loads import place
from fabfile.postgres.repository import BACKUPS, Repository
from fabfile.rabbitmq.nodes import STATE
from fabfile.shared.airflow import AS_USER
from fabfile.shared.loads import CLIENTS, DRILL_QUEUE, TASKS
from runbook.declare.drills import Deed, Mark, Operation, Outage, soft
from runbook.declare.facts import Facts
from runbook.errors import MissingFact, UsageError


@pytest.fixture(scope="module")
def drills(cluster):
    return {drill.name: drill for drill in known(CONTENTS, cluster)}


@pytest.fixture(scope="module")
def facts(cluster) -> Facts:
    return answered(cluster)[1]


def struck(drill, cluster, facts) -> list[str]:
    return [host.name for host in drill.target.hosts(cluster, facts)]


# Which there are


def test_a_drill_is_a_sentence_with_a_name(drills):
    for name, drill in drills.items():
        assert drill.sentence.endswith(".")
        assert name == name.lower()
        assert " " not in name


def test_each_server_fails_in_turn_and_then_all_of_them(drills, cluster):
    assert {f"host-{name}" for name in cluster.hosts} < drills.keys()
    assert {f"reboot-{name}" for name in cluster.hosts} < drills.keys()
    assert list(drills)[-1] == "all-power-loss"
    assert drills["all-power-loss"].target.hosts(cluster, Facts()) == [*cluster.hosts.values()]


def test_what_measures_a_drill_is_a_load(drills, cluster):
    names = {load.name for load in loads(CONTENTS, cluster)}
    assert names == {*CLIENTS, TASKS}
    for name, drill in drills.items():
        assert name == "all-power-loss" or {*drill.measure} <= names


def test_what_is_repaired_or_handed_over_is_a_task(drills):
    tasks = [task for drill in drills.values() for task in drill.repair]
    tasks += [one.fault.task for one in drills.values() if isinstance(one.fault, Operation)]
    assert set(tasks) == {"postgres.switchover", "rabbitmq.cluster"}
    assert all(CONTENTS.find(task) for task in tasks)


def test_real_servers_lose_no_power_and_no_process(drills):
    allowed = [one for one in drills.values() if soft(one.fault)]
    assert not any(isinstance(one.fault, Outage) for one in allowed)
    killing = [
        one.name
        for one in drills.values()
        if isinstance(one.fault, Deed)
        for step in one.fault.strike(None, CONTENTS.load(PROJECT / "hosts.yaml"))
        if "KILL" in step.apply
    ]
    assert set(killing) == {"postmaster-kill", "haproxy-kill", "worker-kill"}
    assert not {*killing} & {one.name for one in allowed}


def test_every_mark_that_was_asked_for_is_there(drills):
    seconds = {name: drill.mark.seconds for name, drill in drills.items() if drill.mark.seconds}
    assert seconds == {
        **dict.fromkeys(
            (
                *("leader-power-loss", "leader-freeze", "leader-partition", "postmaster-kill"),
                "leader-and-backups",
            ),
            15,
        ),
        **dict.fromkeys(
            ("queue-leader-power-loss", "queue-leader-partition", "queue-node-stop"), 7
        ),
        **dict.fromkeys(("share-power-loss", "share-stop", "share-return"), 4),
        **dict.fromkeys(("vip-holder-power-loss", "haproxy-kill", "haproxy-stop"), 3),
        "worker-kill": 120,
        "all-power-loss": 60,
    }
    assert drills["vm1-power-loss"].mark.retried == 0
    assert all(drill.mark.lost == 0 for drill in drills.values())


def test_where_nothing_can_take_over_there_is_no_drill_of_it():
    small = CONTENTS.load(PROJECT / "examples/small.yaml")
    names = {drill.name for drill in known(CONTENTS, small)}
    assert "leader-power-loss" not in names
    assert "all-power-loss" in names


def test_an_unknown_name_is_told_with_the_nearest(drills):
    with pytest.raises(UsageError, match="did you mean leader-freeze"):
        chosen(["leader-freze"], list(drills.values()))
    assert [one.name for one in chosen(["haproxy-kill"] * 2, list(drills.values()))] == [
        "haproxy-kill"
    ]


# Whom they strike


@pytest.mark.parametrize(
    ("name", "hosts"),
    [
        ("leader-power-loss", ["sql1"]),
        ("leader-and-backups", ["sql1", "nfs2"]),
        ("etcd-quorum-loss", ["sql2", "sql3"]),
        ("queue-leader-power-loss", ["mq1"]),
        ("share-return", ["ftp"]),
        ("vip-holder-power-loss", ["airflow"]),
        ("scheduler-stop-scheduler2", ["scheduler2"]),
        ("worker-kill", ["worker1"]),
        ("vm1-power-loss", ["airflow"]),
        ("host-card1", ["card1"]),
    ],
)
def test_a_drill_strikes_who_leads_now(drills, cluster, facts, name, hosts):
    assert struck(drills[name], cluster, facts) == hosts


def test_the_queue_of_the_drill_decides_whose_node_leads(drills, cluster):
    queues = [
        {"name": "default", "type": "quorum", "leader": "rabbit@mq1"},
        {"name": DRILL_QUEUE, "type": "quorum", "leader": "rabbit@mq3"},
    ]
    facts = Facts({STATE: {name: state(name, queues=queues) for name in MQ}})
    assert struck(drills["queue-leader-power-loss"], cluster, facts) == ["mq3"]


@pytest.mark.parametrize(
    "name", ["leader-freeze", "queue-leader-partition", "share-stop", "haproxy-stop"]
)
def test_if_nobody_leads_it_is_not_known_whom_to_strike(drills, cluster, name):
    with pytest.raises(MissingFact):
        struck(drills[name], cluster, Facts())


def test_a_hard_fault_needs_a_backup(cluster, facts):
    [precondition] = [one.drill_precondition for one in CONTENTS.sections if one.drill_precondition]
    assert list(precondition.reasons(cluster, facts)) == []
    assert precondition.needs == (BACKUPS,)
    for known_backups in ({}, {"nfs2": Repository(9000, [])}):
        [why] = precondition.reasons(cluster, Facts({BACKUPS: known_backups}))
        assert "fab postgres.backup" in why


# What has no second server


def test_what_has_no_second_server_is_said(cluster, drills):
    def alone(*names: str) -> list[str]:
        power_loss = drills["all-power-loss"]
        return exposed(power_loss, [cluster.hosts[name] for name in names], cluster)

    assert alone("worker1") == ["worker1 is the only worker: no task runs"]
    assert alone("card1") == ["card1 is the only target: tasks that reach it by SSH fail"]
    assert alone("sql1") == alone("mq2") == alone("ftp") == alone("scheduler2") == []
    assert alone("sql1", "sql2") == [
        "sql1 and sql2 are too many database servers: nothing can be written"
    ]


@pytest.mark.parametrize(
    ("name", "host", "waits"),
    [
        ("host-worker1", "worker1", [TASKS]),
        ("worker-kill", "worker1", []),
        ("host-airflow", "airflow", []),
        ("scheduler-stop-airflow", "airflow", []),
    ],
)
def test_a_load_that_cannot_work_is_not_waited_for(cluster, drills, name, host, waits):
    """systemd starts a worker that was killed; it starts none on a server without power."""
    struck = [cluster.hosts[host]]
    found = [
        one.name for one in loads(CONTENTS, cluster) if out(one, drills[name], struck, cluster)
    ]
    assert found == waits


def test_a_service_that_stops_takes_no_other_with_it(cluster, drills):
    struck = [cluster.hosts["airflow"]]
    assert exposed(drills["host-airflow"], struck, cluster)
    assert not exposed(drills["webserver-stop"], struck, cluster)
    assert not exposed(drills["haproxy-kill"], struck, cluster)


def test_a_load_runs_where_the_fault_does_not_strike(cluster):
    by_name = {load.name: load for load in loads(CONTENTS, cluster)}
    hosts = cluster.hosts
    assert place(by_name["rows"], [], cluster) == hosts["scheduler2"]
    assert place(by_name["rows"], [hosts["scheduler2"]], cluster) == hosts["haproxy2"]
    assert place(by_name["lines"], [hosts["scheduler2"]], cluster) == hosts["airflow"]
    both = [hosts["scheduler2"], hosts["airflow"]]
    assert place(by_name["lines"], both, cluster) is None
    assert place(by_name["lines"], list(hosts.values()), cluster) == hosts["scheduler2"]


# The load leaves nothing, and has no password in its commands


def test_a_client_ends_by_itself_and_holds_no_secret(cluster):
    keyed, _ = answered(cluster)
    host = keyed.hosts["scheduler2"]
    secrets = keyed.vault.everything().values()
    for load in loads(CONTENTS, keyed):
        steps = [
            step
            for part in (load.prepare, load.start, load.stop, load.clean)
            for step in part(host, keyed)
        ]
        texts = [
            *(step.apply for step in steps),
            load.pulse(host, keyed),
            load.account(host, keyed),
        ]
        assert not [value for value in secrets for one in texts if value in one]
        started = [step.apply for step in load.start(host, keyed) if "systemd-run" in step.apply]
        assert all("RuntimeMaxSec=" in one and "--uid=airflow" in one for one in started)
        assert bool(started) == (load.name != TASKS)
        assert host in [where for hosts, _ in load.sweep for where in hosts(keyed)]


def test_what_a_client_needs_outlives_a_power_loss():
    """Afterwards it is asked what it had acknowledged."""
    for folder in (drill_loads.RUN, drill_loads.STATE):
        assert not folder.startswith(("/run/", "/tmp/", "/var/run/", "/dev/"))


@pytest.mark.parametrize(
    ("answer", "removed"), [("echo 0", True), ("echo 2", False), ("false", False)]
)
def test_without_an_answer_of_the_database_the_dag_is_not_taken_for_removed(
    cluster, answer, removed
):
    *_, step = drill_tasks.cleaned(cluster.hosts["scheduler2"], cluster)
    test = step.test.replace(AS_USER, "").replace(SQL, "ask")
    program = f"ask() {{ {answer}; }}\n{test}"
    assert (subprocess.run(["bash", "-c", program]).returncode == 0) is removed


def test_the_tasks_of_the_dag_are_those_that_are_counted():
    tree = ast.parse((PROJECT / "files/airflow/drill/dag.py").read_text())
    assigned = {
        ast.unparse(node.targets[0]): ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, (ast.Constant, ast.Dict))
    }
    counted = ", ".join(f"('{task}', {seconds})" for task, seconds in assigned["TASKS"].items())
    assert f"(values {counted})" in drill_tasks.EXPECTED
    assert assigned["NAME"] == drill_tasks.DAG


def test_a_plan_says_whom_it_would_strike_and_how(cluster, drills, facts, monkeypatch):
    monkeypatch.setattr(site.Site, "facts", lambda self, needs: facts)
    run = SimpleNamespace(cluster=cluster, contents=CONTENTS)
    said = plan(run, [drills["etcd-member-stop"], drills["host-worker1"]])
    assert "strikes: sql1, by commands" in said
    assert "then: systemctl stop etcd.service" in said
    assert "heal: systemctl enable --now etcd.service" in said
    assert "strikes: worker1, by power-loss" in said
    assert "expected outage: worker1 is the only worker: no task runs" in said
    assert "rows, written to the database ten times a second, from scheduler2" in said
    monkeypatch.setattr(site.Site, "facts", lambda self, needs: Facts())
    assert "unknown: no server leads the database now" in plan(run, [drills["leader-freeze"]])


# The commands, without a lab


def test_the_list_connects_to_nobody(inv, cluster):
    answer = inv("drill.list")
    assert answer.code == 0
    assert "leader-power-loss" in answer.text
    assert "worker1 is the only worker: no task runs" in answer.text
    told = json.loads(inv("drill.list", "--json", "--soft").text)
    assert {one["where"] for one in told} == {"anywhere"}
    assert listed([], cluster) == []


def test_a_mark_in_words(drills):
    assert mark(drills["leader-freeze"]) == "15 s, 0 lost"
    assert mark(drills["all-power-loss"]) == "60 s until the status is OK, 0 lost"
    assert mark(replace(drills["leader-freeze"], mark=Mark(lost=None))) == ""


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["drill.run"], "Which drill? See inv drill.list"),
        (["drill.run", "leader-freeze"], "leader-freeze: only a lab may have such a fault"),
        (["drill.run", "host-sql1", "haproxy-kill"], "host-sql1, haproxy-kill: only a lab"),
        (["drill.run", "leader-switchover"], "stdin is not a terminal. To confirm it there"),
        (["drill.run", "leader-switchover", "--cluster", "other"], "not the cluster's name"),
        (["drill.run", "leader-switchover", "--yes"], "--yes"),
        (["drill.run", "leader-switchover", "--times", "0"], "--times must be from 1 to 100"),
        (["drill.all"], "stdin is not a terminal. To confirm it there: --cluster airflow-ha"),
        (["drill.all", "--cluster", "yes"], "That is not the cluster's name, airflow-ha"),
    ],
)
def test_outside_a_lab_nothing_is_done_without_the_clusters_name(inv, arguments, sentence):
    answer = inv(*arguments)
    assert answer.code == 2
    assert sentence in answer.text


class Person:
    """Somebody at a terminal."""

    def __init__(self, says: str) -> None:
        self.says = says

    def isatty(self) -> bool:
        return True

    def readline(self) -> str:
        return f"{self.says}\n"


def test_the_name_is_asked_for_with_what_will_happen(cluster, drills, monkeypatch, capsys):
    ground = Ground(cluster, None)
    monkeypatch.setattr("sys.stdin", Person("airflow-ha"))
    ground.confirm([drills["leader-switchover"]])
    asked = capsys.readouterr().err
    assert "leader-switchover: Another server is told to lead the database." in asked
    monkeypatch.setattr("sys.stdin", Person("yes"))
    with pytest.raises(UsageError, match="Nothing was done"):
        ground.confirm([drills["leader-switchover"]])
