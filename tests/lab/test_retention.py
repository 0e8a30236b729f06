"""A year later: old history and logs go while tasks run, and removed DAGs come back."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from shlex import quote

import pytest
import yaml
from support.controller import PROJECT, Controller
from support.drill import DAGS, Airflow

from tools.exposure import LOW, rated

STATE = "whole"

pytestmark = pytest.mark.long

ROWS = 1_000_000
FILES = 100_000
KEPT = {
    "airflow": {"keep_days": {"history": 30, "logs": 7}},
    "postgres": {"keep_days": {"dumps": 30}},
    "nfs": {"keep_days": {"rescued": 30, "snapshots": 14}},
}
SECTIONS = ("airflow.retention", "postgres.retention", "nfs.retention")
UNITS = {
    "airflow": ("airflow-old-history", "airflow-old-logs"),
    "scheduler2": ("airflow-old-history",),
    "worker1": ("airflow-old-logs",),
    "sql1": ("postgres-old-dumps",),
    "nfs2": ("nfs-snapshot", "nfs-old-rescued"),
}

OLD_RUNS = f"""insert into log (dttm, dag_id, task_id, event, owner)
  select now() - interval '400 days' + n * interval '20 seconds', 'old', 't', 'success', 'x'
  from generate_series(1, {ROWS}) n;
insert into dag_run (dag_id, execution_date, start_date, end_date, state, run_id, external_trigger,
    run_type, clear_number)
  select 'old', t, t, t, 'success', 'old-' || t, false, 'scheduled', 0
  from generate_series(now() - interval '400 days', now() - interval '40 days', interval '1 hour')
  as t;
insert into task_instance (task_id, dag_id, run_id, map_index, start_date, state, pool, pool_slots)
  select 't' || n, dag_id, run_id, -1, start_date, 'success', 'default_pool', 1
  from dag_run, generate_series(1, 5) n where dag_id = 'old';
insert into dag_run (dag_id, execution_date, start_date, state, run_id, external_trigger, run_type,
    clear_number)
  select 'old', t, t, 'running', 'goes-on', true, 'manual', 0 from (select now() - interval
  '300 days 1 minute' as t) as old"""

WAITS_FOR_IT = """select coalesce(max(extract(epoch from now() - waits.query_start)), 0)
from pg_stat_activity waits, pg_stat_activity holds
where holds.pid = any(pg_blocking_pids(waits.pid)) and holds.application_name = 'old-history'"""


@pytest.fixture(scope="module")
def airflow(lab) -> Airflow:
    return Airflow(lab)


@pytest.fixture(scope="module")
def asking(fab, tmp_path_factory) -> Callable[..., Controller]:
    """asking({…}) -> the controller whose hosts.yaml has these settings, too."""
    folder = tmp_path_factory.mktemp("retention")

    def controller(settings: dict) -> Controller:
        data = yaml.safe_load((PROJECT / "lab/override.yaml").read_text())
        for section, values in settings.items():
            data.setdefault(section, {}).update(values)
        override = folder / f"override-{len(list(folder.iterdir()))}.yaml"
        override.write_text(yaml.safe_dump(data))
        return fab.given(RUNBOOK_OVERRIDE=str(override))

    return controller


@pytest.fixture(scope="module")
def team(asking) -> Controller:
    return asking(KEPT)


def change(airflow: Airflow, sql: str) -> None:
    """Change Airflow's database, past Airflow."""
    airflow.shell("airflow", f"/usr/libexec/airflow-runbook/airflow-sql {quote(sql)}")


def count(airflow: Airflow, table: str, condition: str) -> int:
    return int(airflow.ask(f"select count(*) from {table} where {condition}")[0][0])


def test_without_settings_nothing_is_scheduled_to_be_deleted(airflow):
    for host in ("airflow", "worker1", "sql1", "nfs2"):
        found = airflow.shell(host, "systemctl list-timers --all --no-legend '*-old-*' || :")
        assert found == ""
    assert "nfs-snapshot.timer" in airflow.shell("nfs2", "systemctl list-timers --no-legend")


def test_a_run_makes_the_timers_and_a_second_one_changes_nothing(airflow, team):
    done = team(*SECTIONS)
    assert done.code == 0, done.text
    for host, names in UNITS.items():
        for name in names:
            assert airflow.shell(host, f"systemctl is-active {name}.timer") == "active"
    again = team(*SECTIONS)
    assert again.steps("changed", "failed") == set(), again.text


def test_their_services_may_do_little(airflow):
    names = {host: [f"{name}.service" for name in names] for host, names in UNITS.items()}
    for host, units in names.items():
        ask = "; ".join(
            f"systemd-analyze security --no-pager {unit} | grep Overall" for unit in units
        )
        ratings = rated(airflow.shell(host, ask))
        assert set(ratings) == set(units)
        assert max(ratings.values()) <= LOW


def test_a_million_old_rows_go_while_tasks_run(airflow, team, report):
    airflow.deploy_drill(airflow.active())
    change(airflow, OLD_RUNS)
    planned = team.text("--plan", "airflow.clean", "--history", "30")
    assert re.search(rf"log: {ROWS}|log: \d{{7}} rows", planned.text), planned.text
    assert count(airflow, "log", "dag_id = 'old'") == ROWS
    began = airflow.start("while-cleaning")
    for host in ("airflow", "scheduler2"):
        airflow.shell(host, "systemctl start --no-block airflow-old-history")
    longest = 0.0
    deadline = time.monotonic() + 1800
    while count(airflow, "log", "dag_id = 'old'"):
        assert time.monotonic() < deadline
        waited = airflow.ask(WAITS_FOR_IT)
        longest = max(longest, float(waited[0][0]) if waited else 0)
        time.sleep(0.2)
    seconds = time.monotonic() - began
    outcome = airflow.outcome("while-cleaning", began)
    report(f"{ROWS} old rows deleted in {seconds:.0f} s; longest wait for it {longest:.1f} s")
    report(f"twenty tasks meanwhile: {outcome}")
    assert longest < 2
    assert outcome.states == {"success": 20}
    assert outcome.retried == []


