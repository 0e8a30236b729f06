"""Another major version of the database, in real binaries, and the way back from each point."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from support import postgresql17
from support.bad_days import figure
from support.controller import Controller
from support.database import DATABASE, SQL, Database

STATE = "database"
HOSTS = DATABASE
ROWS = 50_000
MAJOR = ("--yes", "postgres.upgrade", "--major", "--i-know")
BACK = ("--yes", "postgres.upgrade", "--major", "--back")
RECORD = "/var/lib/airflow-runbook/postgres-major"

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def wanting(lab, postgres, with_client, tmp_path_factory):
    """wanting("17") -> fab with that version in hosts.yaml; repositories have both."""
    sources = postgresql17.offer(lab, tmp_path_factory.mktemp("seventeen"))

    def given(major: str, parameters: dict[str, object] | None = None) -> Controller:
        data = yaml.safe_load(Path(with_client["RUNBOOK_OVERRIDE"]).read_text())
        data["versions"]["postgresql"] = major
        data["sources"]["pgdg"]["common"] = sources["common"]
        if major == "17":
            data["sources"]["pgdg"]["postgresql"] = sources["postgresql"]
        if parameters:
            data["postgres"]["parameters"] = parameters
        override = tmp_path_factory.mktemp("wanting") / "override.yaml"
        override.write_text(yaml.safe_dump(data))
        return postgres.given(RUNBOOK_OVERRIDE=str(override))

    return given


@pytest.fixture(scope="module")
def seventeen(wanting) -> Controller:
    return wanting("17")


@pytest.fixture(scope="module")
def fifteen(wanting) -> Controller:
    return wanting("15")


@pytest.fixture(scope="module")
def rows(database) -> Database:
    """The database, with a large table."""
    database.psql(
        "create table things as select n, md5(n::text) as text "
        f"from generate_series(1, {ROWS}) n; alter table things add primary key (n)"
    )
    return database


def digest(database: Database) -> str:
    """All that is in the large table."""
    return database.psql("select count(*), md5(string_agg(text, ',' order by n)) from things")


def major(database: Database) -> set[str]:
    """What all servers run."""
    return {database.psql("show server_version", host).split(".")[0] for host in SQL}


def whole(fab: Controller, database: Database, version: str) -> None:
    """All run this version, over TLS; a second run changes nothing, and nothing is wrong."""
    database.wait_until_healthy()
    assert major(database) == {version}
    assert {database.psql("show ssl", host) for host in SQL} == {"on"}
    rules = "select distinct type from pg_hba_file_rules where address not in ('127.0.0.1', '::1')"
    assert {database.psql(rules, host) for host in SQL} == {"hostssl"}
    encrypted = "select count(*) from pg_stat_replication join pg_stat_ssl using (pid) where ssl"
    assert database.psql(encrypted) == "2"
    again = fab("postgres")
    assert again.code == 0, again.text
    assert again.steps("changed") == set()
    fab.settled("postgres")


@contextmanager
def failing(lab, host: str, program: str, when: str) -> Iterator[None]:
    """A program fails when it is called with these words."""
    script = f'#!/bin/bash\n[[ $* != *{when}* ]] || exit 1\nexec {program}.real "$@"\n'
    done = lab.root_shell(
        host,
        f"mv {program} {program}.real && cat >{program} <<'END'\n{script}END\nchmod 755 {program}",
    )
    assert done.returncode == 0, done.stderr
    try:
        yield
    finally:
        lab.root_shell(host, f"mv -f {program}.real {program}")


class Gap:
    """How long no server accepts writes, at most."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.seconds = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Gap:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(timeout=30)

    def _watch(self) -> None:
        last = time.monotonic()
        while not self._ended.wait(0.2):
            if self.database.leader():
                self.seconds = max(self.seconds, time.monotonic() - last)
                last = time.monotonic()


# What forbids it


def test_the_section_does_not_change_the_version_and_names_the_task_that_does(seventeen, rows):
    answer = seventeen("postgres")
    assert answer.code == 1
    assert "To upgrade: fab postgres.upgrade --major. Otherwise set" in answer.text
    assert major(rows) == {"15"}


