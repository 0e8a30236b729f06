"""The status: one word, a line for each part, causes with codes, consequences and commands."""

from __future__ import annotations

import ast
import json
import sys
from dataclasses import replace

import pytest
from conftest import PROJECT
from msgspec import structs
from support.status_of import MQ, SQL, picture, silent, well

from fabfile import CONTENTS
from fabfile.airflow.state import CONSUMERS, DATABASE
from fabfile.haproxy.view import REPLIES, VIEW, Reply
from fabfile.nfs.state import SERVER
from fabfile.operator.status import reachability, tasks
from fabfile.operator.status.document import document
from fabfile.operator.status.reachability import NETWORK, NOTHING, SSH, Reachability
from fabfile.operator.status.text import text
from fabfile.postgres.etcd import ETCD, Etcd
from fabfile.postgres.members import MEMBER
from fabfile.rabbitmq.nodes import STATE
from fabfile.shared import silence
from fabfile.shared.firewall import Firewall
from runbook.declare.probes import ERROR, OK, Cause, Verdict
from runbook.errors import AccessError, UsageError

GONE = Reachability(NOTHING, ("mq1", "mq2"))
THERE = Reachability(SSH, ("mq1",))
DEAF = Reachability(NETWORK, ("mq1", "mq2"))


def codes(seen) -> list[str]:
    return [problem.code for problem in seen.problems]


def problem(seen, code: str):
    return next(one for one in seen.problems if one.code == code)


def part(seen, name: str):
    return next(one for one in seen.parts if one.name == name)


def test_a_cluster_that_is_well_is_ok_on_one_screen(cluster):
    seen = picture(cluster)
    assert codes(seen) == []
    assert (seen.word, seen.exit_code) == ("OK", 0)
    lines = text(seen).splitlines()
    assert lines[0].startswith("airflow-ha is OK ")
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 110


def test_on_a_low_screen_what_is_wrong_comes_first(cluster):
    seen = picture(cluster, lost=silent("sql3"), seen={"sql3": GONE})
    lines = text(seen, height=20).splitlines()
    assert [line.split()[:2] for line in lines if line][1] == ["ERROR", "HOST_DOWN"]
    assert lines[-1].startswith("systemd")
    assert text(seen, height=60) == text(seen)


def test_each_part_says_who_leads_and_what_redundancy_is_left(cluster):
    seen = picture(cluster)
    now = {one.name: one.now for one in seen.parts}
    assert now["postgres"] == (
        "sql1 leads, sql2 (sync) 0 B behind, sql3 (async) 0 B behind, etcd 3 of 3, backup 2 h old"
    )
    assert now["nfs"] == "ftp is active, nfs2 is standby and lacks no files, 192.168.83.220 on ftp"
    assert "192.168.83.210 on airflow" in now["haproxy"]
    assert "1 of 1 workers, DAG processor on ftp" in now["airflow"]
    assert now["systemd"] == "10 of 10 services run"
    redundancy = {one.name: one.redundancy for one in seen.parts}
    assert redundancy["postgres"] == "survives the loss of any one server; sql2 would take over"
    assert redundancy["airflow"] == (
        "survives the loss of a scheduler or a triggerer; worker1 is the only worker"
    )


def test_what_nobody_sees_is_down_and_what_hangs_on_it_follows(cluster):
    seen = picture(cluster, lost=silent("sql3"), seen={"sql3": GONE})
    assert codes(seen) == ["HOST_DOWN"]
    assert (seen.word, seen.exit_code) == ("ERROR", 2)
    down = problem(seen, "HOST_DOWN")
    assert down.hosts == ("sql3",)
    assert "none of mq1, mq2 sees it" in down.says[0]
    assert down.impact == "2 of 3 database servers left"
    assert "power sql3 on" in down.fix[0]
    assert "sql3 follows? Patroni does not answer there" in down.follows
    assert part(seen, "hosts").level == "error"
    assert part(seen, "postgres").level == "warn"
    assert part(seen, "postgres").redundancy == "none until sql3 is back"


def test_what_others_reach_is_unreachable_from_here_and_not_down(cluster):
    seen = picture(cluster, lost=silent("sql3"), seen={"sql3": THERE})
    assert codes(seen) == ["HOST_UNREACHABLE"]
    assert (seen.word, seen.exit_code) == ("WARN", 3)
    [why] = problem(seen, "HOST_UNREACHABLE").says
    assert why.endswith("it timed out; but mq1 reaches it")
    assert {one.state for one in seen.servers if one.host.name == "sql3"} == {"unreachable"}


def test_what_answers_the_network_and_not_ssh_hangs(cluster):
    seen = picture(cluster, lost=silent("mq3"), seen={"mq3": DEAF})
    assert codes(seen) == ["HOST_HANGS"]
    assert problem(seen, "HOST_HANGS").impact == "2 of 3 queue nodes left"


def test_a_host_that_lets_nobody_in_is_not_down(cluster):
    seen = picture(cluster, lost=silent("card1", error=AccessError))
    assert codes(seen) == ["HOST_NO_ACCESS"]
    assert seen.exit_code == 3
    assert problem(seen, "HOST_NO_ACCESS").fix == ("fab -H card1 ssh.bootstrap",)


