"""What the checks of the database say about single servers and about backups."""

from __future__ import annotations

import subprocess

import pytest
from support.postgres_facts import SQL, facts, figures, member

from fabfile import CONTENTS
from fabfile.postgres import check, check_backups
from fabfile.postgres.etcd import ETCD
from fabfile.postgres.figures import FIGURES, Figures, parse
from fabfile.postgres.position import POSITION
from fabfile.postgres.repository import BACKUPS, Backup, Repository
from runbook.declare.facts import Facts
from runbook.declare.probes import Answer

DAY = 24 * 3600
HOUR = 3600


def findings(cluster, known: Facts) -> dict[str, tuple[str, str]]:
    return {
        one.title: (one.verdict.level, one.verdict.sentence)
        for one in check.check_cluster(cluster, known)
    }


def told(cluster, **servers) -> dict[str, tuple[str, str]]:
    """The findings if these servers have other figures; None: they say nothing."""
    known = facts(cluster)
    numbers = {name: figures(**servers.get(name, {})) for name in SQL}
    return findings(cluster, Facts({**known._values, FIGURES: numbers}))


def test_figures_are_read():
    read = parse(
        "waiting 3 125\narchiving fails\nconnections 180 197\ncorrupt 2\nage 450 200\n"
        "runs PostgreSQL 15.8 (Debian 15.8-0+deb12u1)\ninstalled PostgreSQL 15.9\n"
        "runs Patroni 4.1.0\ninstalled Patroni 4.1.0\ndropped 1700000000\nwatchdog idle\n"
    )
    assert (read.waiting, read.oldest, read.archiving, read.dropped) == (3, 125, False, 1700000000)
    assert (read.connections, read.allowed, read.corrupt, read.age) == (180, 197, 2, 450)
    assert read.outdated == {"PostgreSQL": ("15.8 (Debian 15.8-0+deb12u1)", "15.9")}
    assert read.watchdog == "idle"


@pytest.mark.parametrize("fact", [FIGURES, POSITION, ETCD], ids=lambda fact: fact.name)
def test_a_question_is_bash_that_ends_well_on_a_server_without_anything(cluster, fact):
    command = fact.command(cluster, cluster.hosts["sql1"])
    done = subprocess.run(
        ["bash", "-c", command.replace("192.168.", "127.0.")], capture_output=True, text=True
    )
    assert "syntax error" not in done.stderr
    assert done.returncode == 0, done.stderr


def test_what_postgresql_does_not_say_is_unknown():
    read = parse("waiting 0 0\ninstalled PostgreSQL 15.9\nwatchdog none\n")
    nothing = Figures(0, 0, "none", installed={"PostgreSQL": "15.9"})
    assert read == nothing
    with pytest.raises(ValueError, match="tput"):
        parse("waiting 0 0\nruns PostgreSQL $(tput)\nwatchdog none\n")


@pytest.mark.parametrize(
    ("change", "title", "level", "words"),
    [
        ({"archiving": False}, "WAL reaches the archive", "error", "WAL stays on the leader"),
        ({"archiving": None}, "WAL reaches the archive", "unknown", "does not answer"),
        ({"waiting": 40, "oldest": 900}, "WAL reaches the archive", "warn", "40 files wait"),
        ({"waiting": 90, "oldest": 7200}, "WAL reaches the archive", "error", "oldest for 2 h"),
        ({"connections": 170}, "connections are left", "warn", "sql1 has 170 of 197"),
        ({"connections": 195}, "connections are left", "error", "sql1 has 195 of 197"),
        ({"corrupt": 3}, "no data page is damaged", "error", "sql1 has read 3"),
        ({"age": 500_000_000}, "old rows are frozen in time", "warn", "500000000 transactions"),
        ({"age": 1_600_000_000}, "old rows are frozen in time", "error", "1600000000"),
        ({"watchdog": "idle"}, "the leader's watchdog is armed", "warn", "does not use"),
        ({"dropped": 900}, "the archive of WAL has no gap", "error", "sql1 has given up WAL"),
        (
            {"installed": {"Patroni": "4.1.1"}},
            "sql1 runs the installed Patroni",
            "warn",
            "it runs 4.1.0, installed is 4.1.1",
        ),
    ],
)
def test_what_is_wrong_with_a_server_is_named(cluster, change, title, level, words):
    found = told(cluster, sql1=change)
    assert found[title][0] == level
    assert words in found[title][1]


@pytest.mark.parametrize(
    "harmless",
    [
        {"waiting": 2, "oldest": 20},
        {"waiting": 300, "oldest": 200},
        {"connections": 150},
        {"age": 250_000_000},
        {"watchdog": "armed"},
        {"dropped": 1},
        {"runs": {}, "connections": None, "corrupt": None, "age": None},
    ],
)
def test_no_false_alarm(cluster, harmless):
    levels = {title: level for title, (level, _) in told(cluster, sql1=harmless).items()}
    assert set(levels.values()) == {"ok"}, levels


def test_the_archive_of_a_replica_is_not_asked_for(cluster):
    found = told(cluster, sql3={"archiving": None, "waiting": 99, "oldest": 9999})
    assert found["WAL reaches the archive"] == ("ok", "")


