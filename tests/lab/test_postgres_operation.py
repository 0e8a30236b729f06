"""What people do with the database cluster: settings, updates, passwords, backups, restores."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
import yaml
from support import restarting_package
from support.database import ADDRESSES, DATABASE, SQL
from support.limits import HANDED_OVER

STATE = "database"
HOSTS = DATABASE


@pytest.fixture
def well_again(database):
    return lambda: database.wait_until_healthy(180)


def test_a_setting_that_needs_a_restart(database, postgres, setting, report):
    more = setting("parameters: {max_connections: 260}")
    plan = postgres("--plan", "postgres.settings", **more)
    said = str(plan.data["tasks"])
    assert "max_connections: 260" in said
    assert "max_connections takes effect with a rolling restart: fab postgres.restart" in said
    assert database.psql("show max_connections") == "200"
    applied = postgres("postgres.settings", **more)
    assert applied.code == 0, applied.text
    deadline = time.monotonic() + 30
    while True:
        told = postgres("postgres.check", **more)
        if any("wait for a restart" in title for _, title in told.steps("warn")):
            break
        assert time.monotonic() < deadline, told.text
    assert database.psql("show max_connections") == "200"
    with database.writing() as outcome:
        rolled = postgres("postgres.restart", **more)
    assert rolled.code == 0, rolled.text
    report(f"rolling restart: {outcome}")
    assert [database.psql("show max_connections", host) for host in SQL] == ["260"] * 3
    assert outcome.lost == 0
    assert outcome.pause <= HANDED_OVER
    postgres.given(**more).settled("postgres")
    assert postgres("postgres.restart", **more).steps("changed") == set()


def test_a_setting_that_hosts_yaml_no_longer_has_goes(database, postgres):
    """It follows the test above: there max_connections was 260."""
    answer = postgres("postgres.settings")
    assert answer.code == 0, answer.text
    assert postgres("postgres.restart", "--force").code == 0
    database.wait_until_healthy()
    assert [database.psql("show max_connections", host) for host in SQL] == ["200"] * 3
    postgres.settled("postgres")


@pytest.mark.long
def test_changed_units_restart_one_member_after_the_other(database, postgres, on, report):
    for host in SQL:
        for unit in ("etcd", "patroni"):
            file = f"/etc/systemd/system/{unit}.service.d/{unit}-airflow.conf"
            on(host, f"sed -i '/^RestrictNamespaces=/d' {file}; systemctl daemon-reload")
    planned = postgres("--plan", "postgres.install")
    assert planned.hosts("differs") == set(SQL), planned.text
    with database.writing() as outcome:
        answer = postgres("postgres")
    assert answer.code == 0, answer.text
    report(f"rolling restart of etcd and Patroni: {outcome}")
    restarted = {host for host, title in answer.steps("changed") if title.startswith("patroni.")}
    assert restarted == set(SQL)
    assert outcome.lost == 0
    for host in SQL:
        for unit in ("etcd", "patroni"):
            shown = on(host, f"systemctl show -p MainPID --value {unit}")
            assert on(host, f"grep Seccomp: /proc/{shown}/status").split()[-1] == "2"
    again = postgres("postgres")
    assert again.steps("changed", "failed") == set(), again.text


@pytest.mark.long
def test_an_update_takes_one_member_after_the_other(database, postgres, lab, on, tmp_path, report):
    database.wait_until_healthy()
    restarting_package.offer(lab, SQL, tmp_path)
    update = ("-H", "@postgres", "base.update")
    try:
        leader = database.leader()
        plan = postgres("--plan", *update)
        assert {host for host, _ in plan.steps("differs")} == set(SQL)
        replica = next(name for name in SQL if name != leader)
        on(replica, "systemctl stop patroni")
        refused = postgres.text(*update)
        assert refused.code == 1
        assert "Not started, because the cluster is not healthy" in refused.text
        assert {installed(on, name) for name in SQL} == {"1"}
        on(replica, "systemctl start patroni")
        database.wait_until_healthy()
        with database.writing() as outcome:
            answer = postgres(*update)
        assert answer.code == 0, answer.text
        report(f"an update that restarts Patroni on all members: {outcome}")
        assert {installed(on, name) for name in SQL} == {"2"}
        started = [database.psql("select pg_postmaster_start_time()", name) for name in SQL]
        assert max(zip(started, SQL))[1] == leader, "it hands over, and is restarted last"
        assert outcome.lost == 0
        assert outcome.pause <= HANDED_OVER
        assert postgres(*update).steps("changed") == set()
    finally:
        restarting_package.withdraw(lab, SQL)


def installed(on, host: str) -> str:
    """The version of the package that restarts Patroni."""
    return on(host, f"rpm -q --qf '%{{version}}' {restarting_package.NAME}")


@pytest.mark.long
def test_settings_do_not_change_while_patroni_is_paused(database, postgres, on):
    control = "patronictl -c /etc/patroni/patroni.yml"
    on("sql1", f"{control} pause --wait")
    try:
        answer = postgres("postgres.settings")
        assert answer.code == 1
        assert "Patroni is paused for maintenance" in answer.text
    finally:
        on("sql1", f"{control} resume --wait")
    postgres.settled("postgres")


def test_another_major_version_is_refused_while_there_is_a_cluster(postgres, settings, on):
    configured = "cat /etc/patroni/patroni.yml /etc/yum.repos.d/pgdg-redhat-all.repo | sha256sum"
    before = on("sql1", configured)
    for arguments in (["postgres"], ["--plan", "postgres"], ["-H", "sql3", "postgres.patroni"]):
        answer = postgres(*arguments, **settings("versions", postgresql="16"))
        assert answer.code == 1
        assert "The database cluster runs PostgreSQL 15" in answer.text
        assert "hosts.yaml asks for 16, which cannot use its data" in answer.text
        assert answer.steps("changed", "differs") == set()
    assert on("sql1", configured) == before


def test_a_wrong_password_in_secrets_is_named_and_mended(database, postgres, lab):
    file = Path(lab.environment()["RUNBOOK_STATE"]) / "secrets.yaml"
    kept = file.read_text()
    secrets = yaml.safe_load(kept)
    odd = "a; b%c@d \"e\" 'f' $g `h` \\"
    file.write_text(yaml.safe_dump({**secrets, "postgres_airflow": odd}))
    try:
        told = postgres("postgres.check")
        assert told.code == 1
        named = "the password of role airflow is the one in secrets.yaml"
        assert named in {title for _, title in told.steps("differs")}
        assert odd not in told.text
        mended = postgres("postgres.database")
        assert mended.code == 0, mended.text
        assert {title for _, title in mended.steps("changed")} == {named}
        with database.writing() as outcome:
            pass
        assert outcome.errors == []
        roles = ("postgres_airflow", "postgres_replication", "postgres_superuser")
        wrong = {**secrets, **dict.fromkeys(roles, odd)}
        file.write_text(yaml.safe_dump(wrong))
        with database.writing() as outcome:
            answer = postgres("postgres")
        assert answer.code == 0, answer.text
        assert outcome.errors == []
    finally:
        file.write_text(kept)
        assert postgres("postgres").code == 0
    postgres.settled("postgres")


def test_a_foreign_data_directory_is_refused_and_told(database, postgres, on):
    replica = next(m["name"] for m in database.cluster() if m["role"] == "replica")
    data = "/var/lib/pgsql/15/data"
    on(replica, f"systemctl stop patroni; mv {data} {data}.kept")
    on(replica, f"runuser -u postgres -- /usr/pgsql-15/bin/initdb -D {data} >/dev/null")
    try:
        for mode in ([], ["--plan"]):
            answer = postgres("-H", replica, "postgres.patroni", *mode)
            assert answer.code == 1
            assert f"{data} on {replica} holds the PostgreSQL cluster" in str(answer.data)
            assert "Nothing was changed" in str(answer.data)
        assert on(replica, "systemctl is-active patroni || :") == "inactive"
        assert on(replica, f"cat {data}/PG_VERSION") == "15"
    finally:
        on(replica, f"mv {data} {data}.foreign; mv {data}.kept {data}")
    assert postgres("-H", replica, "postgres.patroni").code == 0
    postgres.settled("postgres")


@pytest.mark.long
def test_a_full_disk_on_a_replica(database, postgres, on):
    replica = next(m["name"] for m in database.cluster() if m["role"] == "replica")
    data = "/var/lib/pgsql/15/data"
    on(
        replica,
        f"systemctl stop patroni; mv {data} {data}.kept; install -d -m 700 -o postgres "
        f"-g postgres {data}; mount -t tmpfs -o size=1200m,mode=700,uid=26,gid=26 tmpfs {data}; "
        f"cp -a {data}.kept/. {data}/; systemctl start patroni",
    )
    try:
        database.wait_until_healthy()
        with database.writing() as outcome:
            on(replica, f"head -c 1500m /dev/zero >{data}/filler || :")
            told = postgres("postgres.check")
            assert told.code == 1
            errors = {title for host, title in told.steps("error") if host == replica}
            assert any("PostgreSQL stops when it is full" in title for title in errors), told.text
            on(replica, f"rm {data}/filler")
            if not database.healthy():
                on(replica, "systemctl restart patroni")
        assert outcome.lost == 0
    finally:
        on(
            replica,
            f"systemctl stop patroni; umount {data}; rmdir {data}; mv {data}.kept {data}; "
            "systemctl start patroni",
        )
    postgres.settled("postgres")


def test_a_crash_in_the_middle_of_patroni_and_a_rerun(database, postgres, fab, on, lab):
    replica = next(m["name"] for m in database.cluster() if m["role"] == "replica")
    data = "/var/lib/pgsql/15/data"
    on(
        replica,
        f"systemctl disable --now patroni; mv {data} {data}.kept; rm /etc/patroni/patroni.yml",
    )
    process = fab.start("-H", replica, "postgres.patroni")
    deadline = time.monotonic() + 60
    while on(replica, f"ls {data} 2>/dev/null || :") == "":
        assert time.monotonic() < deadline
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    lab.fault(replica, "power-loss")
    lab.fault(replica, "power-on")
    deadline = time.monotonic() + 60
    again = postgres("-H", replica, "postgres.patroni")
    while again.code == 3:
        assert time.monotonic() < deadline
        again = postgres("-H", replica, "postgres.patroni")
    assert again.code == 0, again.text
    on(replica, f"rm -r {data}.*")
    postgres.settled("postgres")


@pytest.mark.long
def test_reinit_copies_a_replica_and_refuses_the_leader(database, postgres):
    leader = database.leader()
    replica = next(m["name"] for m in database.cluster() if m["role"] == "replica")
    assert postgres("--yes", "postgres.reinit", leader).code == 2
    unasked = postgres("postgres.reinit", replica)
    assert unasked.code == 2
    assert "Pass --yes" in unasked.text
    answer = postgres("--yes", "postgres.reinit", replica)
    assert answer.code == 0, answer.text
    postgres.settled("postgres")


@pytest.mark.long
def test_a_member_that_lost_its_disk_comes_back(database, postgres, on):
    replica = next(m["name"] for m in database.cluster() if m["role"] == "replica")
    on(
        replica,
        "systemctl stop patroni etcd; mv /var/lib/etcd /root/; mv /var/lib/pgsql/15/data /root/",
    )
    on(replica, "install -d -m 700 -o etcd -g etcd /var/lib/etcd")
    told = postgres("postgres.check")
    assert told.code == 1
    answer = postgres("postgres")
    assert answer.code == 0, answer.text
    on(replica, "rm -r /root/etcd /root/data")
    postgres.settled("postgres")
    assert postgres("postgres").steps("changed") == set()


# Back to a point in time


def test_restore_to_a_point_in_time(database, postgres, on, report):
    database.psql("drop table if exists kept; create table kept (n int)")
    database.psql("insert into kept select generate_series(1, 1000)")
    time.sleep(2)
    moment = database.psql("select now()")
    time.sleep(2)
    database.psql("delete from kept; insert into kept values (0)")
    unasked = postgres("postgres.restore", moment)
    assert unasked.code == 2
    assert "add --i-know" in unasked.text
    began = time.monotonic()
    answer = postgres("--yes", "postgres.restore", moment, "--i-know")
    assert answer.code == 0, answer.text
    report(f"restore to a point in time: {time.monotonic() - began:.0f} s")
    database.wait_until_healthy()
    for host in SQL:
        assert database.psql("select count(*), min(n) from kept", host) == "1000|1"
        assert on(host, "ls -d /var/lib/pgsql/15/data.before-*/PG_VERSION")
    postgres.settled("postgres")
    assert postgres("postgres").steps("changed") == set()
    backups = postgres("postgres.backups").data["tables"]["postgres.backups"]
    assert backups[-1]["type"] == "full"
    with database.writing() as outcome:
        pass
    assert outcome.errors == []


def test_a_backup_by_hand(postgres):
    assert postgres("postgres.backup", "--type", "weekly").code == 2
    answer = postgres("postgres.backup", "--type", "incr")
    assert answer.code == 0, answer.text
    backups = postgres("postgres.backups").data["tables"]["postgres.backups"]
    assert backups[-1]["type"] == "incr"


@pytest.mark.long
def test_wal_that_does_not_reach_the_repository_is_told(database, postgres, on):
    archive = "/var/lib/pgbackrest/archive/airflow-ha"
    on("nfs2", f"chmod 0 {archive}")
    try:
        database.psql("create table if not exists noise (); select pg_switch_wal()")
        deadline = time.monotonic() + 60
        while True:
            told = postgres("postgres.check")
            if any("WAL reaches the archive" in title for _, title in told.steps("error")):
                break
            assert time.monotonic() < deadline, told.text
    finally:
        on("nfs2", f"chmod 750 {archive}")
    deadline = time.monotonic() + 120
    while postgres("postgres.check").steps("error"):
        assert time.monotonic() < deadline


def test_a_backup_server_that_is_stopped_is_named_and_started(postgres, on):
    on("nfs2", "systemctl stop pgbackrest")
    told = postgres("postgres.check")
    assert told.code == 1
    assert ("nfs2", "pgbackrest.service runs and is enabled") in told.steps("differs")
    assert postgres("-H", "nfs2", "postgres").code == 0
    assert postgres("postgres.check").steps("differs") == set()


def test_addresses_are_those_of_hosts_yaml(database):
    assert sorted(m["host"] for m in database.cluster()) == sorted(ADDRESSES.values())
