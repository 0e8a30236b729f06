"""What clients of the entry points meet, also when a server fails."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from support.controller import Controller
from support.database import ADDRESSES, DATABASE, SQL
from support.entry_points import (
    HOLD,
    ON_ONE_HOST,
    PROXIES,
    VIP,
    WRITE,
    calm,
    starts,
    told,
    told_until,
)
from support.limits import BY_ITSELF, HANDED_OVER
from support.trusting import WEB, trusting

from fabfile.shared.tls import FOLDER as PKI
from fabfile.shared.tls import TRUSTED

STATE = "database"
HOSTS = (*DATABASE, *PROXIES, "mq1")
WAITS = True

ALIKE = [pytest.param(kind, marks=pytest.mark.long) for kind in ("freeze", "unplug", "partition")]
"""To the others a server that stands still, or is cut off, is one that lost its power."""


@pytest.fixture(scope="module")
def proxies(database, postgres) -> Controller:
    """The section has been carried out: proxies("haproxy.check", …), with a database behind."""
    answer = postgres("haproxy")
    assert answer.code == 0, answer.text
    calm(postgres)
    return postgres


@pytest.fixture
def well_again(proxies, database):
    def wait() -> None:
        database.wait_until_healthy(180)
        calm(proxies)

    return wait


@pytest.fixture
def holds(lab):
    """holds("airflow") -> whether the VIP is on it."""

    def ask(host: str) -> bool:
        return bool(lab.root_shell(host, f"ip -o -4 addr show to {VIP}").stdout.strip())

    return ask


@pytest.fixture
def takes_over(holds):
    """takes_over("haproxy2") -> after how many seconds the VIP is on it."""

    def wait(host: str, seconds: float = BY_ITSELF) -> float:
        began = time.monotonic()
        while not holds(host):
            assert time.monotonic() - began < seconds, f"{host} does not take the VIP"
            time.sleep(0.1)
        return time.monotonic() - began

    return wait


def test_every_door_leads_where_it_should(proxies):
    fine = told(proxies("haproxy.check"), "ok")
    assert f"[cluster] {ON_ONE_HOST}: airflow" in fine
    for name in (VIP, *PROXIES):
        assert f"[cluster] {name}:5000 leads to the primary" in fine
        assert f"[cluster] {name}:5001 leads to a replica" in fine
    assert "[cluster] redundancy: survives the loss of airflow or haproxy2" in fine


def test_a_table_shows_who_holds_the_vip_and_knows_the_primary(proxies):
    answer = proxies("haproxy.status")
    rows = answer.data["tables"]["haproxy.status"]
    assert [row["holds"] for row in rows] == ["airflow-vip", ""], answer.text
    assert all(row["primary"] in SQL for row in rows)


def test_second_run_changes_nothing_under_load(database, proxies, on):
    before = starts(on)
    with database.writing(through=WRITE) as outcome:
        answer = proxies("haproxy")
    assert answer.code == 0, answer.text
    assert answer.steps("changed", "failed") == set()
    assert outcome.errors == []
    assert starts(on) == before


def test_a_change_is_taken_up_without_an_error(database, proxies, settings, on, report):
    """A new process that took a replica for the primary would show here."""
    before = starts(on)
    with (
        database.writing(through=WRITE) as lasting,
        database.writing(through=WRITE, anew=True) as fresh,
    ):
        for idle in ("12h", "13h"):
            answer = proxies("haproxy.configure", **settings("haproxy", idle=idle))
            assert answer.code == 0, answer.text
            assert ("airflow", "reload haproxy.service") in answer.steps("changed")
        assert proxies("haproxy.configure").code == 0
    report(f"three reloads: {lasting}; a client that connects for each row: {fresh}")
    assert lasting.errors == fresh.errors == []
    assert starts(on) == before


def test_passwords_are_where_only_root_can_read_them(proxies, lab, on):
    state = Path(lab.environment()["RUNBOOK_STATE"])
    secrets = yaml.safe_load((state / "secrets.yaml").read_text())
    ours = [secrets[name] for name in ("haproxy_stats", "vrrp_airflow_vip", "postgres_airflow")]
    assert len(secrets["vrrp_airflow_vip"]) == 8
    shown = proxies("haproxy.check").text + proxies("--plan", "haproxy").text
    shown += (state / "journal.jsonl").read_text()
    for host in PROXIES:
        shown += on(host, "journalctl -b --no-pager -o cat; ps axww -o args")
        shown += on(
            host,
            "find /etc /run /var/lib/haproxy -xdev -type f -perm -o=r -size -64k "
            "-exec cat {} + 2>/dev/null || :",
        )
    for secret in ours:
        assert secret not in shown


def test_the_statistics_page_wants_its_password(proxies, lab):
    state = Path(lab.environment()["RUNBOOK_STATE"])
    password = yaml.safe_load((state / "secrets.yaml").read_text())["haproxy_stats"]

    def code(*options: str) -> str:
        """What the controller gets, which is an operator's machine in the lab."""
        ask = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-m", "5", *options]
        ask += trusting(lab)
        return lab.exec(ask, capture_output=True, text=True).stdout

    assert code(f"https://{VIP}:7000/") == "401"
    assert code("-u", f"admin:{password}", f"https://{VIP}:7000/") == "200"
    assert code(f"http://{VIP}:7000/") == "000"
    # A page of its own, for this server only, has none.
    assert code(f"http://{VIP}:8405/stats") == "000"


