"""etcd and Patroni over TLS: who is refused, new certificates, another CA, to clear and back."""

from __future__ import annotations

import time

import pytest
from support.controller import Controller
from support.database import ADDRESSES, ETCDCTL, SQL
from support.entry_points import PROXIES, WRITE, calm, told, told_until
from support.limits import HANDED_OVER
from support.outsiders import KINDS, PKI, own_authority, serial, signed, write

from fabfile.shared import authority

STATE = "database"
WAITS = True

PORTS = (2379, 2380, 8008)
AS_PATRONI = f"--cert {PKI}/patroni.crt --key {PKI}/patroni.key"


@pytest.fixture(scope="module")
def fabric(database, postgres) -> Controller:
    """The database, and HAProxy before it, have been carried out."""
    answer = postgres("tls", "haproxy")
    assert answer.code == 0, answer.text
    calm(postgres)
    return postgres


@pytest.fixture
def running(on):
    """Since when the programs that must not restart run."""

    def since(*units: str) -> list[str]:
        return [
            on(host, f"systemctl show -p ActiveEnterTimestampMonotonic {unit}")
            for host in SQL
            for unit in units
        ]

    return since


def test_a_new_cluster_speaks_tls_and_is_well(fabric):
    answer = fabric("tls.check")
    assert answer.code == 0, answer.text
    assert answer.steps("warn", "error") == set()
    assert ("cluster", "etcd and Patroni speak TLS") in answer.steps("ok")
    assert ("cluster", "certificate of etcd on sql1: valid for 397 days") in answer.steps("ok")
    listed = fabric.text("tls.status").text
    assert listed.count("airflow-runbook CA") == 3 * len(SQL) + len(PROXIES)
    assert "192.168.83.148" in listed


def test_a_second_run_changes_nothing(fabric):
    for section in ("tls", "postgres", "haproxy"):
        assert fabric(section).steps("changed") == set()


def test_private_keys_stay_where_they_are_and_can_be_read_by_their_service_only(on):
    for host in SQL:
        listed = on(host, f"stat -c '%n %a %U %G' {PKI}/*.key").splitlines()
        assert listed == [
            f"{PKI}/etcd.key 640 root etcd",
            f"{PKI}/patroni.key 640 root postgres",
            f"{PKI}/postgresql.key 640 root postgres",
        ]


@pytest.mark.parametrize("port", PORTS)
def test_nobody_is_let_in_in_clear(fabric, on, lab, port):
    for path in ("health", "version", "patroni", "v3/cluster/member/list"):
        asked = f"curl -s -m 5 http://{ADDRESSES['sql1']}:{port}/{path}"
        done = lab.root_shell("sql2", asked)
        assert done.returncode != 0
        assert done.stdout == ""


def answers(lab, options: str, port: int, path: str) -> bool:
    """Whether a port of sql1 answers a client of sql2 that shows this. Peers speak HTTP 1."""
    url = f"https://{ADDRESSES['sql1']}:{port}/{path}"
    asked = f"curl --http1.1 -sf -m 5 -o /dev/null --cacert {PKI}/ca.crt {options} {url}"
    return lab.root_shell("sql2", asked).returncode == 0


def test_who_shows_no_certificate_may_only_ask_patroni(fabric, lab):
    assert not answers(lab, "", 2379, "health")
    assert not answers(lab, "", 2380, "version")
    assert answers(lab, "", 8008, "patroni")
    assert not answers(lab, "-X POST", 8008, "reload")
    assert answers(lab, f"--cert {PKI}/etcd.crt --key {PKI}/etcd.key", 2379, "health")


@pytest.mark.parametrize("kind", KINDS[:2])
def test_a_client_with_a_wrong_certificate_is_refused(fabric, lab, kind):
    write(lab, "sql2", "/root/wrong.crt", signed(lab, kind, "sql2", "patroni"))
    shown = f"--cert /root/wrong.crt --key {PKI}/patroni.key"
    for port, path in ((2379, "health"), (2380, "version"), (8008, "patroni")):
        assert answers(lab, AS_PATRONI, 2379, "health")
        assert not answers(lab, shown, port, path), (kind, port)


def test_a_member_at_another_address_than_its_certificates_is_no_peer(fabric, lab):
    write(lab, "sql2", "/root/wrong.crt", signed(lab, "of another server", "sql2", "etcd"))
    assert answers(lab, f"--cert {PKI}/etcd.crt --key {PKI}/etcd.key", 2380, "version")
    assert not answers(lab, f"--cert /root/wrong.crt --key {PKI}/etcd.key", 2380, "version")


