"""The way from clear to TLS and back, on a cluster of values: nobody is ever out of reach."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import astuple, fields

import pytest
from support.certificates import certificate_facts
from support.postgres_facts import SQL, etcd_facts, member
from support.rabbitmq_facts import MQ, nodes

from fabfile import CONTENTS
from fabfile.airflow import transport as airflow
from fabfile.airflow.transport import WAYS, Ways
from fabfile.haproxy import proxy
from fabfile.haproxy.web import DOORS
from fabfile.postgres import transport
from fabfile.postgres.etcd import ETCD, Etcd
from fabfile.postgres.members import MEMBER
from fabfile.postgres.pools import pooled
from fabfile.postgres.transport import TRANSPORT, Transport
from fabfile.rabbitmq.nodes import NODE
from fabfile.rabbitmq.transport import LISTENS
from fabfile.shared import tls
from fabfile.shared.airflow import hosts as airflow_hosts
from fabfile.shared.transport import Speaks
from fabfile.tls import renew, rotate, switch
from fabfile.tls.common import SERVICES, TRUSTS
from runbook.declare.facts import Fact, Facts, hosts_on
from runbook.declare.templates import script
from runbook.declare.work import Asked, Question, Stage
from runbook.errors import RunbookError, UsageError
from runbook.secrets.mask import Mask
from runbook.secrets.vault import Vault

CLEAR, BOTH, TLS = Speaks
PROXIES = ("airflow", "haproxy2")
WAYS_ARE = len(fields(Ways))
WAYS_READ: dict[str, Ways] = {}
READ: dict[tuple[str, ...], Transport] = {}
"""What the script has read in which files."""


class Servers:
    """How all services are set up to speak; stages of a procedure change it."""

    def __init__(self, cluster, speaks: Speaks, folder, certificates=None) -> None:
        self.cluster = cluster
        self.folder = folder
        self.certificates = certificates or certificate_facts(cluster)
        self.etcd = dict.fromkeys(SQL, speaks)
        self.patroni = dict.fromkeys(SQL, speaks)
        self.proxy = dict.fromkeys(PROXIES, speaks)
        self.sessions = dict.fromkeys(SQL, speaks)
        self.pooler = {host.name: speaks for host in pooled(cluster)}
        self.doors = dict.fromkeys(PROXIES, speaks)
        self.queue = dict.fromkeys(MQ, speaks)
        self.airflow = {host.name: Ways(speaks, speaks, speaks) for host in airflow_hosts(cluster)}

    def values(self) -> dict[Fact, dict]:
        states = {name: Etcd(True, one.listed, True) for name, one in self._etcd_facts().items()}
        spoken = (self.etcd, self.patroni, self.sessions, self.pooler)
        return {
            TRANSPORT: {name: Transport(*(one.get(name) for one in spoken)) for name in SQL},
            proxy.ASKS: dict(self.proxy),
            WAYS: dict(self.airflow),
            LISTENS: dict(self.queue),
            DOORS: dict(self.doors),
            NODE: nodes(),
            ETCD: states,
            MEMBER: {name: member(name) for name in SQL},
            **self.certificates,
        }

    def facts(self) -> Facts:
        return Facts(self.values())

    def _etcd_facts(self) -> dict[str, Etcd]:
        return etcd_facts(self.cluster)

    def carry_out(self, part: Stage) -> None:
        for host in part.hosts:
            for step in part.of(host):
                if step.title == "file /etc/etcd/etcd.conf":
                    self.etcd[host.name] = self._read(step.text, "x").etcd
                elif step.title == "file /etc/patroni/patroni.yml":
                    read = self._read("", step.text)
                    self.patroni[host.name], self.sessions[host.name] = read.patroni, read.sessions
                elif step.title == "file /etc/pgbouncer/pgbouncer.ini":
                    self.pooler[host.name] = self._read("", "", step.text).pooler
                elif step.title == "file /etc/haproxy/haproxy.cfg":
                    self.proxy[host.name] = self._asks(step.text)
                    self.doors[host.name] = self._door(step.text)
                elif step.title == "file /etc/rabbitmq/rabbitmq.conf":
                    self.queue[host.name] = self._listens(step.text)
                elif step.title == "file /etc/airflow/airflow.cfg":
                    self.airflow[host.name] = self._ways(step.text)

    def _read(self, *texts: str) -> Transport:
        if texts not in READ:
            READ[texts] = self._read_by_script(*texts)
        return READ[texts]

    def _read_by_script(self, conf: str, yml: str, ini: str = "") -> Transport:
        files = {"conf": conf, "yml": yml, "ini": ini}
        for name, text in files.items():
            (self.folder / name).write_text(text)
        command = transport.words(*(self.folder / name for name in files))
        command = f"systemctl() {{ [[ $* == 'is-enabled -q pgbouncer.service' ]]; }}\n{command}"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
        return transport.parse(done.stdout)

    def _ways(self, text: str) -> Ways:
        if text not in WAYS_READ:
            (self.folder / "cfg").write_text(text)
            command = script("airflow/transport.sh", cfg=self.folder / "cfg")
            done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
            WAYS_READ[text] = airflow.parse(done.stdout)
        return WAYS_READ[text]

    def _listens(self, text: str) -> Speaks:
        if "listeners.tcp = none" in text:
            return TLS
        return BOTH if "listeners.ssl.default" in text else CLEAR

    def _door(self, text: str) -> Speaks:
        if "bind *:7000 ssl" not in text:
            return CLEAR
        return BOTH if ":tls 192.168.83.129:8080" in text else TLS

    def _asks(self, text: str) -> Speaks:
        if ":tls " in text:
            return BOTH
        return TLS if "check-ssl" in text else CLEAR

    def spoken(self) -> list[dict[str, Speaks]]:
        """How each service speaks on each server, and Airflow to the others."""
        database = (self.etcd, self.patroni, self.sessions, self.pooler)
        services = (*database, self.proxy, self.queue, self.doors)
        ways = {name: astuple(one) for name, one in self.airflow.items()}
        to_each = [{name: each[n] for name, each in ways.items()} for n in range(WAYS_ARE)]
        return [*(dict(one) for one in services), *to_each]

    def all_are(self, speaks: Speaks) -> bool:
        return {one for service in self.spoken() for one in service.values()} == {speaks}

    def reach_each_other(self) -> bool:
        """Whether no client is in the dark: a member of etcd, Patroni, or HAProxy."""
        peers = TLS not in self.etcd.values() or min(self.etcd.values()) >= BOTH
        clear = CLEAR not in self.patroni.values() or max(self.etcd.values()) <= BOTH
        over = max(self.patroni.values()) == CLEAR or min(self.etcd.values()) >= BOTH
        talking = TLS not in self.patroni.values() or min(self.patroni.values()) >= BOTH
        over_tls = {one == TLS for one in self.patroni.values()}
        led = all(one == BOTH or over_tls == {one == TLS} for one in self.proxy.values())
        between = peers and clear and over and talking and led
        return between and self.airflow_reaches_all()

    def airflow_reaches_all(self) -> bool:
        """Whether servers of Airflow, and the database's replicas, find what they ask for."""
        sessions = {*self.sessions.values()}
        replicas = TLS not in sessions or CLEAR not in sessions
        ways = self.airflow.values()
        used = {one.database for one in ways}
        database = _served(used, sessions) and _served(used, {*self.pooler.values()})
        queue = _served({one.broker for one in ways}, {*self.queue.values()})
        doors = {*self.doors.values()}
        web = _served({one.web for one in ways}, doors)
        return replicas and database and queue and web


