"""`inv drill.*` on the whole cluster: real faults under load, and what the product says of them."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from support.controller import PROJECT
from support.limits import BY_ITSELF, HANDED_OVER
from support.whole import Whole

STATE = "whole"
WAITS = True

pytestmark = pytest.mark.long

PRIMARY = "runuser -u postgres -- psql -XqAtc 'select pg_is_in_recovery()'"
LOADS = {"rows", "messages", "lines", "pages", "tasks"}
SQL, AIRFLOW = ("sql1", "sql2", "sql3"), ("airflow", "scheduler2", "haproxy2", "worker1")


@pytest.fixture(scope="module")
def whole(lab) -> Whole:
    """Everything is deployed, and well."""
    return Whole(lab)


@pytest.fixture
def drill(whole, report):
    """drill("leader-power-loss") -> what became of it; the status is OK again."""

    def go(name: str) -> dict:
        [entry] = carried_out(whole, report, name)
        return entry

    return go


def carried_out(whole: Whole, report, *names: str) -> list[dict]:
    """What became of some drills, carried out by one command; the status is OK again."""
    code, said = whole("drill.run", *names, "--json")
    entries = document(said)["drills"]
    for entry in entries:
        figures = "; ".join(
            f"{one['load']} {one['seconds']} s, {one['lost']} of {one['acknowledged']} lost, "
            f"{one['twice']} twice, {one['retried']} retried"
            for one in entry["loads"]
        )
        mark = f" (mark {entry['mark']})" if entry["mark"] else ""
        name, word, seconds, why = (entry[key] for key in ("drill", "word", "seconds", "why"))
        report(f"{name}: {word}, {seconds} s{mark}; {figures}; {why}")
        assert word in ("passed", "by design", "missed"), said
    assert code == any(entry["word"] == "missed" for entry in entries), said
    code, said = whole("cluster.status", "--wait", "60")
    assert code == 0, said
    return entries


def document(said: str) -> dict:
    """The JSON document in what a command said."""
    data, _ = json.JSONDecoder().raw_decode(said[said.index("{") :])
    return data


def leader(whole: Whole) -> str:
    """Who leads the database."""
    return next(name for name in SQL if whole.on(name, PRIMARY) == "f")


def holder(whole: Whole, address: str, *hosts: str) -> str:
    """Who holds an address."""
    return next(name for name in hosts if whole.on(name, f"ip -o -4 addr show to {address}"))


def measured(entry: dict, name: str) -> dict:
    """What a load has met."""
    return next(one for one in entry["loads"] if one["load"] == name)


def lost(entry: dict) -> int:
    """What was acknowledged and is gone, of loads of which nothing may be lost."""
    return sum(one["lost"] or 0 for one in entry["loads"] if not one["lossy"])


def left(whole: Whole) -> list[str]:
    """What drills have left on servers, in the database, the queue and the share."""
    found = []
    for name in (*AIRFLOW, "ftp", "nfs2"):
        found += whole.on(
            name,
            "ls -d /usr/libexec/airflow-drill /var/lib/airflow-drill 2>/dev/null; "
            "systemctl list-units --plain --no-legend 'airflow-drill-*'; "
            "ls -d /app1/airflow/dags/*drill* /app1/airflow/dags/.airflow-drill 2>/dev/null; "
            "ls -d /app1/airflow/dags/__pycache__/airflow_drill* 2>/dev/null; "
            "ls -d /app1/airflow_logs/dag_id=airflow_drill 2>/dev/null; "
            "ls /app1/airflow_logs/scheduler/*/airflow_drill.py.log 2>/dev/null; "
            "find /app1/airflow/rescued -name '*drill*' 2>/dev/null; :",
        ).splitlines()
    query = (
        "select nspname from pg_namespace where nspname like '%drill%' union all "
        "select dag_id from dag where dag_id like '%drill%' union all "
        "select run_id from dag_run where dag_id like '%drill%'"
    )
    found += whole.on(
        leader(whole), f'runuser -u postgres -- psql -XqAt -d airflow -c "{query}"'
    ).splitlines()
    queues = whole.on("mq1", "rabbitmqctl -q list_queues -p airflow name --silent </dev/null")
    return found + [name for name in queues.splitlines() if "drill" in name]


def outside(whole: Whole, *arguments: str) -> subprocess.CompletedProcess[str]:
    """inv with the lab's settings, but from the machine's own network."""
    environment = whole.lab.environment()
    return subprocess.run(
        ["inv", *arguments],
        env=environment,
        cwd=PROJECT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


# What there is, and what is refused


def test_the_list_names_every_fault_with_its_mark(whole):
    code, said = whole("drill.list")
    assert code == 0, said
    for name in ("leader-power-loss", "share-return", "host-card1", "all-power-loss"):
        assert re.search(rf"^{name} ", said, re.M)
    assert "worker1 is the only worker: no task runs" in said


def test_a_plan_names_whom_it_would_strike_and_changes_nothing(whole):
    code, said = whole("drill.run", "leader-power-loss", "etcd-member-stop", "--plan")
    assert code == 0, said
    assert f"strikes: {leader(whole)}, by power-loss" in said
    assert "systemctl stop etcd.service" in said
    assert left(whole) == []


def test_outside_a_lab_a_hard_fault_is_refused(whole):
    hard = ("leader-power-loss", "worker-kill", "host-mq1")
    done = outside(whole, "drill.run", *hard, "haproxy-stop", "--cluster", "airflow-ha")
    assert done.returncode == 2
    assert f"{', '.join(hard)}: only a lab may have such a fault" in done.stdout + done.stderr


def test_outside_a_lab_the_clusters_name_is_asked_for(whole):
    done = outside(whole, "drill.run", "leader-switchover")
    assert done.returncode == 2
    assert "--cluster airflow-ha" in done.stdout + done.stderr


# Two quick drills, and what they leave


def test_quick_drills_pass_or_say_which_mark_they_missed(whole, report):
    first = leader(whole)
    kill, handover = carried_out(whole, report, "haproxy-kill", "leader-switchover")
    for entry in (kill, handover):
        assert entry["alone"]
        assert lost(entry) == 0
        assert entry["seconds"] <= HANDED_OVER
        assert {one["load"] for one in entry["loads"]} == LOADS
        assert all(one["acknowledged"] for one in entry["loads"])
    assert measured(kill, "rows")["acknowledged"] > 100
    assert handover["struck"] == [first]
    assert leader(whole) != first


def test_what_drills_made_is_removed(whole):
    assert left(whole) == []
    code, said = whole("drill.clean")
    assert code == 0, said
    assert "Nothing of a drill is left." in said
    assert left(whole) == []


def test_the_report_has_a_row_for_each_drill(whole):
    code, said = whole("drill.report")
    assert code == 0, said
    for name in ("haproxy-kill", "leader-switchover"):
        assert re.search(rf"^{name} +[1-9]", said, re.M)


# When none begins


def test_a_cluster_that_is_not_ok_is_not_struck(whole):
    first = leader(whole)
    whole.on("sql1", "patronictl -c /etc/patroni/patroni.yml pause")
    try:
        code, said = whole("drill.run", "leader-power-loss", "leader-switchover")
    finally:
        whole.on("sql1", "patronictl -c /etc/patroni/patroni.yml resume")
    assert code == 1
    assert re.search(r"not run: the status is [A-Z]+ \(.*PG_PAUSED", said)
    assert leader(whole) == first
    assert {host.state for host in whole.lab.status()} == {"running"}
    assert whole("cluster.status", "--wait", "120")[0] == 0


def test_a_lab_with_a_fault_is_not_struck_again(whole):
    whole.lab.fault("card1", "unplug")
    try:
        code, said = whole("drill.run", "leader-switchover")
    finally:
        whole.lab.heal("card1")
    assert code == 1
    assert "card1 is unplugged. To end that: inv lab.heal card1" in said
    assert whole("cluster.status", "--wait", "120")[0] == 0


# Faults


def test_power_loss_of_the_databases_leader(whole, drill):
    first = leader(whole)
    entry = drill("leader-power-loss")
    assert entry["struck"] == [first]
    assert entry["alone"]
    assert lost(entry) == 0
    assert 1 < entry["seconds"] <= BY_ITSELF
    assert measured(entry, "rows")["acknowledged"] > 100
    assert leader(whole) != first


def test_power_loss_of_the_node_that_leads_the_queue(whole, drill):
    entry = drill("queue-leader-power-loss")
    assert entry["struck"][0] in ("mq1", "mq2", "mq3")
    assert entry["alone"]
    assert lost(entry) == 0
    assert entry["seconds"] <= BY_ITSELF
    assert measured(entry, "messages")["acknowledged"] > 100


def test_power_loss_of_the_main_vips_holder(whole, drill):
    first = holder(whole, "192.168.83.210", "airflow", "haproxy2")
    entry = drill("vip-holder-power-loss")
    assert entry["struck"] == [first]
    assert entry["alone"]
    assert lost(entry) == 0
    assert 0.5 < entry["seconds"] <= HANDED_OVER


def test_power_loss_of_the_shares_active_server(whole, drill):
    first = holder(whole, "192.168.83.220", "ftp", "nfs2")
    entry = drill("share-power-loss")
    assert entry["struck"] == [first]
    assert entry["alone"]
    assert lost(entry) == 0
    assert entry["seconds"] <= BY_ITSELF
    assert measured(entry, "lines")["lossy"]


def test_the_server_of_the_share_that_returns_takes_nothing_back(drill):
    entry = drill("share-return")
    assert entry["alone"]
    assert measured(entry, "lines")["lost"] == 0
    assert entry["seconds"] <= HANDED_OVER


def test_a_worker_that_is_killed_in_the_middle_of_tasks(drill):
    entry = drill("worker-kill")
    assert entry["struck"] == ["worker1"]
    assert measured(entry, "tasks")["retried"]
    assert measured(entry, "tasks")["lost"] == 0
    assert lost(entry) == 0


def test_the_only_worker_is_an_outage_by_design(drill):
    entry = drill("host-worker1")
    assert entry["word"] == "by design"
    assert entry["why"] == ["worker1 is the only worker: no task runs"]
    assert lost(entry) == 0


@pytest.mark.parametrize("name", ["haproxy-stop", "leader-freeze", "scheduler-stop-airflow"])
def test_other_faults(drill, name):
    entry = drill(name)
    assert entry["alone"]
    assert lost(entry) == 0
    assert entry["seconds"] <= BY_ITSELF


def test_power_loss_of_all_servers(whole, drill):
    entry = drill("all-power-loss")
    assert len(entry["struck"]) == 13
    assert lost(entry) == 0
    assert entry["seconds"] < 300


# What is left, and who interrupts


def test_nothing_of_a_drill_is_left(whole):
    assert left(whole) == []
    assert whole("drill.clean")[0] == 0
    assert whole("cluster.deploy", "--yes")[0] == 0


def begun(whole: Whole, name: str) -> subprocess.Popen[str]:
    """A drill whose fault has just been caused."""
    running = subprocess.Popen(
        whole.lab.inside(["env", "--default-signal=INT", "inv", "drill.run", name]),
        env=whole.lab.environment(),
        cwd=PROJECT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    for line in running.stdout:
        if line.startswith("  struck: "):
            return running
    raise AssertionError(f"no fault; exit code {running.wait()}")


def test_ctrl_c_ends_the_fault_and_leaves_nothing(whole):
    running = begun(whole, "host-card1")
    time.sleep(2)
    running.send_signal(signal.SIGINT)
    said, _ = running.communicate(timeout=300)
    assert running.returncode == 130, said
    assert "Traceback" not in said
    assert {host.state for host in whole.lab.status()} == {"running"}
    assert not (whole.state / "drill.json").exists()
    assert whole("cluster.status", "--wait", "300")[0] == 0
    assert left(whole) == []


def test_after_a_drill_was_killed_none_begins_until_it_is_cleaned_up(whole):
    running = begun(whole, "host-card1")
    running.kill()
    running.wait()
    code, said = whole("drill.run", "leader-switchover")
    assert code == 1
    assert "the fault of host-card1 (on card1) was not ended" in said
    code, said = whole("drill.clean")
    assert code == 0, said
    assert {host.state for host in whole.lab.status()} == {"running"}
    assert left(whole) == []
    assert whole("cluster.status", "--wait", "300")[0] == 0


# The report


def test_the_report_has_all_that_was_carried_out(whole, tmp_path):
    code, said = whole("drill.report")
    assert code == 0, said
    assert re.search(r"^leader-power-loss +1 ", said, re.M)
    assert re.search(r"^host-worker1 .* by design$", said, re.M)
    page = tmp_path / "drills.html"
    code, said = whole("drill.report", "--html", str(page))
    assert code == 0, said
    text = Path(page).read_text()
    assert '<tr id="leader-power-loss">' in text
    assert "the lab" in text
    code, said = whole("drill.report", "--json", "--last", "1")
    words = {one["drill"]: one["word"] for one in document(said)["drills"]}
    assert words["host-card1"] == "failed", "it was interrupted"
    assert words["leader-power-loss"] in ("passed", "missed")