def test_airflow_is_not_tested_with_it(seventeen):
    answer = seventeen("--yes", "postgres.upgrade", "--major")
    assert answer.code == 2
    assert "Airflow 2.9.0 is tested with PostgreSQL 12 to 16, not with 17" in answer.text


def test_a_pgbackrest_that_does_not_know_it_is_told(seventeen, fifteen, rows, on):
    answer = seventeen(*MAJOR)
    assert answer.code == 1
    assert "This pgBackRest does not know the new version" in answer.text
    answer = fifteen("--yes", "postgres", "postgres.upgrade")
    assert answer.code == 0, answer.text
    assert on("nfs2", "rpm -q --qf '%{VERSION}' pgbackrest").startswith("2.5")
    whole(fifteen, rows, "15")


def test_a_parameter_that_is_gone_is_told(wanting, rows):
    answer = wanting("17", {"old_snapshot_threshold": -1})(*MAJOR)
    assert answer.code == 1
    assert "The new version has no parameter old_snapshot_threshold" in answer.text


def test_clients_stop_it_before_anything_stops(seventeen, rows, on):
    leader = rows.leader()
    with rows.writing() as outcome:
        answer = seventeen(*MAJOR)
    assert answer.code == 1
    assert "To stop Airflow: fab systemd.stop" in answer.text
    assert "airflow@" in answer.text
    assert outcome.lost == 0
    assert outcome.pause < 3
    assert rows.leader() == leader
    assert not any(on(host, f"ls {RECORD} 2>/dev/null || :") for host in SQL)


def test_the_plan_changes_nothing(seventeen, rows, on):
    before = on("sql1", "find /var/lib/pgsql -maxdepth 2; ls /etc/yum.repos.d; rpm -qa | sort")
    answer = seventeen("--plan", "postgres.upgrade", "--major", "--i-know")
    assert answer.code == 0, answer.text
    assert on("sql1", "find /var/lib/pgsql -maxdepth 2; ls /etc/yum.repos.d; rpm -qa | sort") == (
        before
    )
    assert major(rows) == {"15"}


# The way back before the new version has started


def test_until_the_new_version_starts_nothing_is_lost(lab, seventeen, fifteen, rows, on):
    before, leader = digest(rows), rows.leader()
    with failing(lab, leader, "/usr/bin/etcdctl", "put"):
        answer = seventeen(*MAJOR)
        assert answer.code == 1, answer.text
        assert rows.primaries() == []
        refused = seventeen(*BACK)
        assert refused.code == 2
        assert 'Set versions.postgresql to "15" first' in refused.text
        assert fifteen("postgres").code == 1
    assert on(leader, "ls /var/lib/pgsql/15/data/global/pg_control.old")
    answer = fifteen(*BACK)
    assert answer.code == 0, answer.text
    assert rows.leader() == leader
    assert digest(rows) == before
    with rows.writing() as outcome:
        pass
    assert outcome.lost == 0
    whole(fifteen, rows, "15")
    assert fifteen(*BACK).code == 1


# The upgrade


def test_the_database_is_upgraded(seventeen, rows, report):
    with rows.writing() as outcome:
        pass
    before = digest(rows)
    began = time.monotonic()
    with Gap(rows) as gap:
        answer = seventeen(*MAJOR)
    assert answer.code == 0, answer.text
    without = f"{gap.seconds:.1f} s without writes, 0 of {ROWS} rows lost"
    report(figure("PostgreSQL 15 becomes 17", "`postgres.upgrade --major`", without))
    report(f"postgres.upgrade --major took {time.monotonic() - began:.0f} s in all")
    assert outcome.lost == 0
    assert gap.seconds < 180
    assert digest(rows) == before
    with rows.writing() as outcome:
        pass
    assert outcome.lost == 0
    whole(seventeen, rows, "17")