def test_if_nobody_can_be_asked_nothing_is_called_down(cluster):
    seen = picture(cluster, lost=silent(*cluster.hosts))
    assert set(codes(seen)) >= {"HOST_UNREACHABLE"}
    assert "HOST_DOWN" not in codes(seen)
    assert {one.state for one in seen.servers} == {"unreachable"}
    assert seen.exit_code == 3
    assert text(seen)


def test_a_dead_leader_leads_no_more_whatever_the_others_remember(cluster):
    values = well(cluster)
    broken = Reply(error="server closed the connection")
    values[REPLIES] = {
        name: {door: broken if door[1] == 5000 else one for door, one in replies.items()}
        for name, replies in values[REPLIES].items()
    }
    seen = picture(cluster, values, lost=silent("sql1"), seen={"sql1": GONE})
    assert codes(seen)[:2] == ["HOST_DOWN", "PG_NO_LEADER"]
    assert "writes fail" in problem(seen, "PG_NO_LEADER").impact
    cut_off = picture(cluster, lost=silent("sql1"), seen={"sql1": THERE})
    assert codes(cut_off) == ["HOST_UNREACHABLE"], "it still leads, as the others see it"
    assert part(cut_off, "postgres").now.startswith("sql1 leads")


def test_the_only_worker_is_missed(cluster):
    values = well(cluster)
    values[CONSUMERS] = dict.fromkeys(MQ, ())
    seen = picture(cluster, values, lost=silent("worker1"), seen={"worker1": GONE})
    assert codes(seen) == ["HOST_DOWN"]
    assert problem(seen, "HOST_DOWN").impact == "no worker left: no task runs"


def without_schedulers(values, *hosts):
    state = values[DATABASE]["sql1"]
    ages = {
        job: 99 if job[1] in hosts and job[0] == "SchedulerJob" else age
        for job, age in state.ages.items()
    }
    return {"sql1": replace(state, ages=ages)}


@pytest.mark.parametrize(
    ("fact", "change", "code", "command"),
    [
        (
            MEMBER,
            lambda values: {n: replace(m, paused=True) for n, m in values[MEMBER].items()},
            "PG_PAUSED",
            "patronictl -c /etc/patroni/patroni.yml resume",
        ),
        (
            MEMBER,
            lambda values: {
                n: replace(m, primary=False, cluster={}) for n, m in values[MEMBER].items()
            },
            "PG_NO_LEADER",
            "fab postgres.etcd postgres.patroni",
        ),
        (ETCD, lambda values: dict.fromkeys(SQL, Etcd(True, ())), "PG_ETCD_DOWN", "postgres.etcd"),
        (
            STATE,
            lambda values: {n: one for n, one in values[STATE].items() if n != "mq1"},
            "MQ_NODE_DOWN",
            "fab rabbitmq.cluster",
        ),
        (
            SERVER,
            lambda values: {
                **values[SERVER],
                "nfs2": replace(values[SERVER]["nfs2"], fit=False),
            },
            "NFS_STANDBY_BEHIND",
            "fab nfs.resync",
        ),
        (
            VIEW,
            lambda values: {
                n: replace(one, up={**one.up, "webservers": frozenset({"airflow"})})
                for n, one in values[VIEW].items()
            },
            "LB_WEBSERVER_DOWN",
            "fab -H haproxy2 systemd.start",
        ),
        (CONSUMERS, lambda values: dict.fromkeys(MQ, ()), "AIRFLOW_WORKER_DOWN", "worker1"),
        (
            DATABASE,
            lambda values: without_schedulers(values, "airflow"),
            "AIRFLOW_NO_HEARTBEAT",
            "fab -H airflow systemd.start",
        ),
        (
            DATABASE,
            lambda values: without_schedulers(values, "airflow", "scheduler2"),
            "AIRFLOW_NO_SCHEDULER",
            "systemd.start",
        ),
    ],
)
def test_a_fault_has_a_code_a_consequence_and_a_command(cluster, fact, change, code, command):
    values = well(cluster)
    values[fact] = change(values)
    seen = picture(cluster, values)
    found = problem(seen, code)
    assert found.impact
    assert any(command in way_out for way_out in found.fix)
    assert seen.word in ("WARN", "ERROR")
    assert code in text(seen)


def test_a_unit_that_does_not_run_is_told_once_for_all_hosts(cluster):
    stopped = Verdict(ERROR, "it does not run")
    title = "airflow-scheduler.service stays up"
    answers = {("airflow", title): stopped, ("scheduler2", title): stopped}
    seen = picture(cluster, answers=answers)
    assert codes(seen) == ["AIRFLOW_UNIT_DOWN"]
    found = problem(seen, "AIRFLOW_UNIT_DOWN")
    assert found.hosts == ("airflow", "scheduler2")
    assert len(found.says) == len(found.fix) == 2
    assert part(seen, "systemd").now == "8 of 10 services run"


