"""TLS of what Airflow uses, and of Airflow itself: settings, certificates, and what decides."""

from __future__ import annotations

import configparser
import getpass
import subprocess

import pytest
import yaml
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from support.certificates import NOW, certificate_facts, held, new_authority
from support.certificates import key as private
from support.postgres_facts import SQL

from fabfile import CONTENTS
from fabfile.airflow import configure
from fabfile.airflow import transport as airflow
from fabfile.airflow.common import web_ui
from fabfile.airflow.transport import AIRFLOW_TLS, WAYS, Ways, ways
from fabfile.airflow.web import web_keys
from fabfile.haproxy import proxy, web
from fabfile.haproxy.common import CONFIG, HAPROXY_TLS, PEM
from fabfile.haproxy.view import REPLIES
from fabfile.haproxy.web import DOORS
from fabfile.postgres import patroni, transport
from fabfile.postgres.common import SESSIONS_TLS
from fabfile.postgres.transport import TRANSPORT, Transport
from fabfile.rabbitmq.common import ANY_NODE, CONF, RABBITMQ_TLS
from fabfile.rabbitmq.configure import configuration as rabbitmq_conf
from fabfile.rabbitmq.distribution import AMONG
from fabfile.rabbitmq.nodes import NODE, Node
from fabfile.rabbitmq.transport import LISTENS, keys, listens
from fabfile.shared import authority, site, tls
from fabfile.shared.airflow import hosts
from fabfile.shared.authority import DAY, Subject
from fabfile.shared.tls import CA
from fabfile.shared.transport import Speaks
from fabfile.tls import check
from runbook.declare.facts import NOTHING_KNOWN, Facts
from runbook.declare.templates import script
from runbook.errors import SettingsError
from runbook.secrets.mask import Mask
from runbook.secrets.vault import Vault

CLEAR, BOTH, TLS = Speaks
VIP = "192.168.83.210"


@pytest.fixture
def with_ca(cluster, tmp_path):
    """The cluster with a CA, in a vault of its own."""
    vault = Vault(tmp_path / "secrets.yaml", Mask())
    vault.put(CA, new_authority())
    return cluster.with_vault(vault)


def names_of(service, name: str, cluster) -> set[str]:
    """The names and addresses in the certificate of a service."""
    found = authority.described(held(service, name, cluster).certificate).subject
    return {*found.names, *found.addresses}


def found(cluster, known: dict) -> dict[str, tuple[str, str]]:
    return {
        one.title: (one.verdict.level, one.verdict.sentence)
        for one in check.check_cluster(cluster, Facts(known))
    }


# PostgreSQL


def settings(cluster, sessions: Speaks) -> dict:
    text = patroni.configuration(cluster.hosts["sql1"], cluster, TLS, sessions).text
    return yaml.safe_load(text)["postgresql"]


def entries(own: dict) -> set[str]:
    """The kinds of the lines of pg_hba.conf for others than the server itself."""
    return {
        line.split()[0]
        for line in own["pg_hba"]
        if not line.startswith("local") and "127.0.0.1" not in line
    }


def test_sessions_in_clear_are_as_they_were(cluster):
    own = settings(cluster, CLEAR)
    assert not [name for name in own["parameters"] if name.startswith("ssl")]
    assert entries(own) == {"host"}
    assert set(own["authentication"]["replication"]) == {"username", "password"}


def test_in_between_clients_of_both_kinds_are_served(cluster):
    own = settings(cluster, BOTH)
    assert own["parameters"]["ssl"] == "on"
    assert own["parameters"]["ssl_min_protocol_version"] == "TLSv1.2"
    assert entries(own) == {"host"}
    assert "sslmode" not in own["authentication"]["replication"]


def test_over_tls_nobody_is_served_in_clear_and_replicas_verify_the_leader(cluster):
    own = settings(cluster, TLS)
    assert own["parameters"]["ssl_key_file"] == SESSIONS_TLS.key
    assert entries(own) == {"hostssl"}
    for role in ("replication", "rewind"):
        assert own["authentication"][role]["sslmode"] == "verify-full"
        assert own["authentication"][role]["sslrootcert"] == tls.TRUSTED
    assert "sslmode" not in own["authentication"]["superuser"]