@pytest.mark.parametrize(
    "kind", [KINDS[0], *(pytest.param(kind, marks=pytest.mark.long) for kind in KINDS[1:])]
)
def test_a_server_with_a_wrong_certificate_is_refused(fabric, database, lab, on, kind):
    """By etcdctl, by whoever asks Patroni, and by HAProxy; the next run replaces it."""
    database.wait_until_healthy()
    server = next(m["name"] for m in database.cluster() if m["role"] == "replica")
    client = database.leader()
    for service in ("etcd", "patroni"):
        write(lab, server, f"{PKI}/{service}.crt", signed(lab, kind, server, service))
    on(server, "systemctl reload patroni")
    there = f"--endpoints=https://{ADDRESSES[server]}:2379 --command-timeout=3s"
    files = f"--cacert={PKI}/ca.crt --cert={PKI}/etcd.crt --key={PKI}/etcd.key"
    assert lab.root_shell(client, f"etcdctl {files} {there} endpoint health").returncode != 0
    [other] = {*SQL} - {server, client}
    told_until(fabric, f"airflow knows the replicas: {other}\n", "ok", 60)
    asked = f"curl -s -m 5 --cacert {PKI}/ca.crt https://{ADDRESSES[server]}:8008/patroni"
    assert lab.root_shell("airflow", asked).returncode == 60
    reason = {
        "foreign": "it was signed by CN=foreign CA",
        "expired": "it has expired",
        "of another server": "its names are not those of hosts.yaml",
    }[kind]
    assert f"certificate of patroni on {server}: {reason}" in told(fabric("tls.check"), "error")
    answer = fabric("postgres.certificates")
    assert answer.code == 0, answer.text
    assert answer.steps("changed") >= {
        (server, f"file {PKI}/{service}.crt") for service in ("etcd", "patroni")
    }
    calm(fabric)
    fabric.settled("tls")
    fabric.settled("postgres")


def test_certificates_are_renewed_without_an_outage(fabric, database, lab, running, report):
    before = {(host, port): serial(lab, host, port) for host in SQL for port in (2379, 8008)}
    since = running("etcd", "patroni")
    with database.writing(through=WRITE) as outcome:
        answer = fabric("tls.renew")
        time.sleep(7)
    assert answer.code == 0, answer.text
    report(f"new certificates: {outcome}")
    assert outcome.lost == 0
    assert outcome.pause < 3
    assert running("etcd", "patroni") == since
    for (host, port), old in before.items():
        assert serial(lab, host, port) not in ("", old), (host, port)
    calm(fabric)


def test_a_key_that_was_seen_is_replaced(fabric, on):
    old = on("sql2", f"cat {PKI}/etcd.crt")
    on("sql2", f"rm {PKI}/etcd.key")
    answer = fabric("-H", "sql2", "postgres.keys", "postgres.certificates")
    assert answer.code == 0, answer.text
    assert on("sql2", f"cat {PKI}/etcd.crt") != old
    on("sql1", f"{ETCDCTL} endpoint health")
    fabric.settled("postgres")


@pytest.mark.long
def test_to_clear_while_a_client_writes(fabric, database, lab, report):
    with database.writing(through=WRITE) as outcome:
        answer = fabric("--yes", "tls.switch", "--to", "clear")
    assert answer.code == 0, answer.text
    report(f"from TLS to clear: {outcome}")
    assert outcome.lost == 0
    assert outcome.pause <= HANDED_OVER
    calm(fabric)
    fabric.settled("postgres")
    for path, port in (("health", 2379), ("version", 2380), ("patroni", 8008)):
        asked = f"curl -sf -m 5 http://{ADDRESSES['sql1']}:{port}/{path}"
        assert lab.root_shell("sql2", asked).returncode == 0, port


@pytest.mark.long
def test_a_cluster_in_clear_stays_so(fabric):
    """As after an update of this project: hosts.yaml says TLS, and nothing changes by itself."""
    assert fabric("--yes", "tls.switch", "--to", "clear").steps("changed") == set()
    for section in ("postgres", "haproxy"):
        answer = fabric(section)
        assert answer.code == 0, answer.text
        assert answer.steps("changed") == set()
    said = told(fabric("tls.check"), "warn")
    assert "etcd and Patroni speak TLS: in clear: etcd on sql1, Patroni on sql1" in said


@pytest.mark.long
def test_to_tls_while_a_client_writes(fabric, database, lab, report):
    with database.writing(through=WRITE) as outcome:
        answer = fabric("--yes", "tls.switch")
    assert answer.code == 0, answer.text
    report(f"from clear to TLS: {outcome}")
    assert outcome.lost == 0
    assert outcome.pause <= HANDED_OVER
    calm(fabric)
    fabric.settled("postgres")
    fabric.settled("tls")
    for port in PORTS:
        asked = f"curl -s -m 5 http://{ADDRESSES['sql1']}:{port}/"
        assert lab.root_shell("sql2", asked).returncode != 0, port
    assert fabric("--yes", "tls.switch").steps("changed") == set()
    for section in ("tls", "postgres", "haproxy"):
        assert fabric(section).steps("changed") == set()


@pytest.mark.long
def test_another_ca_while_a_client_writes(fabric, database, lab, on, report):
    old = own_authority(lab)
    with database.writing(through=WRITE) as outcome:
        answer = fabric("--yes", "tls.rotate-ca")
    assert answer.code == 0, answer.text
    report(f"another CA: {outcome}")
    assert outcome.lost == 0
    assert outcome.pause <= HANDED_OVER
    new = own_authority(lab)
    assert new.name != old.name
    for host in SQL:
        assert authority.names_of(on(host, f"cat {PKI}/ca.crt")) == [new.name]
        assert new.issued(on(host, f"cat {PKI}/etcd.crt"))
    calm(fabric)
    fabric.settled("tls")
    fabric.settled("postgres")
    for section in ("tls", "postgres", "haproxy"):
        assert fabric(section).steps("changed") == set()