def test_rows_with_one_copy_are_told(cluster, hosts_yaml):
    alone = member("sql1", synchronous="sql1")
    known = facts(cluster, sql1=alone, sql2=member("sql2"), sql3=member("sql3"))
    level, sentence = findings(cluster, known)["acknowledged rows have two copies"]
    assert level == "warn"
    assert sentence.startswith("acknowledged rows have one copy")
    strict = CONTENTS.load(
        hosts_yaml(
            "synchronous_mode: true ", "synchronous_mode: true\n  synchronous_mode_strict: true "
        )
    )
    level, sentence = findings(strict, known)["acknowledged rows have two copies"]
    assert level == "error"
    assert "commits wait" in sentence


@pytest.mark.parametrize(
    ("text", "level", "words"),
    [
        ("inactive", "error", "does not run"),
        ('{"health":"true"}\n{"health":"true"}\n', "ok", ""),
        ('{"health":"true","reason":""}\n\n', "ok", ""),
        ("\n\n", "error", "no quorum"),
        ('{"health":"false","reason":"RAFT NO LEADER"}\n{"health":"true"}', "error", "no quorum"),
        (
            '{"health":"false","reason":"ALARM NOSPACE"}\n{"health":"false"}',
            "error",
            "ALARM NOSPACE",
        ),
    ],
)
def test_what_etcd_says_of_its_health(text, level, words):
    verdict = check.etcd_answers(Answer(text))
    assert verdict.level == level
    assert words in verdict.sentence


# Backups


@pytest.mark.parametrize(
    ("calendars", "days"),
    [
        (["Sun 01:30"], 7),
        (["Sun 01:30", "Mon..Sat 01:30"], 1),
        (["Mon,Wed,Fri 02:00"], 3),
        (["Sat..Mon 02:00:00"], 5),
        (["*-*-* 03:00"], 1),
        (["03:00"], 1),
        (["daily"], 1),
        (["weekly"], 7),
        (["Sunday 01:30 Asia/Tehran"], 7),
        (["*-*-01 03:00"], None),
        (["Sun 01:30", "hourly"], None),
    ],
)
def test_the_longest_time_between_two_backups(calendars, days):
    assert check_backups.longest_gap(*calendars) == (days and days * DAY)


def repository(**ages: int) -> Repository:
    """A repository whose backups of these types ended so many seconds ago."""
    now = 10**9
    return Repository(
        now, [Backup(type, type, now - age, now - age, 3, False) for type, age in ages.items()]
    )


@pytest.mark.parametrize(
    ("known", "title", "level", "words"),
    [
        (repository(full=6 * DAY, diff=20 * HOUR), "the database is backed up", "ok", "20 hours"),
        (repository(full=7 * DAY, diff=5 * HOUR), "the database is backed up", "ok", "5 hours"),
        (
            repository(full=5 * DAY, diff=31 * HOUR),
            "the database is backed up",
            "warn",
            "due every",
        ),
        (repository(full=5 * DAY, diff=3 * DAY), "the database is backed up", "error", "3 d old"),
        (repository(full=8 * DAY, diff=5 * HOUR), "full backups are", "warn", "8 d old"),
        (repository(full=20 * DAY, diff=5 * HOUR), "full backups are", "error", "20 d old"),
        (repository(), "the database is backed up", "error", "no backup yet"),
        (
            Repository(1000, [Backup("F", "full", 1, 900, 3, True)]),
            "the database is backed up",
            "error",
            "no backup yet",
        ),
        (None, "the database is backed up", "error", "does not answer"),
    ],
)
def test_a_missing_or_late_backup_is_told(cluster, known, title, level, words):
    answers = Facts({BACKUPS: {"nfs2": known} if known else {}})
    found = list(check_backups.backed_up(cluster, answers))
    [finding] = [one for one in found if one.title.startswith(title)]
    assert finding.verdict.level == level
    assert words in finding.verdict.sentence
    if level == "ok":
        assert len(found) == 1


# Test restores and copies of etcd


def with_figures(**changes) -> Facts:
    known = {"sql1": figures(**changes), "sql2": figures()}
    return Facts({FIGURES: known, BACKUPS: {"nfs2": repository(full=HOUR)}})


@pytest.mark.parametrize(
    ("verified", "level", "words"),
    [
        (None, "ok", "none was made yet: fab postgres.backup-verify"),
        ((True, 10**9 - 2 * DAY), "ok", "2 d ago"),
        ((True, 10**9 - 40 * DAY), "warn", "40 d ago"),
        ((False, 10**9 - 60), "error", "the last one failed, 1 min ago"),
    ],
)
def test_the_last_test_restore_is_told(verified, level, words):
    [finding] = check_backups.verified(with_figures(verified=verified))
    assert (finding.verdict.level, finding.verdict.sentence) == (level, words)


def test_the_result_of_a_test_restore_is_read():
    text = "waiting 0 0\nverified {} 1700000000 35 1200\nsnapshot 1700000001\nwatchdog none\n"
    assert parse(text.format("ok")).verified == (True, 1700000000)
    assert parse(text.format("failed")).verified == (False, 1700000000)
    assert parse(text.format("ok")).snapshot == 1700000001


def test_a_member_of_etcd_that_is_not_copied_is_told():
    assert list(check_backups.snapshots(with_figures(snapshot=10**9 - DAY))) == []
    assert list(check_backups.snapshots(with_figures())) == []
    [finding] = check_backups.snapshots(with_figures(snapshot=10**9 - 3 * DAY))
    assert finding.verdict.level == "warn"
    assert "sql1" in finding.verdict.sentence