def test_releases_that_cannot_compare_addresses_verify_the_authority(hosts_yaml):
    cluster = CONTENTS.load(hosts_yaml('postgresql: "15"', 'postgresql: "14"'))
    assert settings(cluster, TLS)["authentication"]["rewind"]["sslmode"] == "verify-ca"


def test_the_database_has_the_names_of_the_proxies_which_cannot_read_its_sessions(with_ca):
    names = names_of(SESSIONS_TLS, "sql2", with_ca)
    assert {"sql2", "192.168.83.147", "localhost", "127.0.0.1"} < names
    assert {VIP, "192.168.83.129", "haproxy2"} < names
    assert "sql1" not in names


def test_a_database_that_exists_goes_on_as_it_speaks(cluster):
    host = cluster.hosts["sql1"]
    as_before = Facts({TRANSPORT: dict.fromkeys(SQL, Transport(CLEAR, CLEAR, CLEAR))})
    assert transport.sessions_speak(host, cluster, as_before) == CLEAR
    assert not transport.encrypted(host, cluster, as_before)
    half = {"sql1": Transport(), "sql2": Transport(TLS, TLS, BOTH)}
    assert transport.sessions_speak(host, cluster, Facts({TRANSPORT: half})) == BOTH
    only_patroni = Facts({TRANSPORT: {"sql1": Transport(TLS, TLS, CLEAR)}})
    assert transport.sessions_speak(host, cluster, only_patroni) == CLEAR


def test_a_database_in_clear_is_told_of(with_ca):
    known = dict.fromkeys(SQL, Transport(TLS, TLS, CLEAR))
    said = found(with_ca, {**certificate_facts(with_ca), TRANSPORT: known})
    assert said["etcd and Patroni speak TLS"] == ("ok", "")
    assert said["PostgreSQL speaks TLS"] == ("warn", "in clear: sql1, sql2, sql3")


def test_the_check_of_the_proxies_verifies_the_database_as_clients_do(cluster):
    command = REPLIES.question(cluster, cluster.hosts["sql1"])
    assert f"PGSSLMODE=verify-full PGSSLROOTCERT={tls.TRUSTED}" in command


# RabbitMQ


def lines(cluster, speaks: Speaks) -> list[str]:
    text = rabbitmq_conf(cluster.hosts["mq1"], cluster, speaks).text
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_a_queue_in_clear_is_as_it_was(cluster):
    own = lines(cluster, CLEAR)
    listeners = [line for line in own if "tcp" in line or "ssl" in line]
    assert listeners == [
        "listeners.tcp.default = 5672",
        "management.tcp.port = 15672",
        "prometheus.tcp.port = 15692",
    ]


def test_in_between_the_queue_listens_both_ways(cluster):
    own = lines(cluster, BOTH)
    assert {"listeners.tcp.default = 5672", "listeners.ssl.default = 5671"} < set(own)
    assert {"management.tcp.port = 15672", "management.ssl.port = 15671"} < set(own)
    assert "management.tcp.ip = 127.0.0.1" not in own


def test_over_tls_the_queue_listens_to_nobody_in_clear(cluster):
    own = set(lines(cluster, TLS))
    assert {"listeners.tcp = none", "management.tcp.ip = 127.0.0.1"} < own
    assert "listeners.tcp.default = 5672" not in own
    versions = {line.rpartition(" ")[2] for line in own if ".versions." in line}
    assert versions == {"tlsv1.2", "tlsv1.3"}
    assert f"ssl_options.keyfile = {RABBITMQ_TLS.key}" in own


@pytest.mark.parametrize("speaks", Speaks)
def test_how_a_node_listens_is_read_from_its_settings(cluster, tmp_path, monkeypatch, speaks):
    file = tmp_path / "rabbitmq.conf"
    command = LISTENS.command(cluster, cluster.hosts["mq1"]).replace(CONF, str(file))
    assert LISTENS.parse(bash(command)) is None
    file.write_text(rabbitmq_conf(cluster.hosts["mq1"], cluster, speaks).text)
    assert LISTENS.parse(bash(command)) == speaks


