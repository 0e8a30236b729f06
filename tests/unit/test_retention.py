"""What goes when it is old: only what hosts.yaml says, when it says so, and a check that tells."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from conftest import PROJECT
from support.share_facts import facts as share_facts

from fabfile import CONTENTS, airflow, nfs, postgres
from fabfile.airflow import retention as of_airflow
from fabfile.nfs import retention as of_nfs
from fabfile.nfs.restore import below, snapshots, taken_before
from fabfile.postgres import retention as of_postgres
from fabfile.shared import timers
from fabfile.shared.timers import DAY, HOUR, Ran, Timer
from runbook.declare.facts import Facts
from runbook.declare.work import Question
from runbook.errors import InventoryError, RunbookError, UsageError

FILES = PROJECT / "files"
ALL = {"airflow": {"history": 365, "logs": 90}, "postgres": {"dumps": 180}, "nfs": {"rescued": 60}}


@pytest.fixture
def load(tmp_path):
    """load({"airflow": {"history": 365}}) -> a cluster with these keep_days."""

    def loaded(kept, **others):
        data = yaml.safe_load((PROJECT / "hosts.yaml").read_text())
        for section, days in kept.items():
            data[section]["keep_days"] = days
        for section, settings in others.items():
            data[section].update(settings)
        file = tmp_path / "hosts.yaml"
        file.write_text(yaml.safe_dump(data))
        return CONTENTS.load(file)

    return loaded


def titles(task, cluster, host: str) -> list[str]:
    return [step.title for step in task(cluster.hosts[host], cluster)]


# Settings


def test_by_default_nothing_is_deleted_and_snapshots_are_taken(cluster):
    for host in cluster.hosts.values():
        assert of_airflow.due(host, cluster) == []
    assert [timer.name for timer in of_nfs.due(cluster)] == ["nfs-snapshot"]
    off = "{}.timer neither runs nor starts at boot".format
    there = titles(of_airflow.retention, cluster, "airflow")
    assert [title for title in there if "timer" in title] == [
        off("airflow-old-history"),
        off("airflow-old-logs"),
    ]
    assert not any(".service" in title for title in there)
    assert titles(of_postgres.retention, cluster, "sql1") == [off("postgres-old-dumps")]
    assert off("nfs-old-rescued") in titles(of_nfs.retention, cluster, "nfs2")


@pytest.mark.parametrize(
    ("section", "days"),
    [
        ("airflow", {"history": 29}),
        ("airflow", {"logs": 0}),
        ("airflow", {"history": "all"}),
        ("postgres", {"dumps": 1}),
        ("nfs", {"rescued": -1}),
        ("nfs", {"snapshots": 0}),
    ],
)
def test_so_few_days_are_a_mistake(load, section, days):
    with pytest.raises(InventoryError, match=f"{section}.keep_days.{next(iter(days))}"):
        load({section: days})


# Who does what


def test_every_scheduler_tries_and_every_server_deletes_its_own_logs(load):
    cluster = load(ALL)
    due = {name: of_airflow.due(host, cluster) for name, host in cluster.hosts.items()}
    history = {name for name, timers in due.items() if of_airflow.HISTORY in timers}
    logs = {name for name, timers in due.items() if of_airflow.OLD_LOGS in timers}
    assert history == {"airflow", "scheduler2"}
    assert logs == {"airflow", "scheduler2", "haproxy2", "worker1", "ftp", "nfs2"}


def test_shared_logs_are_deleted_where_they_are(load):
    cluster = load(ALL, nfs={"logs": True})
    logs = {
        name
        for name, host in cluster.hosts.items()
        if of_airflow.OLD_LOGS in of_airflow.due(host, cluster)
    }
    assert logs == {"ftp", "nfs2"}
    unit = unit_of(of_airflow.retention, cluster, "ftp", "airflow-old-logs.service")
    assert "airflow-runbook/old-logs /app1/airflow_logs 90 192.168.83.220\n" in unit
    timer = unit_of(of_airflow.retention, cluster, "ftp", "airflow-old-logs.timer")
    assert "RandomizedDelaySec" not in timer


def unit_of(task, cluster, host: str, name: str) -> str:
    [step] = [
        step
        for step in task(cluster.hosts[host], cluster)
        if step.title == f"file /etc/systemd/system/{name}"
    ]
    return step.text


def test_units_get_the_days(load):
    cluster = load(ALL)
    history = unit_of(of_airflow.retention, cluster, "airflow", "airflow-old-history.service")
    assert "ExecStart=/usr/libexec/airflow-runbook/old-history 365\n" in history
    assert "EnvironmentFile=-/etc/airflow/direct.env\n" in history
    dumps = unit_of(of_postgres.retention, cluster, "sql1", "postgres-old-dumps.service")
    assert "old-dumps /var/lib/pgsql/airflow-dumps 180\n" in dumps
    rescued = unit_of(of_nfs.retention, cluster, "ftp", "nfs-old-rescued.service")
    assert "old-rescued /app1/airflow/rescued 60\n" in rescued


@pytest.mark.parametrize("section", [airflow.section, postgres.section, nfs.section])
def test_it_is_part_of_its_section(section):
    assert "retention" in [work.short for work in section.in_order()]


# What a check says


WORK = Timer("work", "Work", "daily")
WELL = Ran(True, "success", 3 * HOUR)


@pytest.mark.parametrize(
    ("ran", "level", "words"),
    [
        (WELL, "ok", "on one"),
        (Ran(True, "success", DAY + HOUR), "ok", "on one"),
        (Ran(False, "success", HOUR), "warn", "work on one is not scheduled"),
        (Ran(True, "exit-code", HOUR), "warn", "work on one failed (exit-code), 1 h ago"),
        (Ran(True, "success", 3 * DAY), "warn", "work on one has not run for 3 d"),
        (None, "warn", "work on one is not scheduled"),
    ],
)
def test_a_check_says_what_was_not_done(ran, level, words):
    known = {"one": {"work": ran} if ran else {}}
    [finding] = timers.done("it is done", {"one": [WORK]}, known, "fab x", of_nfs.NO_SNAPSHOT)
    assert (finding.verdict.level, finding.verdict.sentence) == (level, words)


def test_nothing_is_said_where_nothing_is_to_be_done_or_nobody_answers():
    known = {"one": {"work": WELL}}
    assert [*timers.done("it", {"one": []}, known, "fab x", of_nfs.NO_SNAPSHOT)] == []
    assert [*timers.done("it", {"two": [WORK]}, known, "fab x", of_nfs.NO_SNAPSHOT)] == []


def test_the_answer_of_a_host_is_read():
    assert timers.answers("work active success 5\nother inactive exit-code 0\n") == {
        "work": Ran(True, "success", 5),
        "other": Ran(False, "exit-code", 0),
    }
    with pytest.raises(ValueError, match="x"):
        timers.answers("work active $(x) 5")


def test_the_question_is_bash_that_answers(tmp_path, monkeypatch):
    (tmp_path / "systemctl").write_text(
        "#!/bin/bash\n[[ $1 == is-active ]] && { echo active; exit; }\necho Result=success\n"
    )
    (tmp_path / "systemctl").chmod(0o755)
    stamp = tmp_path / "stamp-work.timer"
    stamp.touch()
    os.utime(stamp, (time.time() - 100,) * 2)
    command = timers.question([WORK]).replace(timers.STAMPS, str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    done = subprocess.run(["bash", "-euc", command], capture_output=True, text=True, check=True)
    [ran] = timers.answers(done.stdout).values()
    assert ran.scheduled
    assert 100 <= ran.age < 200


# fab airflow.clean


def stages(cluster, **options) -> list:
    hosts = list(cluster.hosts.values())
    return list(of_airflow.clean(hosts, cluster, Facts(), **options))


def test_cleaning_asks_and_counts_in_a_plan(load):
    question, _, history, logs = stages(load(ALL))
    assert isinstance(question, Question)
    assert "history older than 365 days and log files older than 90 days" in question.text
    assert [host.name for host in history.hosts] == ["airflow"]
    assert {host.name for host in logs.hosts} >= {"airflow", "worker1", "nfs2"}


def test_cleaning_once_needs_no_setting(cluster):
    question, _, _ = stages(cluster, history=400)
    assert question.text.endswith("history older than 400 days.")


@pytest.mark.parametrize("options", [{}, {"history": 3}, {"logs": 1}, {"history": -1}])
def test_cleaning_without_days_or_with_too_few_is_refused(cluster, options):
    with pytest.raises(UsageError, match="days"):
        stages(cluster, **options)


# The scripts


def bash(script: str, *arguments: object) -> str:
    done = subprocess.run(
        ["bash", str(FILES / script), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def aged(path: Path, days: float, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (time.time() - days * DAY,) * 2)
    return path


def stamp(days: float) -> str:
    """So many days ago, as names of folders and snapshots have it."""
    return time.strftime("%Y%m%d-%H%M%S", time.localtime(time.time() - days * DAY))


def test_old_logs_go_with_their_empty_folders_and_what_is_written_to_stays(tmp_path):
    old = aged(tmp_path / "dag_id=a/run_id=1/task_id=x/attempt=1.log", 30)
    young = aged(tmp_path / "dag_id=a/run_id=2/task_id=x/attempt=1.log", 3)
    sentinel = aged(tmp_path / ".nfs-ha", 400)
    for folder in (old.parent, old.parent.parent):
        os.utime(folder, (time.time() - 30 * DAY,) * 2)
    fresh = tmp_path / "dag_id=b/run_id=3"
    fresh.mkdir(parents=True)
    outside = aged(tmp_path.parent / f"{tmp_path.name}-outside/file", 300)
    (tmp_path / "link").symlink_to(outside.parent)
    assert bash("airflow/old-logs", tmp_path, 20, "--count") == "1 files, 0.0 MB\n"
    assert old.exists()
    assert bash("airflow/old-logs", tmp_path, 20).startswith("1 files")
    assert not old.exists()
    assert not old.parents[1].exists()
    assert all(path.exists() for path in (young, sentinel, fresh, outside))
    assert bash("airflow/old-logs", tmp_path, 20) == ""
    assert bash("airflow/old-logs", tmp_path, 20, "--count") == ""


def test_the_newest_dump_stays_however_old_it_is(tmp_path):
    first, second = aged(tmp_path / "a.dump", 300), aged(tmp_path / "b.dump", 200)
    other = aged(tmp_path / "notes.txt", 300)
    bash("postgres/old-dumps", tmp_path, 100)
    assert not first.exists()
    assert second.exists()
    assert other.exists()
    bash("postgres/old-dumps", tmp_path / "nowhere", 100)


def test_rescued_files_go_by_the_time_of_their_rescue(tmp_path):
    stamps = {days: stamp(days) for days in (5, 50)}
    old = aged(tmp_path / f"{stamps[50]}-before-ftp/dags/new.py", 0)
    young = aged(tmp_path / f"{stamps[5]}-before-ftp/dags/old.py", 900)
    own = aged(tmp_path / "somebody's own/file", 900)
    (tmp_path / f"{stamps[50]}-link").symlink_to(own.parent)
    assert bash("nfs/old-rescued", tmp_path, 30) == f"{old.parents[1].name}\n"
    assert not old.exists()
    assert young.exists()
    assert own.exists()


# Snapshots


@pytest.fixture
def snapshot(tmp_path):
    """Take a snapshot of the tree, as whoever runs the tests; the names of all of them."""
    tree, folder = tmp_path / "tree", tmp_path / "snapshots"
    folder.mkdir()
    aged(tree / ".nfs-ha", 0)
    text = (FILES / "nfs/snapshot").read_text()
    begin, end = text.index("as_airflow() {"), text.index("fail() {")
    script = tmp_path / "snapshot"
    script.write_text(text[:begin] + 'as_airflow() { "$@"; }\n' + text[end:])

    def take(days: int = 14) -> list[str]:
        bash(str(script), "take", folder, days, tree)
        return [line.split()[0] for line in bash(str(script), "list", folder).splitlines()]

    take.tree, take.folder = tree, folder
    return take


def content(path: Path) -> list[str]:
    done = subprocess.run(["tar", "-tzf", path], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_a_snapshot_has_what_the_tree_has_and_the_release_that_runs(snapshot):
    aged(snapshot.tree / "team/a b.py", 1)
    for name in ("0123456789ab", "ba9876543210"):
        aged(snapshot.tree / f".releases/{name}/dag.py", 1)
    (snapshot.tree / ".releases/current").symlink_to("0123456789ab")
    (snapshot.tree / "dag.py").symlink_to(".releases/current/dag.py")
    aged(snapshot.tree / "team/__pycache__/a.pyc", 1)
    [name] = snapshot()
    assert content(snapshot.folder / f"{name}.tar.gz") == [
        "./.releases/",
        "./.releases/0123456789ab/",
        "./.releases/0123456789ab/dag.py",
        "./.releases/current",
        "./dag.py",
        "./team/",
        "./team/a b.py",
    ]
    assert (snapshot.folder / f"{name}.tar.gz").stat().st_mode & 0o077 == 0


def test_a_snapshot_is_kept_only_if_something_changed(snapshot):
    file = aged(snapshot.tree / "a.py", 1)
    first = snapshot()
    aged(snapshot.tree / ".nfs-ha-worker1.5", 0).unlink()
    time.sleep(1.1)
    assert snapshot() == first
    file.unlink()
    assert len(snapshot()) == 2


def test_a_tree_without_its_sentinel_is_not_taken_for_an_empty_one(snapshot):
    (snapshot.tree / ".nfs-ha").unlink()
    with pytest.raises(AssertionError, match=r"has no \.nfs-ha"):
        snapshot()


def test_of_days_that_are_over_the_last_snapshot_stays(snapshot):
    def noon(days: int, hour: int) -> str:
        return f"{stamp(days)[:8]}-{hour:02}0000"

    aged(snapshot.tree / "a.py", 1)
    [now] = snapshot()
    today = stamp(0.2)
    for name in (noon(30, 1), noon(20, 1), noon(5, 1), noon(5, 2), noon(4, 1), today):
        (snapshot.folder / f"{name}.tar.gz").write_bytes(b"x")
    assert snapshot() == [noon(20, 1), noon(5, 2), noon(4, 1), today, now]


def test_the_snapshots_are_listed(cluster):
    known = Facts({of_nfs.KEPT: {"ftp": {"20261130-140500": 2500}}})
    assert snapshots(cluster, known) == [
        {"snapshot": "20261130-140500", "server": "ftp", "kB": 2.5}
    ]
    assert of_nfs.parse("20261130-140500 2500\n") == {"20261130-140500": 2500}


# Bringing files back


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("sales/a.py", "sales/a.py"),
        ("/app1/airflow/dags/sales/", "sales"),
        ("./sales", "sales"),
        (".", ""),
        ("/app1/airflow/dags", ""),
    ],
)
def test_a_path_is_one_below_the_dags(path, found):
    assert below(path) == found


@pytest.mark.parametrize("path", ["", "..", "a/../../b", "/etc/passwd", "a\nb"])
def test_another_path_is_refused(path):
    with pytest.raises(UsageError, match="below /app1/airflow/dags"):
        below(path)


NAMES = ("20261129-100500", "20261130-090500", "20261130-140500")


@pytest.mark.parametrize(
    ("at", "name"),
    [
        ("", NAMES[2]),
        ("2026-11-30 14:04", NAMES[1]),
        ("2026-11-30 14:05", NAMES[2]),
        ("2026-11-30T09:05:00", NAMES[1]),
        ("2026-11-29", NAMES[0]),
        (NAMES[1], NAMES[1]),
    ],
)
def test_the_newest_snapshot_until_then_is_taken(cluster, at, name):
    assert taken_before(at, NAMES, cluster.hosts["ftp"]) == name


@pytest.mark.parametrize(
    ("at", "names", "words"),
    [
        ("yesterday", NAMES, "yesterday is not a time"),
        ("2026-01-01", NAMES, "oldest snapshot of ftp is 20261129-100500"),
        ("", (), "ftp has no snapshot"),
    ],
)
def test_a_time_without_a_snapshot_is_refused(cluster, at, names, words):
    with pytest.raises((UsageError, RunbookError), match=words):
        taken_before(at, names, cluster.hosts["ftp"])


def test_files_come_back_and_what_was_there_is_kept(snapshot, tmp_path, monkeypatch):
    from runbook.declare.templates import script

    for name in ("team/a.py", "team/b.py", "team/same.py", "other/c.py"):
        aged(snapshot.tree / name, 1, name)
    [name] = snapshot()
    (snapshot.tree / "team/a.py").unlink()
    (snapshot.tree / "team/b.py").write_text("changed")
    (snapshot.tree / "team/new.py").write_text("new")
    (snapshot.tree / "other/c.py").unlink()
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "runuser").write_text('#!/bin/bash\nshift 3\nexec "$@"\n')
    (programs / "runuser").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    commands = script(
        "nfs/restore.sh",
        archive=f"{snapshot.folder}/{name}.tar.gz",
        tree=str(snapshot.tree),
        path="team",
        rescued=str(tmp_path / "rescued"),
        user="airflow",
    )
    done = subprocess.run(["bash", "-c", commands], capture_output=True, text=True, check=True)
    assert "team/same.py" not in done.stdout
    found = {path.name: path.read_text() for path in (snapshot.tree / "team").iterdir()}
    assert found == {
        "a.py": "team/a.py",
        "b.py": "team/b.py",
        "same.py": "team/same.py",
        "new.py": "new",
    }
    assert not (snapshot.tree / "other/c.py").exists()
    [kept] = (tmp_path / "rescued").glob("*-before-restore/tree/team/*")
    assert kept.read_text() == "changed"


def test_share_facts_know_snapshots(cluster):
    """A check without the answers about snapshots says nothing about them."""
    assert [*of_nfs.cleaned(cluster, share_facts())] == []