# When the server with the VIP fails


@pytest.mark.parametrize("kind", ["power-loss", *ALIKE])
def test_the_other_server_takes_the_vip(
    kind, database, proxies, healed, lab, holds, takes_over, report
):
    with database.writing(through=WRITE) as outcome:
        healed("airflow", kind)
        seconds = takes_over("haproxy2")
        time.sleep(4)
        answer = proxies("haproxy.check")
        assert answer.code in (1, 3)
        assert answer.hosts("unreachable") == {"airflow"}
        assert ("cluster", f"{ON_ONE_HOST}: haproxy2") in answer.steps("ok")
        assert ("cluster", f"{VIP}:5000 leads to the primary") in answer.steps("ok")
        assert "none until airflow is back" in told(answer, "warn")
    with database.writing(through=WRITE) as back:
        lab.heal("airflow")
        takes_over("airflow", 60)
        time.sleep(4)
    assert not holds("haproxy2")
    report(f"{kind} of the VIP's server: VIP after {seconds:.1f} s, {outcome}")
    report(f"  and when it is back: {back}")
    assert outcome.pause <= BY_ITSELF
    assert outcome.lost == back.lost == 0


def seconds_locked(database, client, fault, limit) -> float:
    """How long the lock of a client, which said what backend serves it, outlives the fault."""
    try:
        alive = f"select count(*) from pg_stat_activity where pid = {client.stdout.readline()}"
        assert database.psql(alive) == "1"
        fault()
        began = time.monotonic()
        while database.psql(alive) == "1":
            assert time.monotonic() - began < limit
            time.sleep(1)
        return time.monotonic() - began
    finally:
        client.kill()
        client.wait()


@pytest.mark.long
def test_what_clients_of_a_dead_proxy_have_locked_is_free_again(
    database, proxies, healed, lab, report
):
    """The database hears nothing of their end; without asking it would wait for two hours."""
    client = subprocess.Popen(
        lab.inside([sys.executable, "-c", HOLD]),
        env={**os.environ, **database.environment(WRITE)},
        stdout=subprocess.PIPE,
        text=True,
    )
    locked = seconds_locked(database, client, lambda: healed("airflow", "power-loss"), 40)
    report(f"locks of a dead proxy's client: free after {locked:.0f} s")