def test_an_own_listener_of_the_user_is_not_taken_for_the_clusters(cluster, tmp_path):
    file = tmp_path / "rabbitmq.conf"
    file.write_text("listeners.ssl.default = 5671\nssl_options.certfile = /etc/site.crt\n")
    command = LISTENS.command(cluster, cluster.hosts["mq1"]).replace(CONF, str(file))
    assert LISTENS.parse(bash(command)) == CLEAR


def test_a_new_node_listens_as_the_others(cluster):
    known = Facts({LISTENS: {"mq1": None, "mq2": CLEAR, "mq3": CLEAR}})
    assert listens(cluster.hosts["mq1"], cluster, known) == CLEAR
    assert listens(cluster.hosts["mq1"], cluster, Facts({LISTENS: {"mq1": None}})) == TLS


def test_a_node_that_speaks_in_clear_only_needs_no_key(cluster):
    nodes = {NODE: {"mq2": Node(True, frozenset(), True)}, AMONG: {"mq2": CLEAR}}
    in_clear = {LISTENS: {"mq2": CLEAR}, **nodes}
    assert not list(keys(cluster.hosts["mq1"], cluster, Facts(in_clear)))
    assert list(keys(cluster.hosts["mq1"], cluster, Facts({**in_clear, LISTENS: {"mq2": TLS}})))
    assert list(keys(cluster.hosts["mq1"], cluster, Facts({**in_clear, AMONG: {"mq2": TLS}})))


def test_all_nodes_share_the_name_under_which_kombu_verifies_them(with_ca):
    for name in ("mq1", "mq2", "mq3"):
        names = names_of(RABBITMQ_TLS, name, with_ca)
        assert {ANY_NODE, name} < names
        assert not {"mq1", "mq2", "mq3"} - {name} & names


def bash(command: str) -> str:
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True).stdout


# HAProxy


def haproxy(cluster, web: Speaks) -> str:
    return next(
        step.text
        for step in proxy.configuration(cluster, CLEAR, web)
        if step.title == "file /etc/haproxy/haproxy.cfg"
    )


def frontend(text: str, name: str) -> list[str]:
    block = text.partition(f"\n{name}\n")[2].partition("\n\n")[0]
    return [line.strip() for line in block.splitlines()]


def test_the_web_ui_in_clear_is_as_it_was(cluster):
    text = haproxy(cluster, CLEAR)
    assert frontend(text, "frontend web")[0] == "bind *:8081"
    assert frontend(text, "listen stats")[0] == "bind *:7000"
    assert "ssl" not in text


def test_over_tls_browsers_are_served_at_443_and_sent_there(cluster):
    text = haproxy(cluster, TLS)
    bound = f"ssl crt {PEM} ssl-min-ver TLSv1.2"
    assert frontend(text, "frontend web")[0] == f"bind *:443 {bound}"
    assert frontend(text, "listen stats")[0] == f"bind *:7000 {bound}"
    before = frontend(text, "frontend web-in-clear")
    assert before[0] == "bind *:8081"
    # A permanent one would be kept by browsers after the way back.
    assert "redirect code 307 location https://%[req.hdr(host),field(1,:)]%[url]" in before[-1]
    assert not [line for line in before if "backend" in line]


def test_strict_transport_security_is_a_setting(hosts_yaml, cluster):
    assert "Strict-Transport-Security" not in haproxy(cluster, TLS)
    strict = CONTENTS.load(hosts_yaml("max_connections: 4000", "max_connections: 4000\n  hsts: 30"))
    sent = "http-response set-header Strict-Transport-Security max-age=2592000"
    assert sent in frontend(haproxy(strict, TLS), "frontend web")
    assert "Strict-Transport-Security" not in haproxy(strict, CLEAR)


def test_haproxy_verifies_the_webservers(cluster):
    def servers(web: Speaks) -> list[str]:
        lines = frontend(haproxy(cluster, web), "backend webservers")
        return [line for line in lines if line.startswith("server ")]

    verified = f"ssl verify required ca-file {tls.TRUSTED} ssl-min-ver TLSv1.2 verifyhost"
    assert servers(CLEAR)[0] == "server airflow 192.168.83.129:8080"
    assert servers(TLS)[0] == f"server airflow 192.168.83.129:8080 {verified} airflow"
    assert len(servers(TLS)) == 2
    assert [line.split()[1] for line in servers(BOTH)] == [
        "airflow",
        "airflow:tls",
        "haproxy2",
        "haproxy2:tls",
    ]


