"""PgBouncer over TLS: what it is told, whom it shows which certificate, and what is said of it."""

from __future__ import annotations

import subprocess

import pytest
from support.all_steps import answered
from support.certificates import certificate_facts, held, new_authority
from support.postgres_facts import SQL

from fabfile import CONTENTS
from fabfile.postgres import pooler, transport
from fabfile.postgres.pools import POOLER_TLS
from fabfile.postgres.transport import TRANSPORT, Transport
from fabfile.shared import authority
from fabfile.shared.tls import CA
from fabfile.shared.transport import Speaks
from fabfile.tls import check
from runbook.declare.facts import Facts, hosts_on
from runbook.secrets.mask import Mask
from runbook.secrets.vault import Vault

CLEAR, BOTH, TLS = Speaks
VIP = "192.168.83.210"
OFF, ON = "pooler: false ", "pooler: true "
ASKED = "[[ $* == 'is-enabled -q pgbouncer.service' ]]"


@pytest.fixture
def pooled(hosts_yaml, tmp_path):
    """The cluster with PgBouncer and a CA, in a vault of its own."""
    vault = Vault(tmp_path / "secrets.yaml", Mask())
    vault.put(CA, new_authority())
    return CONTENTS.load(hosts_yaml(OFF, ON)).with_vault(vault)


def settings(cluster, speaks: Speaks) -> dict[str, list[str]]:
    """The lines of its files that say something."""
    return {
        step.title.rpartition("/")[2]: [
            line for line in step.text.splitlines() if line and line[0] not in "#;"
        ]
        for step in pooler.configuration(cluster, speaks)
    }


def kinds(cluster, speaks: Speaks) -> set[str]:
    """The kinds of the lines of pg_hba.conf for others than the server itself."""
    lines = settings(cluster, speaks)["pg_hba.conf"]
    return {line.split()[0] for line in lines if not line.startswith("local ")}


def over_tls(cluster, speaks: Speaks) -> dict[str, str]:
    lines = settings(cluster, speaks)["pgbouncer.ini"]
    return dict(line.split(" = ") for line in lines if "_tls_" in line)


def test_in_clear_it_is_as_it_was(pooled):
    assert over_tls(pooled, CLEAR) == {}
    assert kinds(pooled, CLEAR) == {"host"}


def test_in_between_clients_of_both_kinds_are_served(pooled):
    assert over_tls(pooled, BOTH)["client_tls_sslmode"] == "allow"
    assert kinds(pooled, BOTH) == {"host"}


def test_over_tls_nobody_is_served_in_clear(pooled):
    assert over_tls(pooled, TLS) == {
        "client_tls_sslmode": "require",
        "client_tls_cert_file": POOLER_TLS.certificate,
        "client_tls_key_file": POOLER_TLS.key,
        "client_tls_protocols": "secure",
    }
    assert kinds(pooled, TLS) == {"hostssl"}


@pytest.mark.parametrize("speaks", Speaks)
def test_postgresql_is_reached_on_its_socket_which_is_on_no_network(pooled, speaks):
    [line] = [one for one in settings(pooled, speaks)["pgbouncer.ini"] if "dbname=" in one]
    assert "host=/run/postgresql " in line


@pytest.mark.parametrize("speaks", Speaks)
def test_how_it_speaks_is_read_from_its_settings(pooled, tmp_path, speaks):
    file = tmp_path / "pgbouncer.ini"
    assert read(file) is None
    file.write_text("\n".join(settings(pooled, speaks)["pgbouncer.ini"]))
    assert read(file) == speaks
    assert read(file, enabled="false") is None


def read(file, enabled: str = ASKED):
    command = f"systemctl() {{ {enabled}; }}\n{transport.words('/dev/null', '/dev/null', file)}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    return transport.parse(done.stdout).pooler


def test_settings_that_were_left_behind_are_not_asked_for(cluster, pooled):
    own = cluster.hosts["sql1"]
    assert "pgbouncer.ini" not in TRANSPORT.command(cluster, own)
    assert "/etc/pgbouncer/pgbouncer.ini" in TRANSPORT.command(pooled, own)