def test_what_has_not_ended_and_the_last_scheduled_run_stay(airflow):
    deadline = time.monotonic() + 600
    while "activating" in airflow.shell("airflow", "systemctl is-active airflow-old-history || :"):
        assert time.monotonic() < deadline
        time.sleep(1)
    rows = airflow.ask("select run_id from dag_run where dag_id = 'old' order by start_date")
    assert rows[0] == ["goes-on"]
    assert len(rows) == 2
    assert count(airflow, "task_instance", "dag_id = 'old'") == 5
    journal = "journalctl -u airflow-old-history -o cat"
    told = airflow.shell("airflow", journal) + airflow.shell("scheduler2", journal)
    assert "another server is at it" in told
    assert re.search(r"log: \d{7} rows deleted", told)


def test_old_log_files_go_and_young_ones_stay(airflow, report):
    folder = "/app1/airflow_logs/dag_id=old"
    airflow.shell(
        "worker1",
        f"runuser -u airflow -- bash -c 'mkdir -p {folder}/run_id={{1..100}}; cd {folder}; "
        f'for n in run_id=*; do touch -d "30 days ago" $n/{{1..{FILES // 100}}}.log; done; '
        f'touch -d "30 days ago" run_id=*; touch run_id=7/young.log\'',
    )
    began = time.monotonic()
    airflow.shell("worker1", "systemctl start airflow-old-logs")
    report(f"{FILES} old log files deleted in {time.monotonic() - began:.0f} s")
    assert airflow.shell("worker1", f"find {folder} -type f") == f"{folder}/run_id=7/young.log"


def test_the_newest_dump_and_young_rescued_files_stay(airflow):
    folder = "/var/lib/pgsql/airflow-dumps"
    airflow.shell(
        "sql1",
        f"runuser -u postgres -- bash -c 'mkdir -p -m 0700 {folder}; cd {folder}; "
        'touch -d "300 days ago" a.dump; touch -d "200 days ago" b.dump\'',
    )
    airflow.shell("sql1", "systemctl start postgres-old-dumps")
    assert airflow.shell("sql1", f"ls {folder}") == "b.dump"
    airflow.shell(
        "nfs2",
        "runuser -u airflow -- bash -c 'cd /app1/airflow/rescued; mkdir -p "
        "20200101-000000-before-ftp $(date +%Y%m%d-%H%M%S)-before-ftp'; "
        "systemctl start nfs-old-rescued",
    )
    assert "20200101" not in airflow.shell("nfs2", "ls /app1/airflow/rescued")
    assert "-before-ftp" in airflow.shell("nfs2", "ls /app1/airflow/rescued")


def test_a_check_says_what_failed(airflow, team):
    script = "/usr/libexec/postgres-ha/old-dumps"
    airflow.shell("sql1", f"mv {script} /root/; systemctl start postgres-old-dumps || :")
    told = team("postgres.check")
    assert [title for _, title in told.steps("warn") if "old dumps" in title], told.text
    airflow.shell("sql1", f"mv /root/old-dumps {script}; systemctl start postgres-old-dumps")
    team.settled("postgres")


def test_removed_dags_come_back(airflow, team):
    server = airflow.active()
    by_airflow = "runuser -u airflow --"
    airflow.shell(
        server, f"{by_airflow} bash -c 'mkdir -p {DAGS}/sales; echo one >{DAGS}/sales/a.txt'"
    )
    airflow.shell(server, "systemctl start nfs-snapshot")
    airflow.shell("airflow", f"{by_airflow} bash -c 'rm -rf {DAGS}/sales'")
    standby = {"ftp": "nfs2", "nfs2": "ftp"}[server]
    deadline = time.monotonic() + 30
    while airflow.shell(standby, f"ls {DAGS}").count("sales"):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert server in team.text("nfs.snapshots").text
    planned = team.text("--plan", "nfs.restore-files", "sales")
    assert "sales/a.txt" in planned.text
    restored = team("--yes", "nfs.restore-files", "sales")
    assert restored.code == 0, restored.text
    assert airflow.shell("worker1", f"cat {DAGS}/sales/a.txt") == "one"
    team.settled("nfs")


def test_a_disk_that_fills_is_told(airflow, fab):
    record = "/var/lib/airflow-runbook/disks"
    airflow.shell("sql1", "systemctl start disk-record")
    lines = [line.split() for line in airflow.shell("sql1", f"cat {record}").splitlines()]
    _, used, size, path = lines[-1]
    assert 0 < int(used) < int(size)
    now = int(airflow.shell("sql1", "date +%s"))
    notes = (f"{now - 20 * 86400} 1 1000 {path}", f"{now} 900 1000 {path}")
    airflow.shell("sql1", f"printf '%s\\n' {' '.join(map(repr, notes))} >{record}")
    told = fab("base.check")
    assert [title for _, title in told.steps("warn") if "disks fill slowly" in title], told.text
    airflow.shell("sql1", f"rm {record}; systemctl start disk-record")
    assert "disks fill slowly" not in str(fab("base.check").steps("warn"))


def test_without_the_setting_the_timers_go(airflow, fab):
    done = fab(*SECTIONS)
    assert done.code == 0, done.text
    for host in ("airflow", "worker1", "sql1", "nfs2"):
        assert airflow.shell(host, "systemctl list-timers --all --no-legend '*-old-*' || :") == ""
    assert fab(*SECTIONS).steps("changed", "failed") == set()
