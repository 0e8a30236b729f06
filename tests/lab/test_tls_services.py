"""PostgreSQL, RabbitMQ and HAProxy over TLS: who is refused, to clear and back under load."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml
from support.controller import Controller
from support.database import ADDRESSES, SQL
from support.entry_points import VIP, WRITE, calm, told
from support.limits import HANDED_OVER
from support.messages import ADDRESSES as NODES
from support.outsiders import AGO, KINDS, PKI, own_authority, write
from support.trusting import trusting

from fabfile.shared import authority
from fabfile.shared.authority import Subject

STATE = "queue"
WAITS = True

pytestmark = pytest.mark.long

SECTIONS = ("tls", "postgres", "rabbitmq", "haproxy")


@pytest.fixture(scope="module")
def fabric(database, postgres) -> Controller:
    """Database and queue, and HAProxy before them, have been carried out."""
    answer = postgres("tls", "rabbitmq", "haproxy")
    assert answer.code == 0, answer.text
    calm(postgres)
    return postgres


def code(lab, host: str, command: str) -> int:
    return lab.root_shell(host, command).returncode


def test_a_new_cluster_speaks_tls(fabric):
    answer = fabric("tls.check")
    assert answer.code == 0, answer.text
    for title in ("PostgreSQL speaks TLS", "RabbitMQ speaks TLS", "HAProxy speaks TLS"):
        assert ("cluster", title) in answer.steps("ok")
    for section in SECTIONS:
        assert fabric(section).steps("changed") == set()


def knocks(lab, port: int) -> bool:
    """Whether mq1 takes a connection from a server of Airflow, which the firewall lets in."""
    return code(lab, "airflow", f"timeout 3 bash -c '</dev/tcp/{NODES['mq1']}/{port}'") == 0


def test_the_queue_listens_with_tls_only(fabric, lab):
    assert knocks(lab, 5671)
    assert not knocks(lab, 5672)


def test_consoles_do_not_answer_in_clear(fabric, lab, on):
    """Neither to an operator, such as the controller, whom the firewall lets in."""

    def answer(url: str) -> str:
        ask = ["curl", "-s", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", *trusting(lab)]
        return lab.exec([*ask, url], capture_output=True).stdout

    assert answer(f"https://{NODES['mq1']}:15671/api/overview") == "401"
    assert answer(f"http://{NODES['mq1']}:15672/api/overview") == "000"
    assert answer(f"https://{VIP}:7000/") == "401"
    assert answer(f"http://{VIP}:7000/") == "000"
    here = "curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:15672/api/overview"
    assert on("mq1", here) == "401"


def session(host: str, options: str) -> str:
    """A command: a session of the role airflow, whose password the server of the database has."""
    return (
        f"psql -w -Atqc 'select ssl from pg_stat_ssl where pid = pg_backend_pid()' "
        f"'host={host} dbname=airflow user=airflow connect_timeout=5 {options}'"
    )


@pytest.fixture
def logged_in(lab):
    """Run such a command on sql2, with the password of the role airflow."""
    kept = Path(lab.environment()["RUNBOOK_STATE"], "secrets.yaml")
    password = yaml.safe_load(kept.read_text())["postgres_airflow"]
    return lambda command: lab.root_shell("sql2", f"PGPASSWORD='{password}' {command}")


def test_postgresql_takes_no_session_in_clear_and_is_verified_through_the_vip(fabric, logged_in):
    verified = f"sslmode=verify-full sslrootcert={PKI}/ca.crt"
    for host, port in ((ADDRESSES["sql1"], 5432), (VIP, 5000), ("sql1", 5432)):
        refused = logged_in(session(host, f"port={port} sslmode=disable"))
        assert refused.returncode != 0
        assert "no pg_hba.conf entry" in refused.stderr
        done = logged_in(session(host, f"port={port} {verified}"))
        assert (done.returncode, done.stdout.strip()) == (0, "t"), done.stderr


def test_replicas_verify_the_leader(fabric, database, on):
    asked = 'runuser -u postgres -- psql -XAtqc "select count(*) from pg_stat_replication r'
    asked += ' join pg_stat_ssl s using (pid) where s.ssl"'
    assert on(database.leader(), asked) == "2"
    for host in SQL:
        if host != database.leader():
            told = on(host, "runuser -u postgres -- psql -XAtqc 'show primary_conninfo'")
            assert "sslmode=verify-full" in told


def wrong(lab, kind: str, host: str, service: str) -> str:
    """A certificate of this kind for the key of a service."""
    asked = f"openssl req -new -sha256 -key {PKI}/{service}.key -subj /CN=x"
    key = authority.requested_key(lab.root_shell(host, asked).stdout)
    now, signer, days = time.time(), own_authority(lab), 397
    names, addresses = {host, "rabbitmq", "localhost"}, {lab.host(host).address, VIP, "127.0.0.1"}
    if kind == "foreign":
        signer = authority.authority_of(authority.new("foreign CA", now), "")
    elif kind == "expired":
        now, days = now - AGO, 5
    else:
        names, addresses = {"card1"}, {"192.168.83.131"}
    subject = Subject(service, frozenset(names), frozenset(addresses))
    return signer.sign(key, subject, days, now)


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_certificate_of_the_database_is_refused(fabric, database, lab, logged_in, kind):
    leader = database.leader()
    write(lab, leader, f"{PKI}/postgresql.crt", wrong(lab, kind, leader, "postgresql"))
    lab.root_shell(leader, "systemctl reload patroni; sleep 7")
    try:
        done = logged_in(session(VIP, f"port=5000 sslmode=verify-full sslrootcert={PKI}/ca.crt"))
        assert done.returncode != 0
        assert "certificate" in done.stderr
        assert f"certificate of postgresql on {leader}" in told(fabric("tls.check"), "error")
    finally:
        answer = fabric("postgres.certificates")
    assert answer.steps("changed") >= {(leader, f"file {PKI}/postgresql.crt")}
    fabric.settled("postgres")


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_certificate_of_the_queue_is_refused(fabric, lab, kind):
    asked = (
        f"openssl s_client -connect {NODES['mq2']}:5671 -CAfile {PKI}/ca.crt -verify_return_error "
        "-verify_hostname rabbitmq </dev/null"
    )
    assert code(lab, "worker1", asked) == 0
    write(lab, "mq2", f"{PKI}/rabbitmq.crt", wrong(lab, kind, "mq2", "rabbitmq"))
    # From mq1, as the command line tools of mq2 have the wrong certificate, too.
    lab.root_shell("mq1", "rabbitmqctl -q -n rabbit@mq2 eval 'ssl:clear_pem_cache().'")
    try:
        assert code(lab, "worker1", asked) != 0
        assert "certificate of rabbitmq on mq2" in told(fabric("tls.check"), "error")
    finally:
        answer = fabric("rabbitmq.certificates")
    assert ("mq2", f"file {PKI}/rabbitmq.crt") in answer.steps("changed")
    assert code(lab, "worker1", asked) == 0


def test_browsers_are_sent_from_the_port_in_clear_to_the_other(fabric, lab):
    ask = ["curl", "-s", "-m", "5", "-o", "/dev/null", "-w", "%{http_code} %{redirect_url}"]
    done = lab.exec([*ask, f"http://{VIP}:8081/dags/x?a=b"], capture_output=True)
    assert done.stdout == f"307 https://{VIP}/dags/x?a=b"
    done = lab.exec([*ask, *trusting(lab), f"https://{VIP}/"], capture_output=True)
    assert done.stdout.startswith("503")  # verified; there is no webserver yet


def test_nobody_speaks_less_than_tls_1_2(fabric, lab):
    places = {
        "sql1": ("sql2", "5432 -starttls postgres"),
        "mq1": ("worker1", "5671"),
        "airflow": ("worker1", "443"),
    }
    for host, (client, place) in places.items():
        asked = f"openssl s_client -connect {lab.host(host).address}:{place} {{}} </dev/null"
        assert code(lab, client, asked.format("-tls1_2")) == 0, host
        assert code(lab, client, asked.format("-tls1_1 -cipher ALL:@SECLEVEL=0")) != 0, host


@pytest.mark.parametrize("to", ["clear", "tls"])
def test_the_switch_loses_no_row_and_no_message(fabric, database, queue, lab, report, to):
    with database.writing(through=WRITE) as rows, queue.talking() as messages:
        answer = fabric("--yes", "tls.switch", "--to", to)
        time.sleep(5)
    assert answer.code == 0, answer.text
    report(f"to {to}: {rows}; {messages}")
    assert (rows.lost, messages.lost) == (0, 0)
    assert max(rows.pause, messages.pause) <= HANDED_OVER
    for section in ("postgres", "rabbitmq"):
        fabric.settled(section)
    calm(fabric)
    assert knocks(lab, 5672) == (to == "clear")
    assert knocks(lab, 5671) == (to == "tls")
    assert fabric("--yes", "tls.switch", "--to", to).steps("changed") == set()
    for section in SECTIONS:
        assert fabric(section).steps("changed") == set()


def test_certificates_are_renewed_while_all_work(fabric, database, queue, report):
    with database.writing(through=WRITE) as rows, queue.talking() as messages:
        answer = fabric("tls.renew")
        time.sleep(7)
    assert answer.code == 0, answer.text
    report(f"new certificates: {rows}; {messages}")
    assert (rows.lost, messages.lost) == (0, 0)
    assert max(rows.pause, messages.pause) < 3