@pytest.mark.parametrize("speaks", Speaks)
def test_how_a_proxy_speaks_is_read_from_its_settings(cluster, tmp_path, speaks):
    file = tmp_path / "haproxy.cfg"
    command = DOORS.command(cluster, cluster.hosts["airflow"]).replace(CONFIG, str(file))
    file.write_text("frontend main\n    bind *:5000\n")  # the package's own
    assert DOORS.parse(bash(command)) is None
    file.write_text(haproxy(cluster, speaks))
    assert DOORS.parse(bash(command)) == speaks


def test_a_proxy_that_exists_goes_on_as_it_speaks(cluster):
    known = Facts({DOORS: {"airflow": None, "haproxy2": CLEAR}})
    assert web.door(cluster.hosts["airflow"], cluster, known) == CLEAR
    assert not list(web.keys(cluster.hosts["airflow"], cluster, known))
    new = Facts({DOORS: {"airflow": None, "haproxy2": None}})
    assert web.door(cluster.hosts["airflow"], cluster, new) == TLS


def test_the_web_ui_has_the_names_of_its_vip(with_ca):
    for name in ("airflow", "haproxy2"):
        names = names_of(HAPROXY_TLS, name, with_ca)
        assert {name, VIP} < names
        assert "192.168.83.220" not in names


def test_key_and_certificate_are_one_file_for_root_alone(cluster, tmp_path):
    step = web.in_one_file(cluster)
    paths = {tls.FOLDER: str(tmp_path), "600 root": f"600 {getpass.getuser()}"}

    def here(command: str) -> str:
        for old, new in paths.items():
            command = command.replace(old, new)
        return command

    def so() -> bool:
        return subprocess.run(["bash", "-c", here(step.test)], check=False).returncode == 0

    (tmp_path / "haproxy.crt").write_text("certificate\n")
    (tmp_path / "haproxy.key").write_text("key\n")
    assert not so()
    bash(here(step.apply))
    assert so()
    assert (tmp_path / "haproxy.pem").read_text() == "certificate\nkey\n"
    assert oct((tmp_path / "haproxy.pem").stat().st_mode)[-3:] == "600"
    (tmp_path / "haproxy.crt").write_text("another\n")
    assert not so()
    (tmp_path / "haproxy.pem").chmod(0o644)
    bash(here(step.apply))
    assert so()


# Airflow


def config(cluster, facts: Facts = NOTHING_KNOWN, host: str = "worker1"):
    [text] = [
        step.text
        for step in configure.configure(cluster.hosts[host], cluster, facts)
        if step.title == "file /etc/airflow/airflow.cfg"
    ]
    parser = configparser.ConfigParser()
    parser.read_string(text)
    return parser


def database(speaks: Speaks) -> dict:
    return {TRANSPORT: dict.fromkeys(SQL, Transport(speaks, speaks, speaks))}


def test_airflow_verifies_the_database_under_the_address_that_it_uses(with_ca, hosts_yaml):
    own = config(with_ca)
    for url in (own["database"]["sql_alchemy_conn"], own["celery"]["result_backend"]):
        assert url.endswith(f"&sslmode=verify-full&sslrootcert={tls.TRUSTED}")
    assert VIP in names_of(SESSIONS_TLS, "sql1", with_ca)


def test_airflow_verifies_whichever_node_of_the_queue_it_reaches(cluster):
    urls = config(cluster)["celery"]["broker_url"].split(";")
    assert [url.partition(":")[0] for url in urls] == ["amqps"] * 3
    assert [url.rpartition("@")[2] for url in urls] == [
        f"{name}:5671/airflow" for name in ("mq1", "mq2", "mq3")
    ]
    module = celery(cluster, NOTHING_KNOWN)
    assert f'"server_hostname": "{ANY_NODE}"' in module
    assert f'"ca_certs": "{tls.TRUSTED}"' in module
    assert '"cert_reqs": ssl.CERT_REQUIRED' in module
    assert "import ssl" in module
    compile(module, "airflow_celery.py", "exec")


