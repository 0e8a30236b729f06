"""Bad days of the database: restores while a server reboots, and onto servers that are all new."""

from __future__ import annotations

import time

import pytest
from support.bad_days import DATA, blank, identifier, told
from support.database import DATABASE, SQL

STATE = "database"
HOSTS = DATABASE
WAITS = True

pytestmark = pytest.mark.long


@pytest.fixture
def well_again(database):
    return lambda: database.wait_until_healthy(180)


def masked(on, host: str) -> bool:
    return on(host, "systemctl is-enabled patroni 2>/dev/null || :") == "masked"


def test_a_replica_that_reboots_during_a_restore_does_not_lead_with_old_data(
    database, postgres, on, lab, report
):
    database.wait_until_healthy()
    database.psql("drop table if exists kept; create table kept as select 1 n")
    time.sleep(2)
    moment = database.psql("select now()")
    time.sleep(2)
    database.psql("insert into kept values (2)")
    leader = database.leader()
    replica = next(name for name in SQL if name != leader)
    restoring = postgres.start("--yes", "postgres.restore", moment, "--i-know")
    deadline = time.monotonic() + 120
    while not (masked(on, replica) and masked(on, leader)):
        assert restoring.poll() is None, restoring.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.5)
    lab.fault(replica, "power-loss")
    lab.heal(replica)
    assert masked(on, replica), "a reboot does not start its old data"
    assert database.primaries() in ([], [leader])
    said, _ = restoring.communicate(timeout=600)
    if restoring.returncode:
        assert f"{replica}" in said
        report("the restore ended without the replica that rebooted; fab postgres completed it")
        answer = postgres("postgres")
        assert answer.code == 0, answer.text
    database.wait_until_healthy(180)
    for host in SQL:
        assert database.psql("select string_agg(n::text, ',') from kept", host) == "1"
        assert not masked(on, host)
    postgres.settled("postgres")


def test_all_servers_lost_and_restored_onto_new_ones(database, postgres, on, report):
    database.wait_until_healthy()
    database.psql("drop table if exists kept; create table kept as select generate_series(1, 500)")
    answer = postgres("postgres.backup", "--type", "incr")
    assert answer.code == 0, answer.text
    database.psql("insert into kept select generate_series(501, 900)")
    database.psql("select pg_switch_wal()")
    told(postgres, "ok", "WAL reaches the archive")
    time.sleep(5)
    system = identifier(on, database.leader())
    refused = postgres("--yes", "postgres.restore", "latest", "--i-know", "--onto-new-servers")
    assert refused.code == 1
    assert "has a database. Leave out --onto-new-servers" in refused.text
    for host in SQL:
        blank(on, host)
    empty = postgres("postgres")
    assert empty.code == 1
    assert "keeps backups of the database airflow-ha, but no server has it" in empty.text
    assert "fab postgres.restore latest --onto-new-servers --i-know" in empty.text
    assert on("sql1", f"ls {DATA}/PG_VERSION 2>/dev/null || :") == ""
    began = time.monotonic()
    answer = postgres("--yes", "postgres.restore", "latest", "--i-know", "--onto-new-servers")
    assert answer.code == 0, answer.text
    report(f"all servers lost, restored onto new ones: {time.monotonic() - began:.0f} s")
    database.wait_until_healthy()
    assert [identifier(on, host) for host in SQL] == [system] * 3
    assert [database.psql("select count(*) from kept", host) for host in SQL] == ["900"] * 3
    with database.writing() as outcome:
        pass
    assert outcome.errors == []
    completed = postgres("postgres")
    assert completed.code == 0, completed.text
    postgres.settled("postgres")
    assert postgres("postgres").steps("changed") == set()