def _served(used: set[Speaks], offered: set[Speaks]) -> bool:
    return not (TLS in used and CLEAR in offered) and not (CLEAR in used and TLS in offered)


@pytest.fixture
def own(cluster, tmp_path):
    """The cluster with a CA, in a vault of its own."""
    return cluster.with_vault(Vault(tmp_path / "secrets.yaml", Mask()))


@pytest.fixture
def with_pooler(hosts_yaml, tmp_path):
    """The same with PgBouncer."""
    cluster = CONTENTS.load(hosts_yaml("pooler: false ", "pooler: true "))
    return cluster.with_vault(Vault(tmp_path / "secrets.yaml", Mask()))


@pytest.fixture(params=["own", "with_pooler"])
def either(request):
    """The cluster without PgBouncer, and with it."""
    return request.getfixturevalue(request.param)


def stages(servers: Servers, to: str) -> Iterator[Stage]:
    values = servers.values()
    parts = switch.switch([], servers.cluster, Facts(values), to=to)
    assert isinstance(next(parts), Question)
    for part in parts:
        if isinstance(part, Asked):
            now = servers.values()
            values.update({fact: now[fact] for fact in part.facts})
        elif isinstance(part, Stage):
            yield part


@pytest.mark.parametrize(("begin", "to", "end"), [(CLEAR, "tls", TLS), (TLS, "clear", CLEAR)])
def test_nobody_is_out_of_reach_on_the_way(either, tmp_path, begin, to, end):
    servers = Servers(either, begin, tmp_path)
    assert servers.reach_each_other()
    for part in stages(servers, to):
        servers.carry_out(part)
        assert servers.reach_each_other(), part.title
    assert servers.all_are(end)


