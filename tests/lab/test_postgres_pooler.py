"""PgBouncer between HAProxy and PostgreSQL: turned on, used, and turned off under load."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from support.controller import Controller
from support.database import ADDRESSES, SQL, Database
from support.entry_points import VIP, WRITE, calm
from support.limits import BY_ITSELF, HANDED_OVER
from support.outsiders import KINDS, PKI, own_authority, serial, signed, write

from tools.exposure import LOW, rated

STATE = "database"
pytestmark = pytest.mark.long
WAITS = True

READ = f"{VIP}:5001"
CLIENTS = """import psycopg2, sys
held = [psycopg2.connect("") for _ in range(int(sys.argv[1]))]
for connection in held:
    connection.autocommit = True
    connection.cursor().execute("select 1")
print("connected", flush=True)
sys.stdin.read()
for connection in held:
    connection.cursor().execute("select 1")"""
"""Clients that connect, do nothing, and still work when their input ends."""

STALE = """import psycopg2, sys
held = [psycopg2.connect("") for _ in range(int(sys.argv[1]))]
for connection in held:
    connection.autocommit = True
    connection.cursor().execute("select 1")
print("connected", flush=True)
sys.stdin.read()
for connection in held:
    try:
        connection.cursor().execute("select 1")
        sys.exit("this session goes on")
    except psycopg2.OperationalError:
        pass"""
"""Clients that expect to be disconnected before their input ends."""

LONG = """import psycopg2, sys, threading
held = [psycopg2.connect("") for _ in range(int(sys.argv[1]))]
for connection in held[:-1]:
    connection.cursor().execute("select 1")
waits = lambda: held[-1].cursor().execute("select 1")
threading.Thread(target=waits, daemon=True).start()
print("connected", flush=True)
sys.stdin.read()"""
"""Clients in transactions that do not end, and one more, which wants a connection, too."""


@pytest.fixture(scope="module")
def proxies(database, postgres) -> Controller:
    """HAProxy leads to PostgreSQL itself."""
    for section in ("tls", "haproxy"):
        answer = postgres(section)
        assert answer.code == 0, answer.text
    calm(postgres)
    return postgres


@pytest.fixture(scope="module")
def with_pooler(with_client, tmp_path_factory):
    """with_pooler(pool_size=25) -> the environment of a run with PgBouncer, and this."""
    folder = tmp_path_factory.mktemp("pooler")

    def write(**more: object) -> dict[str, str]:
        override = folder / f"override-{more.get('pool_size', '')}.yaml"
        data = yaml.safe_load(Path(with_client["RUNBOOK_OVERRIDE"]).read_text())
        data["postgres"] |= {"pooler": True, **more}
        override.write_text(yaml.safe_dump(data))
        return {"RUNBOOK_OVERRIDE": str(override)}

    return write


@pytest.fixture(scope="module")
def turned_on(proxies, with_pooler, database) -> tuple[Controller, list]:
    """fab with PgBouncer, and what two clients met while it was turned on."""
    pooled = proxies.given(**with_pooler())
    with (
        database.writing(through=WRITE) as lasting,
        database.writing(through=WRITE, anew=True) as fresh,
    ):
        early = pooled("haproxy.configure")
        for task in ("postgres", "haproxy.configure"):
            answer = pooled(task)
            assert answer.code == 0, answer.text
    assert early.code == 1
    assert "PgBouncer does not answer there" in early.text
    return pooled, [lasting, fresh]


@pytest.fixture(scope="module")
def pooled(turned_on) -> Controller:
    return turned_on[0]


@pytest.fixture
def well_again(database):
    return lambda: database.wait_until_healthy(180)


@contextmanager
def clients(database: Database, program: str, number: int) -> Iterator[None]:
    """As many clients of the VIP, until this ends."""
    running = subprocess.Popen(
        database.lab.inside([sys.executable, "-c", program, str(number)]),
        env=database.environment(WRITE),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert running.stdout.readline() == "connected\n"
        yield
    finally:
        running.communicate(timeout=60)
    assert running.returncode == 0


def console(on, host: str, question: str) -> list[dict[str, str]]:
    """The answer of a server's PgBouncer."""
    answer = on(
        host,
        "runuser -u pgbouncer -- psql -X -q --csv -h /run/pgbouncer -p 6432 pgbouncer "
        f"-c '{question}'",
    )
    names, *rows = (line.split(",") for line in answer.splitlines())
    return [dict(zip(names, row)) for row in rows]


