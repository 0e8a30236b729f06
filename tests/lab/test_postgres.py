"""The database cluster, from bare servers to one that a second run leaves as it is."""

from __future__ import annotations

from pathlib import Path

import yaml
from support.database import DATABASE, SQL

from fabfile.postgres import section

STATE = "section one"
HOSTS = DATABASE
WAITS = True


def test_the_packages_come_from_pgdg(postgres, on):
    answer = postgres("-H", "sql1,sql2,sql3", "postgres.install")
    assert answer.code == 0, answer.text
    assert answer.hosts("changed") == set(SQL)
    began = on("sql1", "stat -c %Y /usr/pgsql-15/bin/postgres")
    assert began
    assert on("sql1", "rpm -q --qf '%{release}' postgresql15-server") == "1PGDG.rhel8"
    assert on("sql1", "systemctl is-enabled postgresql-15 || :") == "disabled"
    assert "haproxy" not in on("sql1", "dnf -q list --available --disablerepo=baseos || :")


def test_a_repository_that_is_gone_keeps_no_other_package_away(postgres, with_client, settings, on):
    sources = yaml.safe_load(Path(with_client["RUNBOOK_OVERRIDE"]).read_text())["sources"]
    gone = settings("sources", pgdg={**sources["pgdg"], "extras": "http://$labmirror/gone"})
    try:
        assert postgres("-H", "sql1", "postgres.repo", **gone).code == 0
        assert on("sql1", "dnf -q --refresh repoquery patroni 2>/dev/null").startswith("patroni-")
    finally:
        assert postgres("-H", "sql1", "postgres.repo").code == 0


def test_no_cluster_is_founded_while_a_server_is_away(postgres, lab, on):
    lab.fault("sql3", "power-loss")
    try:
        answer = postgres("postgres")
        assert answer.hosts("unreachable") == {"sql3"}
        named = postgres("-H", "sql1,sql2", "postgres.etcd")
        for refused in (answer, named):
            assert refused.code == 1
            assert "a new etcd cluster is created only when every member can be asked" in (
                refused.text
            )
        assert on("sql1", "systemctl is-active etcd || :") == "inactive"
        assert on("sql1", "ls /var/lib/etcd") == ""
    finally:
        lab.fault("sql3", "power-on")


def test_the_plan_is_what_the_run_does(postgres):
    plan = postgres("--plan", "postgres")
    assert plan.code == 0, plan.text
    assert plan.unknown() == {
        "postgres.certificates",
        "postgres.etcd-members",
        "postgres.backup-network",
        "postgres.settings",
        "postgres.database",
    }
    run = postgres("postgres")
    assert run.code == 0, run.text
    assert plan.changes(but=plan.unknown()) == run.changes(but=plan.unknown())


def test_one_leader_and_two_streaming_replicas(database, postgres):
    database.wait_until_healthy()
    assert len(database.primaries()) == 1
    postgres.settled("postgres")
    rows = postgres("postgres.status").data["tables"]["postgres.status"]
    assert sorted(row["role"] for row in rows) == ["leader", "replica", "sync_standby"]


def test_the_database_is_made_as_it_should_be(database, on):
    assert database.psql("show data_checksums") == "on"
    assert database.psql("show server_encoding") == "UTF8"
    assert database.psql("show password_encryption") == "scram-sha-256"
    owner = "select pg_get_userbyid(datdba) from pg_database where datname = 'airflow'"
    assert database.psql(owner) == "airflow"
    assert on("sql1", "stat -c '%a %U %G' /etc/patroni/patroni.yml") == "640 root postgres"
    assert on("sql1", "stat -c '%a' /var/lib/etcd/airflow-ha.etcd") == "700"


def test_second_run_changes_nothing_under_load(database, postgres):
    started = [database.psql("select pg_postmaster_start_time()", host) for host in SQL]
    with database.writing() as outcome:
        answer = postgres("postgres")
    assert answer.code == 0, answer.text
    assert answer.steps("changed", "failed") == set()
    assert outcome.errors == []
    assert outcome.lost == 0
    assert [database.psql("select pg_postmaster_start_time()", host) for host in SQL] == started


def test_no_password_is_left_where_others_can_read_it(database, postgres, lab, on):
    state = Path(lab.environment()["RUNBOOK_STATE"])
    secrets = yaml.safe_load((state / "secrets.yaml").read_text())
    assert {secret.name for secret in section.secrets} - set(secrets) == {"postgres_backup"}
    shown = postgres("postgres.check").text + postgres("--plan", "postgres").text
    shown += (state / "journal.jsonl").read_text()
    for host in SQL:
        shown += on(host, "journalctl -b --no-pager -o cat; ps axww -o args")
        shown += on(host, "cat /var/lib/pgsql/15/data/log/* /var/log/patroni/* 2>/dev/null || :")
        shown += on(
            host,
            "find /etc /run /var/lib/pgsql -xdev -type f -perm -o=r -size -64k "
            "-exec cat {} + 2>/dev/null || :",
        )
    for secret in secrets.values():
        assert secret not in shown