@pytest.mark.parametrize("begin", [CLEAR, TLS])
def test_wherever_it_is_interrupted_both_ways_lead_on(with_pooler, tmp_path, begin):
    to, back = ("tls", "clear") if begin == CLEAR else ("clear", "tls")
    whole = Servers(with_pooler, begin, tmp_path)
    count = sum(1 for part in stages(whole, to) if not whole.carry_out(part))
    for stop in range(count):
        for then in (to, back):
            servers = Servers(with_pooler, begin, tmp_path, whole.certificates)
            for number, part in enumerate(stages(servers, to)):
                if number == stop:
                    break
                servers.carry_out(part)
            for part in stages(servers, then):
                servers.carry_out(part)
                assert servers.reach_each_other(), (stop, then, part.title)
            assert servers.all_are(TLS if then == "tls" else CLEAR), (stop, then)


@pytest.mark.parametrize(("speaks", "to"), [(TLS, "tls"), (CLEAR, "clear")])
def test_a_second_time_it_sets_what_is_set(either, tmp_path, speaks, to):
    servers = Servers(either, speaks, tmp_path)
    for part in stages(servers, to):
        assert "hand over" not in part.title
        assert "in clear and TLS" not in part.title
        before = servers.spoken()
        servers.carry_out(part)
        assert before == servers.spoken()


def test_one_server_after_the_other_and_the_leader_last(own, tmp_path):
    titles = [part.title for part in stages(Servers(own, CLEAR, tmp_path), "tls")]
    assert titles[:2] == ["keys for etcd and Patroni", "certificates"]
    restarts = [title for title in titles if "uses etcd over TLS" in title or "hand over" in title]
    assert restarts == [
        "Patroni on sql3 uses etcd over TLS",
        "Patroni on sql2 uses etcd over TLS",
        "hand over from sql1",
        "Patroni on sql1 uses etcd over TLS",
    ]
    assert titles.index("HAProxy asks Patroni TLS") < titles.index(
        "PostgreSQL on sql2 speaks in clear and TLS"
    )
    services = ("PostgreSQL on", "RabbitMQ on", "Airflow", "HAProxy speaks")
    assert [title for title in titles if title.startswith(services)] == [
        *(f"PostgreSQL on {name} speaks in clear and TLS" for name in ("sql2", "sql3", "sql1")),
        *(f"RabbitMQ on {name} speaks in clear and TLS" for name in MQ),
        "HAProxy speaks in clear and TLS to webservers",
        "Airflow is to reach the others over TLS",
        "HAProxy speaks TLS to webservers",
        *(f"PostgreSQL on {name} speaks TLS" for name in ("sql2", "sql3", "sql1")),
        *(f"RabbitMQ on {name} speaks TLS" for name in MQ),
    ]


def test_etcds_members_know_how_to_reach_one_before_it_changes(own, tmp_path):
    [part] = [
        part
        for part in stages(Servers(own, BOTH, tmp_path), "tls")
        if part.title == "etcd on sql2 speaks TLS"
    ]
    # the members are listed as peers over TLS here; in clear, each is updated before it restarts
    titles = [step.title for step in part.of(part.hosts[0])]
    assert titles == [
        "etcd's members reach sql2 at https://192.168.83.147:2380",
        "file /etc/etcd/etcd.conf",
        "etcd on sql2 is healthy",
    ]
    assert "--endpoints=https://127.0.0.1:2379" in part.of(part.hosts[0])[0].apply


def test_no_interruption_leaves_a_service_that_differs_from_its_file(own, tmp_path):
    """What asks etcd and Patroni reads in the file how; they use it in the same step."""
    uses = {"/etc/etcd/etcd.conf": "restart etcd", "/etc/patroni/patroni.yml": "reload patroni"}
    for begin, to in ((CLEAR, "tls"), (TLS, "clear")):
        for part in stages(Servers(own, begin, tmp_path), to):
            if "etcd on" in part.title or "REST API" in part.title:
                found = [step for host in part.hosts for step in part.of(host)]
                [step] = [step for step in found if step.title[5:] in uses]
                assert step.apply.endswith(f"systemctl {uses[step.title[5:]]}")
                assert step.notify == ()


def test_what_is_not_well_is_not_switched(own, tmp_path):
    servers = Servers(own, CLEAR, tmp_path)
    known = servers.facts()._values
    with pytest.raises(UsageError, match="neither tls nor clear"):
        list(switch.switch([], own, Facts(known), to="plain"))
    states = {name: member(name) for name in ("sql1", "sql2")}
    with pytest.raises(RunbookError, match="sql3 is not healthy"):
        list(switch.switch([], own, Facts({**known, MEMBER: states})))
    with pytest.raises(RunbookError, match="haproxy2 does not answer"):
        list(switch.switch([], own, Facts({**known, proxy.ASKS: {"airflow": CLEAR}})))
    nothing = {TRANSPORT: dict.fromkeys(SQL, Transport())}
    with pytest.raises(RunbookError, match="no database yet"):
        list(switch.switch([], own, Facts({**known, **nothing})))