@pytest.mark.long
def test_what_a_dead_client_has_locked_is_free_again(database, proxies, healed, lab, report):
    """The proxy lives on, and hears nothing of the end of a client that lost its power."""
    host = next(one["name"] for one in database.cluster() if one["role"] == "replica")
    login = "".join(f"export {one}={value}\n" for one, value in database.environment(WRITE).items())
    locks = "begin; lock table writes; select pg_backend_pid();"
    client = subprocess.Popen(
        lab.host(host).shell("bash"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    client.stdin.write(f"{login}psql -X -q -A -t\n{locks}\n")
    client.stdin.flush()
    locked = seconds_locked(database, client, lambda: healed(host, "power-loss"), 90)
    report(f"locks of a dead client: free after {locked:.0f} s")


@pytest.mark.long
def test_proxies_that_do_not_hear_each_other_are_told(proxies, healed):
    healed("airflow", "cut", peers=["haproxy2"])
    said = told_until(proxies, "airflow and haproxy2 hold it: they do not hear each other")
    assert ON_ONE_HOST in said


# When a program fails


@pytest.mark.long
def test_haproxy_that_is_killed_starts_again(database, proxies, on, report, healed):
    with database.writing(through=WRITE) as outcome:
        on("airflow", "kill -9 $(systemctl show -p MainPID --value haproxy)")
        time.sleep(5)
    report(f"HAProxy killed: {outcome}")
    assert outcome.pause <= HANDED_OVER
    assert outcome.lost == 0
    calm(proxies)


@pytest.mark.long
@pytest.mark.parametrize(
    ("breaking", "mending"),
    [
        pytest.param("systemctl stop haproxy", "", marks=pytest.mark.long),
        ("systemctl kill -s STOP haproxy", "systemctl kill -s CONT haproxy"),
    ],
    ids=["stopped", "hangs"],
)
def test_haproxy_that_does_not_answer_loses_the_vip(
    breaking, mending, database, proxies, on, takes_over, report
):
    with database.writing(through=WRITE) as outcome:
        on("airflow", breaking)
        try:
            seconds = takes_over("haproxy2")
            said = told(proxies("haproxy.check"), "error", "warn")
            assert "[airflow] HAProxy answers: it is down or hangs" in said
            assert "none until airflow is back" in said
        finally:
            on("airflow", mending or ":")
        if not mending:
            mended = proxies("-H", "airflow", "haproxy")
            assert mended.code == 0, mended.text
            assert ("airflow", "haproxy.service runs and is enabled") in mended.steps("changed")
    report(f"{breaking}: VIP after {seconds:.1f} s, {outcome}")
    assert outcome.lost == 0
    calm(proxies)


@pytest.mark.long
def test_keepalived_that_is_stopped_is_told_and_started(proxies, on, takes_over):
    on("haproxy2", "systemctl stop keepalived")
    answer = proxies("haproxy.check")
    assert answer.code == 1
    assert ("haproxy2", "keepalived.service runs and is enabled") in answer.steps("differs")
    assert "none until haproxy2 is back" in told(answer, "warn")
    on("airflow", "systemctl stop keepalived")
    said = told(proxies("haproxy.check"), "error")
    assert f"{ON_ONE_HOST}: no server holds it" in said
    assert "redundancy: none: no server can hold the VIP" in said
    assert proxies("haproxy").code == 0
    calm(proxies)


# What people do


def test_a_configuration_with_an_error_is_told_and_not_taken_up(database, proxies, on, settings):
    before = starts(on)
    on("airflow", "echo 'nonsense' >>/etc/haproxy/haproxy.cfg")
    with database.writing(through=WRITE, anew=True) as outcome:
        said = told(proxies("haproxy.check"), "error", "differs")
        assert "[airflow] its configuration is valid: " in said
        assert "[airflow] file /etc/haproxy/haproxy.cfg" in said
        assert on("airflow", "systemctl reload haproxy 2>/dev/null || echo refused") == "refused"
        assert proxies("haproxy.configure").code == 0
        on("airflow", "echo 'nonsense' >/etc/haproxy/conf.d/more.cfg")
        try:
            refused = proxies("haproxy.configure", **settings("haproxy", idle="12h"))
            assert refused.code == 1
            assert refused.hosts("failed") == {"airflow"}
            assert "more.cfg" in str(refused.data)
            assert "timeout client 24h" in on("airflow", "cat /etc/haproxy/haproxy.cfg")
        finally:
            on("airflow", "rm /etc/haproxy/conf.d/more.cfg")
        assert proxies("haproxy.configure").code == 0
    assert outcome.errors == []
    assert starts(on) == before


@pytest.mark.long
@pytest.mark.parametrize(
    ("edit", "words"),
    [
        ("s,OPTIONS /primary,OPTIONS /replica,", "airflow knows the primary: it sends to sql"),
        ("s,default_backend primary,default_backend replicas,", "the primary: a replica answers"),
    ],
    ids=["takes replicas for primaries", "leads to a replica"],
)
def test_a_write_port_that_leads_astray_is_told(edit, words, proxies, on):
    on("airflow", f"sed -i '{edit}' /etc/haproxy/haproxy.cfg; systemctl reload haproxy")
    said = told_until(proxies, words)
    assert f"{WRITE} leads to the primary: " in said
    assert proxies("haproxy").code == 0
    calm(proxies)


@pytest.mark.long
def test_a_stranger_with_the_address_is_told(proxies, on):
    on("mq1", f"ip addr add {VIP}/32 dev eth0")
    mac = on("mq1", "cat /sys/class/net/eth0/address")
    try:
        said = told(proxies("haproxy.check"), "error")
        assert f"{ON_ONE_HOST}: {mac} answers for it" in said
        assert proxies("haproxy.vip").code == 1
    finally:
        on("mq1", f"ip addr del {VIP}/32 dev eth0")
    calm(proxies)


@pytest.mark.long
def test_the_vip_is_sent_away_and_back(database, proxies, on, holds, takes_over, report):
    assert proxies("haproxy.failover", "--to", "mq1").code == 2
    on("haproxy2", "systemctl stop haproxy")
    refused = proxies("haproxy.failover")
    assert refused.code == 1
    assert "haproxy2 has no HAProxy that answers; airflow-vip was not moved" in refused.text
    assert proxies("haproxy").code == 0
    calm(proxies)
    with database.writing(through=WRITE) as there:
        answer = proxies("haproxy.failover")
        assert answer.code == 0, answer.text
    assert holds("haproxy2")
    assert not holds("airflow")
    said = told(proxies("haproxy.check"), "warn")
    assert "airflow may hold the VIP: only if no other server can" in said
    on("haproxy2", "systemctl stop keepalived")
    takes_over("airflow")
    on("haproxy2", "systemctl start keepalived")
    takes_over("haproxy2", 15)
    with database.writing(through=WRITE) as back:
        answer = proxies("haproxy.failover", "--to", "airflow")
        assert answer.code == 0, answer.text
    report(f"haproxy.failover: {there}; and back: {back}")
    assert there.pause <= HANDED_OVER
    assert back.pause <= HANDED_OVER
    calm(proxies)


# What is behind


@pytest.mark.long
def test_power_loss_of_the_database_s_leader(database, proxies, healed, lab, report, on):
    """The proxies add a moment to what a client meets that asks the servers themselves."""
    database.wait_until_apart()
    leader = database.leader()
    with database.writing(through=WRITE) as outcome, database.writing() as direct:
        healed(leader, "power-loss")
        successor = database.wait_for_leader_other_than(leader)
        time.sleep(3)
        fine = told(proxies("haproxy.check"), "ok")
        assert f"airflow knows the primary: {successor}" in fine
        assert f"{WRITE} leads to the primary" in fine
        lab.heal(leader)
    report(f"power loss of the database's leader: {outcome}; without a proxy: {direct}")
    assert outcome.pause <= direct.pause + HANDED_OVER
    assert outcome.lost == 0
    logged = on("airflow", "journalctl -b -u haproxy -o cat --no-pager")
    assert f"Server primary/{leader} is DOWN" in logged


@pytest.mark.long
def test_switchover_of_the_database(database, proxies, report):
    with database.writing(through=WRITE) as outcome:
        assert proxies("postgres.switchover").code == 0
    report(f"switchover of the database: {outcome}")
    assert outcome.pause <= HANDED_OVER
    assert outcome.lost == 0
    database.wait_until_healthy()
    calm(proxies)


@pytest.mark.long
def test_reads_go_to_the_primary_when_no_replica_is_left(database, proxies, on):
    replicas = [name for name in SQL if name != database.leader()]
    for name in replicas:
        on(name, "systemctl stop patroni")
    try:
        said = told_until(proxies, f"{VIP}:5001 leads to a replica: the primary answers", "warn")
        assert "as there is no replica" in said
    finally:
        for name in replicas:
            on(name, "systemctl start patroni")
    database.wait_until_healthy()
    calm(proxies)


@pytest.mark.long
def test_a_proxy_that_does_not_reach_the_database_is_told(database, proxies, on):
    leader = database.leader()
    gone = [ADDRESSES[leader]]
    for wanted, words in (
        (gone, "airflow knows the primary: it sends to no server, but Patroni says " + leader),
        (
            [address for address in ADDRESSES.values() if address not in gone],
            f"{VIP}:5001 leads to a replica: the primary answers, although there is a replica",
        ),
    ):
        on("airflow", "; ".join(f"ip route add blackhole {address}/32" for address in wanted))
        try:
            said = told_until(proxies, words)
            assert "haproxy2 knows" not in said
            if wanted != gone:
                assert "airflow knows the replicas: it sends to no server" in said
            else:
                assert f"[cluster] {VIP}:5000 leads to the primary: " in said
                assert "[cluster] airflow:5000 leads to the primary: " in said
        finally:
            on("airflow", "; ".join(f"ip route del blackhole {address}/32" for address in wanted))
    calm(proxies)


@pytest.mark.long
def test_a_database_that_cannot_be_asked_is_told(database, proxies, on, healed):
    try:
        for name in SQL:
            on(name, "mv /usr/bin/psql /usr/bin/psql.away")
        said = told(proxies("haproxy.check"), "error")
        assert f"{WRITE} leads to the primary: no database server answered" in said
    finally:
        for name in SQL:
            on(name, "mv /usr/bin/psql.away /usr/bin/psql")
    for name in SQL:
        healed(name, "partition")
    said = told(proxies("haproxy.check"), "error")
    assert "the ports lead to the database: none of its servers answers" in said


WEBSERVER = f"""
import http.server, ssl
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("{PKI}/haproxy.crt", "{PKI}/haproxy.key")
server = http.server.ThreadingHTTPServer(("", 8080), http.server.SimpleHTTPRequestHandler)
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
"""


def test_webservers_are_found_and_missed(proxies, on):
    serve = (
        "install -d /run/web; echo '{}' >/run/web/health\n"
        f"cat >/run/web.py <<'END'{WEBSERVER}END\n"
        "systemd-run -q --unit=web -p WorkingDirectory=/run/web python3 /run/web.py"
    )
    for host in PROXIES:
        on(host, serve)
    try:
        told_until(proxies, "webservers answer: 2 of them", "ok")
        assert on("sql1", f"curl -sf -m 5 --cacert {TRUSTED} {WEB}/health") == "{}"
        on("haproxy2", "systemctl stop web")
        told_until(proxies, "webservers answer: haproxy2 does not answer airflow")
        assert on("sql1", f"curl -sf -m 5 --cacert {TRUSTED} {WEB}/health") == "{}"
    finally:
        for host in PROXIES:
            on(host, "systemctl stop web || :")
    calm(proxies)