def test_what_pg_upgrade_leaves_behind_is_done(rows, on):
    outdated = "default_version is distinct from installed_version"
    installed = "pg_available_extensions where installed_version is not null"
    assert rows.psql(f"select count(*) from {installed} and {outdated}") == "0"
    assert rows.psql("select count(*) > 0 from pg_stats where tablename = 'things'") == "t"
    assert rows.psql("show data_checksums") == "on"
    for host in SQL:
        assert on(host, "cat /var/lib/pgsql/15/data/PG_VERSION") == "15"
        assert "delete_old_cluster.sh" not in on(host, "ls /var/lib/pgsql/17")
    dumps = [host for host in SQL if on(host, "ls -d /var/lib/pgsql/before-17-* || :")]
    listed = on(
        dumps[0], "pg_restore --list $(ls /var/lib/pgsql/before-17-*/airflow.dump | tail -1)"
    )
    assert "TABLE DATA public things" in listed


def test_backups_go_on(seventeen, rows, on):
    answer = seventeen("postgres.backup", "--type", "diff")
    assert answer.code == 0, answer.text
    answer = seventeen("postgres.backup-verify")
    assert answer.code == 0, answer.text
    dumped = "$(stat -c %Y /var/lib/pgsql/before-17-*/airflow.dump 2>/dev/null | tail -1)"
    [moment] = filter(
        None, (on(host, f"date -u -d @{dumped} '+%F %T+00' 2>/dev/null || :") for host in SQL)
    )
    refused = seventeen("--yes", "postgres.restore", moment, "--i-know")
    assert refused.code == 1
    assert "is of PostgreSQL 15, and 17 cannot use it" in refused.text
    assert rows.leader()


def test_a_second_upgrade_changes_nothing(seventeen, rows):
    answer = seventeen(*MAJOR)
    assert answer.code == 0, answer.text
    assert answer.steps("changed", "failed") == set()


def test_the_other_servers_take_over_as_before(seventeen, rows):
    leader = rows.leader()
    with rows.writing() as outcome:
        answer = seventeen("postgres.switchover")
    assert answer.code == 0, answer.text
    assert rows.leader() != leader
    assert outcome.lost == 0


# The way back after the new version has written


def test_afterwards_a_replica_has_the_data_from_before(fifteen, rows, on):
    before = digest(rows)
    rows.psql("create table later (n int)")
    refused = fifteen(*BACK)
    assert refused.code == 2
    assert "What was written since PostgreSQL 17 started will be lost" in refused.text
    assert major(rows) == {"17"}
    answer = fifteen(*BACK, "--i-know")
    assert answer.code == 0, answer.text
    assert digest(rows) == before
    assert rows.psql("select to_regclass('later') is null") == "t"
    with rows.writing() as outcome:
        pass
    assert outcome.lost == 0
    for host in SQL:
        assert "data.given-up-" in on(host, "ls /var/lib/pgsql/17")
    whole(fifteen, rows, "15")
    assert fifteen("postgres.backup", "--type", "diff").code == 0


# Interruptions


def test_it_goes_on_after_each_interruption(lab, seventeen, rows, on, report):
    before, leader = digest(rows), rows.leader()
    run = seventeen.start(*MAJOR)
    deadline = time.monotonic() + 300
    masked = "readlink /etc/systemd/system/patroni.service || :"
    while on(leader, masked) != "/dev/null":
        assert time.monotonic() < deadline
        assert run.poll() is None, run.stdout.read()
        time.sleep(0.2)
    run.kill()
    run.wait(timeout=30)
    time.sleep(20)
    with failing(lab, leader, "/usr/pgsql-17/bin/pg_upgrade", "--link"):
        answer = seventeen(*MAJOR)
        assert answer.code == 1, answer.text
    with failing(lab, "nfs2", "/usr/bin/pgbackrest", "stanza-upgrade"):
        answer = seventeen(*MAJOR)
        assert answer.code == 1, answer.text
    assert rows.leader() == leader
    answer = seventeen(*MAJOR)
    assert answer.code == 0, answer.text
    assert digest(rows) == before
    whole(seventeen, rows, "17")