def celery(cluster, known: Facts) -> str:
    """The module with Celery's settings."""
    return next(
        step.text
        for step in configure.configure(cluster.hosts["worker1"], cluster, known)
        if step.title.endswith("airflow_celery.py")
    )


def in_clear(cluster) -> Facts:
    """An Airflow that reaches all others in clear."""
    names = [one.name for one in hosts(cluster)]
    return Facts({WAYS: dict.fromkeys(names, Ways(CLEAR, CLEAR, CLEAR))})


def test_airflow_in_clear_is_as_it_was(cluster):
    own = config(cluster, in_clear(cluster))
    assert "ssl" not in own["database"]["sql_alchemy_conn"]
    assert own["celery"]["broker_url"].startswith("amqp://airflow:")
    assert own["celery"]["broker_url"].endswith("@mq3:5672/airflow")
    assert "ssl" not in celery(cluster, in_clear(cluster))


@pytest.mark.parametrize(("offered", "way"), [(CLEAR, CLEAR), (BOTH, TLS), (TLS, TLS)])
def test_a_new_airflow_uses_what_the_database_understands(cluster, offered, way):
    known = Facts({WAYS: {"worker1": Ways()}, **database(offered)})
    assert ways(cluster.hosts["worker1"], cluster, known).database == way


@pytest.mark.parametrize("way", [CLEAR, TLS])
def test_an_airflow_that_exists_stays_as_it_is_where_it_has_a_choice(cluster, way):
    known = Facts({WAYS: {"worker1": Ways(way, way)}, **database(BOTH), **queue(BOTH)})
    for name in ("worker1", "airflow"):
        assert ways(cluster.hosts[name], cluster, known).database == way
        assert ways(cluster.hosts[name], cluster, known).broker == way


@pytest.mark.parametrize("offered", [CLEAR, TLS])
def test_where_it_has_none_it_follows_the_servers(cluster, offered):
    """Such as a server of Airflow that was away while the others were switched."""
    other = TLS if offered == CLEAR else CLEAR
    spoken = {**database(offered), **queue(offered), DOORS: {"airflow": offered}}
    known = Facts({WAYS: {"worker1": Ways(other, other, other)}, **spoken})
    assert ways(cluster.hosts["worker1"], cluster, known) == Ways(offered, offered, offered)


def test_of_servers_that_differ_airflow_uses_what_all_understand(cluster):
    mixed = {"mq1": TLS, "mq2": BOTH, "mq3": BOTH}
    known = Facts({WAYS: {"worker1": Ways(CLEAR, CLEAR)}, LISTENS: mixed})
    assert ways(cluster.hosts["worker1"], cluster, known).broker == CLEAR
    known = Facts({WAYS: {"worker1": Ways(TLS, TLS)}, LISTENS: {**mixed, "mq3": CLEAR}})
    assert ways(cluster.hosts["worker1"], cluster, known).broker == CLEAR


def queue(speaks: Speaks) -> dict:
    return {LISTENS: dict.fromkeys(("mq1", "mq2", "mq3"), speaks)}


def test_the_web_ui_is_known_by_the_address_at_which_it_is_reached(cluster):
    own = config(cluster)["webserver"]
    assert (own["base_url"], own["cookie_secure"]) == (f"https://{VIP}", "True")
    assert own["web_server_ssl_key"] == AIRFLOW_TLS.key
    own = config(cluster, in_clear(cluster))["webserver"]
    assert own["base_url"] == f"http://{VIP}:8081"
    assert "cookie_secure" not in own
    assert "web_server_ssl_key" not in own


def test_flower_speaks_as_the_web_ui(cluster):
    def environment(how: Ways) -> str:
        steps = configure.settings(cluster, how, "2.9.0")
        return next(step.text for step in steps if step.title.endswith("airflow.env"))

    assert f"FLOWER_KEYFILE={AIRFLOW_TLS.key}" in environment(Ways(CLEAR, CLEAR, TLS))
    assert "FLOWER" not in environment(Ways(TLS, TLS, CLEAR))
    host = cluster.hosts["airflow"]
    assert list(web_keys(host, cluster, NOTHING_KNOWN))
    assert not list(web_keys(host, cluster, in_clear(cluster)))
    assert AIRFLOW_TLS.group == "airflow"