def served(database: Database, through: str, query: str, **environment: str) -> str:
    """What a client of the VIP is told."""
    done = subprocess.run(
        database.lab.inside(["psql", "-X", "-w", "-q", "-A", "-t", "-c", query]),
        env={"PATH": "/usr/bin:/bin", **database.environment(through), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return (done.stdout + done.stderr).strip()


def test_it_is_turned_on_while_clients_write(turned_on, database, on):
    assert [outcome.errors for outcome in turned_on[1]] == [[], []]
    assert [outcome.lost for outcome in turned_on[1]] == [0, 0]
    leader = database.leader()
    with clients(database, CLIENTS, 3):
        users = [row for row in console(on, leader, "show clients") if row["user"] == "airflow"]
    assert len(users) >= 3
    assert {row["addr"] for row in users} <= {"192.168.83.129", "192.168.83.154"}


def test_second_run_changes_nothing_and_the_check_is_silent(pooled, database):
    with database.writing(through=WRITE) as outcome:
        answer = pooled("postgres", "haproxy")
    assert answer.code == 0, answer.text
    assert answer.steps("changed", "failed") == set()
    assert outcome.errors == []
    calm(pooled)
    pooled.settled("postgres")


def test_many_clients_share_few_connections(pooled, database, on):
    leader = database.leader()
    count = "select count(*) from pg_stat_activity where usename in ('airflow', 'pgbouncer')"
    size = int(console(on, leader, "show databases")[0]["pool_size"])
    with clients(database, CLIENTS, 100):
        assert int(database.psql(count)) <= size + 5 < 50
        pools = {row["user"]: row for row in console(on, leader, "show pools")}
        assert int(pools["airflow"]["cl_active"]) >= 100


def test_reads_reach_a_replica_and_writes_the_leader(pooled, database):
    recovering = "select pg_is_in_recovery()"
    assert served(database, WRITE, recovering) == "f"
    assert served(database, READ, recovering) == "t"


def test_nobody_else_gets_in(pooled, database, on):
    leader = database.leader()
    assert "authentication failed" in served(database, WRITE, "select 1", PGPASSWORD="wrong")
    assert "login rejected" in served(database, WRITE, "select 1", PGUSER="postgres")
    assert "login rejected" in served(database, WRITE, "select 1", PGDATABASE="postgres")
    other = next(name for name in SQL if name != leader)
    port = f"timeout 3 bash -c '</dev/tcp/{ADDRESSES[leader]}/6432' 2>/dev/null"
    assert on(other, f"{port} && echo open || echo closed") == "closed"
    local = "psql -X -w -h 127.0.0.1 -p 6432 -U airflow airflow -c 'select 1' 2>&1 || :"
    assert "login rejected" in on(leader, local)
    admin = "runuser -u postgres -- psql -X -h /run/pgbouncer -p 6432 pgbouncer -U pgbouncer"
    assert on(leader, f"{admin} -c 'show pools' >/dev/null 2>&1 && echo in || echo out") == "out"


@pytest.fixture
def verified(lab, tmp_path) -> dict[str, str]:
    """libpq's environment for a client that verifies the server by the cluster's CA."""
    file = tmp_path / "ca.crt"
    file.write_text("".join(own_authority(lab).trusted))
    return {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": str(file)}


def test_clients_are_served_over_tls_only_and_verify_it_through_the_vip(
    pooled, database, on, verified
):
    assert "SSL required" in served(database, WRITE, "select 1", PGSSLMODE="disable")
    for through in (WRITE, READ, "192.168.83.129:5000"):
        assert served(database, through, "select 1", **verified) == "1"
    leader = database.leader()
    with clients(database, CLIENTS, 3):
        users = [row for row in console(on, leader, "show clients") if row["user"] == "airflow"]
    assert {row["tls"].partition(".")[0] for row in users} == {"TLSv1"}
    for host in SQL:
        key = on(host, f"stat -c '%a %U %G' {PKI}/pgbouncer.key")
        assert key == "640 root pgbouncer"
    said = pooled("tls.check")
    assert ("cluster", "PgBouncer speaks TLS") in said.steps("ok"), said.text
    titles = {title for _, title in said.steps("ok")}
    assert {f"certificate of pgbouncer on {host}: valid for 397 days" for host in SQL} <= titles


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_certificate_is_refused_by_clients_and_replaced(
    pooled, database, lab, on, verified, kind
):
    leader = database.leader()
    write(lab, leader, f"{PKI}/pgbouncer.crt", signed(lab, kind, leader, "pgbouncer"))
    on(leader, "systemctl reload pgbouncer")
    said = served(database, WRITE, "select 1", **verified)
    assert "certificate" in said, said
    answer = pooled("postgres.certificates")
    assert answer.code == 0, answer.text
    assert (leader, f"file {PKI}/pgbouncer.crt") in answer.steps("changed")
    assert served(database, WRITE, "select 1", **verified) == "1"


def test_certificates_are_renewed_while_clients_write(pooled, database, lab, on, report):
    pid = "systemctl show -p MainPID --value pgbouncer"
    running = [on(host, pid) for host in SQL]
    postgres = "-starttls postgres"
    before = [serial(lab, host, 6432, postgres) for host in SQL]
    assert "" not in before
    with (
        database.writing(through=WRITE) as lasting,
        database.writing(through=WRITE, anew=True) as fresh,
    ):
        answer = pooled("tls.renew")
        assert answer.code == 0, answer.text
    report(f"new certificates, through PgBouncer: {lasting}; a client that connects anew: {fresh}")
    assert lasting.errors == []
    assert fresh.lost == 0
    assert fresh.pause <= 5
    assert not set(before) & {serial(lab, host, 6432, postgres) for host in SQL}
    assert [on(host, pid) for host in SQL] == running
    pooled.settled("tls")


@pytest.mark.long
def test_to_clear_and_back_while_clients_write(pooled, database, verified, on, report):
    pid = "systemctl show -p MainPID --value pgbouncer"
    running = [on(host, pid) for host in SQL]
    for to, refused in (("clear", "does not support SSL"), ("tls", "SSL required")):
        with (
            database.writing(through=WRITE) as lasting,
            database.writing(through=WRITE, anew=True) as fresh,
        ):
            answer = pooled("--yes", "tls.switch", "--to", to)
        assert answer.code == 0, answer.text
        report(f"to {to} with PgBouncer: {lasting}; a client that connects anew: {fresh}")
        assert lasting.lost == fresh.lost == 0
        assert max(lasting.pause, fresh.pause) <= HANDED_OVER
        wrong = verified if to == "clear" else {"PGSSLMODE": "disable"}
        assert refused in served(database, WRITE, "select 1", **wrong)
        assert served(database, WRITE, "select 1") == "1"
        for section in ("tls", "postgres", "haproxy"):
            again = pooled(section)
            assert again.code == 0, again.text
            assert again.steps("changed") == set()
    assert [on(host, pid) for host in SQL] == running
    calm(pooled)
    pooled.settled("postgres")
    pooled.settled("tls")


def test_pgbouncer_has_no_password_and_may_look_up_one_login(pooled, database, lab, on):
    state = Path(lab.environment()["RUNBOOK_STATE"])
    secrets = yaml.safe_load((state / "secrets.yaml").read_text())
    for host in SQL:
        shown = on(host, "cat /etc/pgbouncer/*; journalctl -u pgbouncer -b --no-pager -o cat")
        assert not [name for name, secret in secrets.items() if secret in shown]
        assert on(host, "stat -c '%a %U %G' /etc/pgbouncer/pgbouncer.ini") == "640 root pgbouncer"
    may = "select has_function_privilege('{}', 'pgbouncer.verifier(text)', 'execute')"
    assert database.psql(may.format("pgbouncer")) == "t"
    assert database.psql(may.format("airflow")) == "f"
    assert database.psql("select verifier from pgbouncer.verifier('postgres')") == ""
    assert database.psql("select rolpassword is null from pg_authid where rolname='pgbouncer'")
    assert database.psql("select rolsuper from pg_roles where rolname = 'pgbouncer'") == "f"


def test_its_unit_may_do_little(pooled, on):
    answer = on("sql1", "systemd-analyze security --no-pager pgbouncer.service | grep Overall")
    assert rated(answer)["pgbouncer.service"] <= LOW


def test_a_switchover_takes_clients_to_the_new_leader(pooled, database, report):
    before = database.leader()
    with (
        database.writing(through=WRITE) as lasting,
        database.writing(through=WRITE, anew=True) as fresh,
    ):
        answer = pooled("postgres.switchover")
        assert answer.code == 0, answer.text
    report(f"switchover through PgBouncer: {lasting}; a client that connects anew: {fresh}")
    assert database.leader() != before
    assert lasting.lost == fresh.lost == 0
    assert max(lasting.pause, fresh.pause) <= HANDED_OVER
    pooled.settled("postgres")


def test_a_former_process_of_haproxy_keeps_no_client_at_a_former_leader(
    pooled, with_pooler, database, tmp_path
):
    """It asks no server any more, so it does not end their sessions."""
    reloaded = tmp_path / "override.yaml"
    data = yaml.safe_load(Path(with_pooler()["RUNBOOK_OVERRIDE"]).read_text())
    reloaded.write_text(yaml.safe_dump({**data, "haproxy": {"idle": "13h"}}))
    with clients(database, STALE, 3):
        answer = pooled("haproxy.configure", RUNBOOK_OVERRIDE=str(reloaded))
        assert ("airflow", "reload haproxy.service") in answer.steps("changed"), answer.text
        assert pooled("postgres.switchover").code == 0
        database.wait_until_healthy()
        time.sleep(2)
    assert pooled("haproxy.configure").code == 0


def test_power_loss_of_the_leader(pooled, database, healed, lab, report):
    leader = database.leader()
    with database.writing(through=WRITE) as outcome:
        healed(leader, "power-loss")
        database.wait_for_leader_other_than(leader)
        time.sleep(3)
        lab.heal(leader)
        database.wait_until_healthy(180)
    report(f"power loss of the leader, through PgBouncer: {outcome}")
    assert outcome.lost == 0
    assert outcome.pause <= BY_ITSELF


def test_a_pgbouncer_that_is_killed_is_back_at_once(pooled, database, on, report):
    leader = database.leader()
    with database.writing(through=WRITE) as outcome:
        on(leader, "systemctl kill -s KILL pgbouncer")
        time.sleep(5)
    report(f"PgBouncer is killed: {outcome}")
    assert outcome.pause <= 5
    assert outcome.lost == 0


def test_a_change_of_the_pool_is_taken_up_without_a_restart(pooled, with_pooler, database, on):
    pid = "systemctl show -p MainPID --value pgbouncer"
    before = [on(host, pid) for host in SQL]
    with database.writing(through=WRITE) as outcome:
        answer = pooled("postgres.pooler", **with_pooler(pool_size=5))
    assert answer.code == 0, answer.text
    assert outcome.errors == []
    assert [on(host, pid) for host in SQL] == before
    assert {console(on, host, "show databases")[0]["pool_size"] for host in SQL} == {"5"}


def test_a_client_that_waits_and_a_pooler_that_is_down_are_told(pooled, with_pooler, database, on):
    small = with_pooler(pool_size=5)
    assert pooled("postgres.pooler", **small).code == 0
    with clients(database, LONG, 6):
        time.sleep(7)
        said = pooled("postgres.check", **small)
    leader = database.leader()
    assert f"the pool of {leader} has connections left" in str(said.steps("warn", "error"))
    assert "1 wait" in said.text
    on("sql3", "systemctl stop pgbouncer")
    try:
        said = pooled("postgres.check")
        assert said.code == 1
        assert ("cluster", "PgBouncer on sql3 answers: it does not run") in said.steps("error")
    finally:
        assert pooled("postgres.pooler").code == 0
    pooled.settled("postgres")


def test_new_passwords_while_a_client_writes(pooled, database):
    with database.writing(through=WRITE) as outcome:
        answer = pooled("--yes", "postgres.rotate")
        assert answer.code == 0, answer.text
    assert outcome.errors == []
    database.psql("alter role airflow password 'of-a-test'")
    try:
        assert "authentication failed" in served(database, WRITE, "select 1")
        assert served(database, WRITE, "select 1", PGPASSWORD="of-a-test") == "1"
    finally:
        assert pooled("postgres.database").code == 0
    assert served(database, WRITE, "select 1") == "1"


def test_it_is_turned_off_while_clients_write(pooled, proxies, database, on):
    with (
        database.writing(through=WRITE) as lasting,
        database.writing(through=WRITE, anew=True) as fresh,
    ):
        time.sleep(2)
        for task in ("postgres", "haproxy.configure", "postgres.pooler"):
            answer = proxies(task)
            assert answer.code == 0, answer.text
        used = on(database.leader(), "systemctl is-active pgbouncer || :")
    assert used == "active"
    assert lasting.errors == fresh.errors == []
    assert proxies("postgres.pooler").code == 0
    for host in SQL:
        assert on(host, "systemctl is-active pgbouncer || :") == "inactive"
    assert served(database, WRITE, "select 1") == "1"
    calm(proxies)
    proxies.settled("postgres")