@pytest.mark.parametrize("speaks", Speaks)
def test_it_speaks_as_postgresql_beside_it(pooled, speaks):
    known = Facts({TRANSPORT: dict.fromkeys(SQL, Transport(TLS, TLS, speaks))})
    steps = list(pooler.running(pooled.hosts["sql3"], pooled, known))
    [ini] = [step.text for step in steps if step.title == "file /etc/pgbouncer/pgbouncer.ini"]
    wanted = settings(pooled, speaks)["pgbouncer.ini"]
    assert [line for line in ini.splitlines() if line and line[0] != ";"] == wanted
    titles = [step.title for step in steps]
    assert ("PgBouncer has a key and a certificate" in titles) is (speaks != CLEAR)


def test_without_a_certificate_nothing_of_it_is_changed(pooled):
    known = Facts({TRANSPORT: dict.fromkeys(SQL, Transport(TLS, TLS, TLS))})
    steps = list(pooler.running(pooled.hosts["sql1"], pooled, known))
    titles = [step.title for step in steps]
    place = titles.index("PgBouncer has a key and a certificate")
    assert not [title for title in titles[:place] if "/etc/pgbouncer" in title]
    done = subprocess.run(["bash", "-c", steps[place].apply], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout.endswith("To make them: fab postgres.keys postgres.certificates\n")


def test_it_shows_the_names_of_the_proxies_which_cannot_read_its_sessions(pooled):
    certificate = held(POOLER_TLS, "sql2", pooled).certificate
    found = authority.described(certificate).subject
    assert {"sql2", "localhost", "haproxy2"} < found.names
    assert {"192.168.83.147", VIP, "192.168.83.129"} < found.addresses
    assert not found.client
    assert POOLER_TLS.group == "pgbouncer"


def test_only_where_it_runs_it_has_a_key_and_a_certificate(cluster, pooled):
    assert [host.name for host in hosts_on(POOLER_TLS.on, pooled)] == list(SQL)
    assert hosts_on(POOLER_TLS.on, cluster) == []
    every, known = answered(pooled)
    plain, plainly = answered(cluster)
    for one, facts, there in ((every, known, True), (plain, plainly, False)):
        host = one.hosts["sql1"]
        titles = [step.title for step in transport.keys(host, one, facts)]
        assert ("pgbouncer has a private key" in titles) is there
        titles = [step.title for step in transport.certificates(host, one, facts)]
        assert (f"file {POOLER_TLS.certificate}" in titles) is there


def test_in_clear_it_has_none(pooled):
    known = Facts({TRANSPORT: dict.fromkeys(SQL, Transport(CLEAR, CLEAR, CLEAR, CLEAR))})
    assert list(transport.keys(pooled.hosts["sql1"], pooled, known)) == []
    assert list(transport.certificates(pooled.hosts["sql1"], pooled, known)) == []


def found(cluster, known: dict) -> dict[str, tuple[str, str]]:
    return {
        one.title: (one.verdict.level, one.verdict.sentence)
        for one in check.check_cluster(cluster, Facts(known))
    }


def test_one_in_clear_and_one_without_a_key_are_told_of(pooled):
    spoken = dict.fromkeys(SQL, Transport(TLS, TLS, TLS, TLS))
    spoken["sql3"] = Transport(TLS, TLS, TLS, CLEAR)
    known = certificate_facts(pooled)
    known[POOLER_TLS.held].pop("sql1")
    said = found(pooled, {**known, TRANSPORT: spoken})
    assert said["PostgreSQL speaks TLS"] == ("ok", "")
    assert said["PgBouncer speaks TLS"] == ("warn", "in clear: sql3")
    assert said["certificate of pgbouncer on sql1"] == ("error", "it has no key")
    assert said["certificate of pgbouncer on sql2"] == ("ok", "valid for 397 days")
    assert said["private key of pgbouncer on sql2"] == ("ok", "")


def test_without_pgbouncer_nothing_is_said_of_it(cluster, tmp_path):
    own = cluster.with_vault(Vault(tmp_path / "other.yaml", Mask()))
    known = certificate_facts(own)
    spoken = dict.fromkeys(SQL, Transport(TLS, TLS, TLS))
    assert not [one for one in found(own, {**known, TRANSPORT: spoken}) if "ouncer" in one]