def test_without_servers_the_setting_decides(hosts_yaml):
    cluster = CONTENTS.load(hosts_yaml("  enabled: true ", "  enabled: false "))
    assert ways(cluster.hosts["worker1"], cluster, NOTHING_KNOWN).database == CLEAR


@pytest.mark.parametrize("way", [CLEAR, TLS])
def test_what_airflow_is_told_is_read_again(with_ca, tmp_path, way):
    text = next(
        step.text
        for step in configure.settings(with_ca, Ways(way, way, way), "2.9.0")
        if "airflow.cfg" in step.title
    )
    assert said(tmp_path, text) == Ways(way, way, way)
    assert said(tmp_path, "") == Ways()


def said(folder, text: str) -> Ways:
    (folder / "airflow.cfg").write_text(text)
    command = script("airflow/transport.sh", cfg=folder / "airflow.cfg")
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    return airflow.parse(done.stdout)


def test_whoever_writes_settings_has_asked_for_the_ways_before():
    for name in ("airflow.configure", "airflow.secrets-rotate", "airflow.upgrade"):
        assert set(airflow.NEEDS) <= set(CONTENTS.find(name).needs)


# A certificate of the site's own


def pems(own: authority.Authority, name: str = "airflow.example.com", key_of: str = "web"):
    """Key and certificates of a site's web server, as a site has them in files."""
    key = private(key_of)
    subject = Subject(name, frozenset({name}), frozenset())
    text = own.sign(key.public_key(), subject, 90, NOW) + "".join(own.trusted)
    options = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return key.private_bytes(*options), text.encode()


@pytest.fixture
def site_ca():
    return authority.authority_of(new_authority("site CA"), "")


@pytest.fixture
def with_site(with_ca, site_ca):
    with_ca.vault.put(site.WEB, site.site_in(*pems(site_ca)).text)
    return with_ca


def test_haproxy_shows_the_sites_own_certificate_without_its_root(with_site, site_ca):
    step = web.in_one_file(with_site)
    assert step.text.count("BEGIN CERTIFICATE") == 1
    assert step.text.count("BEGIN PRIVATE KEY") == 1
    assert "chmod 0600" in step.apply
    assert "PRIVATE KEY" not in step.shown
    assert site_ca.trusted[0] not in step.text


def test_servers_of_airflow_know_the_web_ui_by_its_name_and_root(with_site, site_ca):
    assert config(with_site)["webserver"]["base_url"] == "https://airflow.example.com"
    known = configure.settings(with_site, Ways(TLS, TLS, TLS), "2.9.0")
    [trusted] = [one.text for one in known if one.title == f"file {site.WEB_TRUSTED}"]
    assert trusted == site_ca.trusted[0]
    words = web_ui(with_site)
    assert f"--cacert {site.WEB_TRUSTED} --resolve airflow.example.com:443:{VIP}" in words
    # Nothing else of the cluster trusts the site's CA.
    assert trusted not in tls.trusted(with_site)


def test_what_does_not_belong_together_is_refused(site_ca):
    key, certificates = pems(site_ca)
    other, _ = pems(site_ca, key_of="another")
    with pytest.raises(SettingsError, match="not that of the key"):
        site.site_in(other, certificates)
    with pytest.raises(SettingsError, match="both in PEM"):
        site.site_in(b"", certificates)
    stranger = authority.authority_of(new_authority("stranger"), "").trusted[0].encode()
    leaf = certificates.partition(b"-----END CERTIFICATE-----\n")
    with pytest.raises(SettingsError, match="do not lead up to a root"):
        site.site_in(key, leaf[0] + leaf[1] + stranger)
    with pytest.raises(SettingsError, match="do not lead up to a root"):
        site.site_in(key, leaf[0] + leaf[1])


@pytest.mark.parametrize(("days", "level"), [(0, "ok"), (70, "warn"), (91, "error")])
def test_its_end_is_told_in_time(with_site, days, level):
    [finding] = check.of_the_site(with_site, NOW + days * DAY)
    assert finding.verdict.level == level
    assert finding.fix == "fab tls.use-web"