def test_what_stands_below_is_told_first(cluster):
    values = well(cluster)
    values[CONSUMERS] = dict.fromkeys(MQ, ())
    values[STATE] = {}
    values[ETCD] = dict.fromkeys(SQL, Etcd(True, ()))
    levels = [one.part for one in picture(cluster, values).problems if one.level == ERROR]
    assert levels == sorted(levels, key=["postgres", "rabbitmq", "airflow"].index)


def test_the_document_is_json_and_as_described(cluster):
    seen = picture(cluster, lost=silent("sql3"), seen={"sql3": GONE})
    told = json.loads(json.dumps(document(seen)))
    assert (told["format"], told["status"], told["exit"]) == (3, "ERROR", 2)
    described = (PROJECT / "docs/status.md").read_text()
    keys = {
        *told,
        *told["parts"][0],
        *told["problems"][0],
        *told["hosts"]["sql1"],
        *told["findings"][0],
    }
    assert {key for key in keys if f"`{key}`" not in described} == set()


def causes() -> dict[str, Cause]:
    """Every cause of any module, by its code."""
    found: dict[str, Cause] = {}
    for name, module in list(sys.modules.items()):
        if not name.startswith("fabfile"):
            continue
        for value in vars(module).values():
            for one in value.values() if isinstance(value, dict) else [value]:
                if isinstance(one, Cause):
                    found[one.code] = one
    return found


def test_every_code_belongs_to_a_section_and_so_is_in_the_manual():
    declared = {cause.code for section in CONTENTS.sections for cause in section.causes}
    of_hosts = {cause.code for cause in silence.CAUSES}
    assert declared | of_hosts | {"ANSWER_ODD"} == set(causes())
    assert len(declared) > 50


def test_a_code_says_what_it_costs():
    of_hosts = {"HOST_DOWN", "HOST_HANGS"}  # theirs depends on who is left
    assert {code for code, one in causes().items() if not one.impact} == of_hosts


def bare(call: ast.Call) -> bool:
    """Whether this is a finding that may be wrong, and has no cause."""
    if getattr(call.func, "id", "") != "Finding" or len(call.args) > 3:
        return False
    if any(keyword.arg == "cause" for keyword in call.keywords):
        return False
    verdict = call.args[1]
    level = verdict.args[0] if isinstance(verdict, ast.Call) else None
    return getattr(level, "id", "") not in ("OK", "UNKNOWN")


def test_what_goes_wrong_in_a_check_has_a_code():
    """A finding without a cause would be ANSWER_ODD to the user of a status.

    What a preflight finds is not part of any status.
    """
    found = [
        f"{file.relative_to(PROJECT)}:{node.lineno}"
        for file in (PROJECT / "fabfile").rglob("*.py")
        if file.parent.name != "preflight"
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and bare(node)
    ]
    assert found == []


@pytest.mark.parametrize("wrong", ["soon", "-3", "1.5"])
def test_wait_wants_seconds(wrong):
    with pytest.raises(UsageError, match="is not a number of seconds; for example: --wait 300"):
        tasks.seconds(wrong)


def test_wait_looks_until_all_is_well(monkeypatch):
    looks = iter([2, 1, 0, 2])
    monkeypatch.setattr(tasks, "SHORT_PAUSE", 0)
    from types import SimpleNamespace

    from fabfile.operator.status import look

    monkeypatch.setattr(look, "look", lambda run, thorough: SimpleNamespace(exit_code=next(looks)))
    assert tasks.awaited(None, 60, False).exit_code == 0
    assert tasks.awaited(None, 0, False).exit_code == 2, "without patience one look is all"


def test_the_most_that_anyone_sees_counts():
    heard = [("a", "sql1", NOTHING), ("b", "sql1", SSH), ("a", "sql2", NOTHING)]
    assert reachability.combined("sql1", heard) == Reachability(SSH, ("b",))
    assert reachability.combined("sql2", heard) == Reachability(NOTHING, ("a",))
    assert reachability.combined("sql3", heard) == Reachability()


def test_those_with_the_same_role_are_asked_first(cluster):
    there = [host for host in cluster.hosts.values() if host.name != "sql3"]
    asked = reachability.witnesses(cluster.hosts["sql3"], there, cluster)
    assert [host.name for host in asked[:2]] == ["sql1", "sql2"]
    assert len(asked) == reachability.WITNESSES


def test_those_that_may_reach_its_sshd_are_asked_before_all_others(cluster):
    listed = {**cluster.settings, "firewall": Firewall(ssh=["10.9.0.0/24"])}
    restricted = structs.replace(cluster, settings=listed)
    there = [host for host in cluster.hosts.values() if host.name != "sql3"]
    asked = reachability.witnesses(cluster.hosts["sql3"], there, restricted)
    assert [host.name for host in asked[:3]] == ["airflow", "sql1", "sql2"]


def test_a_look_at_this_machine_is_bash_that_answers():
    import subprocess

    command = reachability.glance("127.0.0.1", 1)
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=10)
    assert done.stdout == f"{NETWORK}\n"


def test_ok_findings_are_no_problems(cluster):
    assert {one.level for one in picture(cluster).survey.findings} == {OK}