def test_haproxy_is_not_led_to_a_pgbouncer_that_is_not_set_up(with_pooler, tmp_path):
    servers = Servers(with_pooler, CLEAR, tmp_path)
    servers.pooler.pop("sql2")
    with pytest.raises(RunbookError, match=r"sql2 has no PgBouncer, .*: fab postgres"):
        list(switch.switch([], with_pooler, servers.facts()))


def test_pgbouncer_changes_with_postgresql_beside_it(with_pooler, tmp_path):
    parts = list(stages(Servers(with_pooler, CLEAR, tmp_path), "tls"))
    titles = [part.title for part in parts]
    assert titles.index("certificates for pgbouncer") < titles.index(
        "PostgreSQL on sql2 speaks in clear and TLS"
    )
    for part in parts:
        if part.title.startswith("PostgreSQL on"):
            found = [step.title for step in part.of(part.hosts[0])]
            assert found == [
                "file /etc/patroni/patroni.yml",
                "file /etc/pgbouncer/pg_hba.conf",
                "file /etc/pgbouncer/pgbouncer.ini",
            ]


# New certificates, another CA


def signed(part: Stage) -> dict[str, str]:
    """The certificates that a stage writes, by path and server."""
    return {
        f"{step.title.removeprefix('file ')} {host.name}": step.text
        for host in part.hosts
        for step in part.of(host)
        if step.title.endswith(".crt")
    }


def test_renewing_signs_anew_one_server_after_the_other(own, tmp_path):
    known = Servers(own, TLS, tmp_path).facts()
    parts = list(renew.renew(list(own.hosts.values()), own, known))
    assert [part.title for part in parts if "sql1" in part.title] == [
        "certificates of etcd, patroni, postgresql on sql1",
        "sql1 is well",
    ]
    old = {one.certificate for one in known.known(transport.ETCD_TLS.held).values()}
    new = [text for part in parts for path, text in signed(part).items() if "etcd.crt" in path]
    assert len(new) == 3
    assert not old & set(new)
    with pytest.raises(RunbookError, match="None of these servers"):
        list(renew.renew([own.hosts["card1"]], own, known))


def test_pgbouncer_reads_a_new_certificate_at_once(with_pooler, tmp_path):
    known = Servers(with_pooler, TLS, tmp_path).facts()
    parts = list(renew.renew([with_pooler.hosts["sql2"]], with_pooler, known))
    [part] = [one for one in parts if one.title == "certificates of pgbouncer on sql2"]
    [step] = [one for one in part.of(part.hosts[0]) if one.title.endswith("pgbouncer.crt")]
    assert [one.name for one in step.notify] == ["reload-pgbouncer.service"]


def test_both_authorities_are_trusted_until_all_certificates_are_of_the_new_one(own, tmp_path):
    known = Servers(own, TLS, tmp_path).facts()
    old = tls.signer(own)
    procedure = rotate.rotate_ca([], own, known)
    trusts: dict[str, str] = {}
    certificates: dict[str, str] = {}
    for part in procedure:
        if not isinstance(part, Stage):
            continue
        for path, text in signed(part).items():
            (trusts if path.startswith(tls.TRUSTED) else certificates)[path] = text
        known_ones = [
            tls.signer(own, one)
            for one in (tls.CA, tls.NEXT_CA, tls.FORMER_CA)
            if own.vault.knows(one)
        ]
        for text in certificates.values():
            issuer = next(one for one in known_ones if one.issued(text))
            assert all(issuer.trusted[0] in one for one in trusts.values())
    assert len(certificates) == sum(len(hosts_on(one.on, own)) for one in SERVICES)
    assert not any(old.issued(text) for text in certificates.values())
    assert set(trusts.values()) == {"".join(tls.signer(own).trusted)}
    assert len(trusts) == len(own.hosts)
    assert not own.vault.knows(tls.FORMER_CA)
    assert not own.vault.knows(tls.NEXT_CA)


def test_an_interrupted_change_of_the_ca_goes_on_with_the_same_one(own, tmp_path):
    known = Servers(own, TLS, tmp_path).facts()
    first = rotate.rotate_ca([], own, known)
    assert isinstance(next(first), Question)
    next(first)
    coming = own.secret(tls.NEXT_CA)
    list(rotate.rotate_ca([], own, known))
    assert own.secret(tls.CA) == coming


def test_a_ca_is_not_changed_while_a_server_may_miss_it(own, tmp_path):
    known = Servers(own, TLS, tmp_path).facts()._values
    without = {name: text for name, text in known[TRUSTS].items() if name != "card1"}
    with pytest.raises(RunbookError, match="card1 does not answer"):
        list(rotate.rotate_ca([], own, Facts({**known, TRUSTS: without})))
