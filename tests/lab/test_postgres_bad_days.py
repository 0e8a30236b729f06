"""Bad days of the database: what the checks say when something is really broken."""

from __future__ import annotations

import time

import pytest
from support.bad_days import DATA, told
from support.database import DATABASE
from support.limits import HANDED_OVER

STATE = "database"
HOSTS = DATABASE
WAITS = True

pytestmark = pytest.mark.long

SCRIPTS = "/usr/libexec/postgres-ha"


@pytest.fixture
def well_again(database):
    return lambda: database.wait_until_healthy(180)


def test_a_healthy_database_gives_no_alarm(database, postgres):
    postgres.settled("postgres")
    answer = postgres("postgres.check")
    assert not answer.steps("warn", "error", "unknown", "differs")
    fine = {title for _, title in answer.steps("ok")}
    for title in (
        "WAL reaches the archive",
        "connections are left",
        "no data page is damaged",
        "old rows are frozen in time",
        "what runs is what is installed",
        "acknowledged rows have two copies",
    ):
        assert title in fine
    assert any(title.startswith("the leader's watchdog is armed: ") for title in fine)


def test_an_archiver_that_hangs(database, postgres, on):
    leader = database.leader()
    hangs = "printf '#!/bin/bash\\necho $$ >/tmp/archiver.pid\\nexec sleep 3600\\n'"
    on(leader, f"mv {SCRIPTS}/pgbackrest-wal{{,.kept}}; {hangs} >{SCRIPTS}/pgbackrest-wal")
    on(leader, f"chmod 755 {SCRIPTS}/pgbackrest-wal; rm -f /tmp/archiver.pid")
    waiting = f"{DATA}/pg_wal/archive_status -name '*.ready'"
    try:
        database.psql("create table if not exists noise (); select pg_switch_wal()")
        deadline = time.monotonic() + 60
        while on(leader, f"[[ -e /tmp/archiver.pid ]] && find {waiting} || :") == "":
            assert time.monotonic() < deadline
            time.sleep(1)
        on(leader, f"find {waiting} -exec touch -d '10 minutes ago' {{}} +")
        told(postgres, "warn", "the oldest for 10 min")
        on(leader, f"find {waiting} -exec touch -d '40 minutes ago' {{}} +")
        told(postgres, "error", "the oldest for 40 min")
    finally:
        on(leader, f"mv {SCRIPTS}/pgbackrest-wal{{.kept,}}; kill $(cat /tmp/archiver.pid) || :")
    told(postgres, "ok", "WAL reaches the archive")


def test_what_psql_cannot_say_is_unknown(database, postgres, on):
    leader = database.leader()
    on(leader, "chmod 0 /usr/pgsql-15/bin/psql")
    try:
        told(postgres, "unknown", "WAL reaches the archive: the leader's PostgreSQL does not")
    finally:
        on(leader, "chmod 755 /usr/pgsql-15/bin/psql")
    postgres.settled("postgres")


def test_connections_that_run_out(database, postgres, on):
    replica = next(m["name"] for m in database.cluster() if m["role"] == "replica")
    program = (
        "import psycopg2, time; kept = [psycopg2.connect('host=/run/postgresql dbname=postgres') "
        "for _ in range(%d)]; time.sleep(300)"
    )
    for number, level in ((165, "warn"), (192, "error")):
        on(replica, f'systemd-run -q --unit=crowd --uid=postgres python3 -c "{program % number}"')
        try:
            told(postgres, level, f"{replica} has {number // 10}")
        finally:
            on(replica, "systemctl stop crowd")
    postgres.settled("postgres")


def test_an_old_transaction_that_keeps_rows_from_being_frozen(database, postgres, on, setting):
    early = setting("parameters: {autovacuum_freeze_max_age: 100000, autovacuum_naptime: 1s}")
    assert postgres("postgres.settings", **early).code == 0
    assert postgres("postgres.restart", **early).code == 0
    leader = database.leader()
    old = "psql -X -q -c begin -c 'select txid_current()' -c 'select pg_sleep(900)'"
    on(leader, f"systemd-run -q --unit=old-transaction --uid=postgres {old}")
    on(
        leader,
        "runuser -u postgres -- psql -X -q <<'SQL'\nset synchronous_commit = off;\n"
        "do $$ begin for n in 1..210000 loop perform txid_current(); commit; end loop; end $$;\n"
        "SQL",
    )
    try:
        told(postgres.given(**early), "warn", "vacuum should act at 100000")
    finally:
        ends = "select pg_terminate_backend(pid) from pg_stat_activity where query ~ 'sleep.900'"
        database.psql(f"{ends} and pid <> pg_backend_pid()", leader)
    told(postgres.given(**early), "ok", "old rows are frozen in time", 120)
    assert postgres("postgres.settings").code == 0
    assert postgres("postgres.restart").code == 0
    postgres.settled("postgres")


def test_a_damaged_page_on_a_replica(database, postgres, on):
    replica = next(m["name"] for m in database.cluster() if m["role"] == "replica")
    database.psql("create table if not exists pages as select generate_series(1, 5000) n")
    database.psql("checkpoint")
    path = database.psql("select pg_relation_filepath('pages')")
    database.wait_until_healthy()
    time.sleep(2)
    on(replica, f"systemctl stop patroni; ls -l {DATA}/{path}")
    on(replica, f"printf damaged | dd of={DATA}/{path} bs=1 seek=5000 conv=notrunc status=none")
    on(replica, "systemctl start patroni")
    database.wait_until_healthy()
    query = "select count(*) from pages"
    on(replica, f"! runuser -u postgres -- psql -qAt -d airflow -c '{query}' 2>/dev/null")
    told(postgres, "error", f"{replica} has read")
    answer = postgres("--yes", "postgres.reinit", replica)
    assert answer.code == 0, answer.text
    assert database.psql(query, replica) == "5000"
    postgres.settled("postgres")


def test_rows_with_one_copy(database, postgres, on):
    leader = database.leader()
    others = [m["name"] for m in database.cluster() if m["name"] != leader]
    with database.writing() as outcome:
        for name in others:
            on(name, "systemctl stop patroni")
        told(postgres, "warn", "acknowledged rows have one copy: no standby is synchronous")
        for name in others:
            on(name, "systemctl start patroni")
        database.wait_until_healthy()
    assert outcome.lost == 0
    postgres.settled("postgres")


def test_a_watchdog_that_nobody_uses(database, postgres, on):
    leader = database.leader()
    on(leader, "touch /dev/watchdog")
    try:
        told(postgres, "warn", f"Patroni on {leader} does not use /dev/watchdog")
    finally:
        on(leader, "rm /dev/watchdog")
    postgres.settled("postgres")


def test_etcd_that_has_no_quorum_is_told_on_each_member(database, postgres, on):
    others = [m["name"] for m in database.cluster() if m["role"] != "leader"]
    for name in others:
        on(name, "systemctl stop etcd")
    try:
        answer = told(postgres, "error", "etcd runs, but has no quorum, or cannot reach it")
        assert any("1 of 3 answer" in title for _, title in answer.steps("error"))
        for name in others:
            down = "etcd's disk and network keep up: etcd does not run here"
            assert (name, down) in answer.steps("error")
    finally:
        for name in others:
            on(name, "systemctl start --no-block etcd")
    postgres.settled("postgres")


def test_wal_that_is_given_up_and_the_backup_that_closes_the_gap(database, postgres, on):
    leader = database.leader()
    kept = on(leader, f"cat {SCRIPTS}/wal-queue")
    on(leader, f"echo 2 >{SCRIPTS}/wal-queue")
    on("nfs2", "systemctl stop pgbackrest")
    try:
        with database.writing() as outcome:
            deadline = time.monotonic() + 240
            while on(leader, "ls /var/lib/pgsql/wal-dropped 2>/dev/null || :") == "":
                assert time.monotonic() < deadline
                database.psql("create table if not exists noise (); select pg_switch_wal()")
                time.sleep(2)
        assert outcome.pause <= HANDED_OVER
        assert outcome.lost == 0
        told(postgres, "error", f"{leader} has given up WAL that the repository did not take")
    finally:
        on("nfs2", "systemctl start pgbackrest")
        on(leader, f"echo {kept} >{SCRIPTS}/wal-queue")
    told(postgres, "ok", "WAL reaches the archive", 150)
    answer = postgres("postgres.backup", "--type", "full")
    assert answer.code == 0, answer.text
    postgres.settled("postgres")


def test_one_dead_member_does_not_keep_the_others_from_what_can_be_done(
    database, postgres, healed, lab, on
):
    replica = next(m["name"] for m in database.cluster() if m["role"] == "replica")
    trusted = on("nfs2", "cat /etc/pgbackrest/tls/peers.crt")
    healed(replica, "power-loss")
    answer = postgres("postgres")
    assert answer.code == 3, answer.text
    assert answer.steps("failed", "refused") == set()
    done = answer.data["tasks"]
    assert done["postgres.backup-repository"]["hosts"]["nfs2"]["status"] == "ok"
    assert done["postgres.settings"]["hosts"][database.leader()]["status"] == "ok"
    assert on("nfs2", "cat /etc/pgbackrest/tls/peers.crt") == trusted
    rest = ",".join(name for name in HOSTS if name != replica)
    named = postgres("-H", rest, "postgres")
    assert named.code == 0, named.text
    assert named.steps("changed") == set()
    lab.heal(replica)
    database.wait_until_healthy(180)
    postgres.settled("postgres")


def test_a_running_copy_survives_reruns(database, postgres, on, report):
    """The copy takes longer than the run that began it."""
    replica = next(m["name"] for m in database.cluster() if m["role"] == "replica")
    database.psql(
        "drop table if exists bulk; "
        "create table bulk as select repeat(md5(n::text), 40) t from generate_series(1, 20000) n"
    )
    slow = "s/^    checkpoint: fast$/&\\n    max-rate: 2M/"
    on(
        replica,
        f"systemctl stop patroni; mv {DATA} {DATA}.kept; "
        f"sed -i '{slow}' /etc/patroni/patroni.yml; systemctl start patroni",
    )
    deadline = time.monotonic() + 60
    while on(replica, "pgrep -x pg_basebackup || :") == "":
        assert time.monotonic() < deadline
        time.sleep(0.2)
    began, pid = time.monotonic(), on(replica, "pgrep -o -x pg_basebackup")
    plan = postgres("--plan", "-H", replica, "postgres.patroni")
    assert (replica, "no copy that was cut off is in the way") not in plan.steps("differs")
    answer = postgres("-H", replica, "postgres.patroni")
    assert answer.code == 0, answer.text
    report(f"the copy went on for {time.monotonic() - began:.0f} s beside the reruns")
    assert on(replica, f"ls -d {DATA}.incomplete-* 2>/dev/null || :") == ""
    assert on(replica, f"kill -0 {pid} 2>/dev/null || echo ended") == "ended"
    on(replica, f"rm -r {DATA}.kept")
    database.psql("drop table bulk")
    postgres.settled("postgres")
