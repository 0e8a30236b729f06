"""The cluster's CA and its certificates, and how etcd and Patroni are told to speak."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import pytest
import yaml
from cryptography import x509
from msgspec import structs
from support.certificates import NOW, certificate_facts, held, key, new_authority, request
from support.postgres_facts import SQL

from fabfile import CONTENTS
from fabfile.haproxy import proxy
from fabfile.postgres import etcd, patroni, transport
from fabfile.postgres.common import ETCD_TLS, PATRONI_TLS
from fabfile.postgres.transport import TRANSPORT, Transport
from fabfile.shared import authority, tls
from fabfile.shared.authority import DAY
from fabfile.shared.tls import CA, NEXT_CA, Tls
from fabfile.shared.transport import Speaks
from fabfile.tls import check, status
from fabfile.tls.common import TRUSTS
from fabfile.tls.trust import trust
from runbook.declare.facts import Facts
from runbook.errors import InventoryError, MissingFact, RunbookError, SettingsError
from runbook.secrets.mask import Mask
from runbook.secrets.vault import Vault

CLEAR, BOTH, TLS = Speaks


@pytest.fixture
def with_ca(cluster, tmp_path):
    """The cluster with a CA, in a vault of its own."""
    vault = Vault(tmp_path / "secrets.yaml", Mask())
    vault.put(CA, new_authority())
    return cluster.with_vault(vault)


def speaking(etcd=TLS, patroni=TLS, names=SQL) -> dict:
    return {TRANSPORT: dict.fromkeys(names, Transport(etcd, patroni))}


# The authority


def test_an_authority_is_one_word_of_secrets_yaml_and_signs():
    text = new_authority()
    own = authority.authority_of(text, "tls_ca")
    assert " " not in text
    assert "\n" not in text
    assert authority.text_of(own) == text
    constraints = own.certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert constraints.value.ca
    assert own.ends - NOW > 9 * 365 * DAY


@pytest.mark.parametrize(
    "text",
    ["", "word", "AAAA.AAAA", new_authority().partition(".")[0]],
    ids=["empty", "word", "no DER", "without certificate"],
)
def test_what_is_no_authority_is_refused(text):
    with pytest.raises(SettingsError, match="tls_ca"):
        authority.authority_of(text, "tls_ca")


def test_a_certificate_that_is_not_that_of_the_key_is_refused():
    own, _, certificate = new_authority().partition(".")
    other = new_authority("another").partition(".")[0]
    assert authority.authority_of(f"{own}.{certificate}", "tls_ca")
    with pytest.raises(SettingsError, match="not that of its key"):
        authority.authority_of(f"{other}.{certificate}", "tls_ca")


def test_the_key_is_masked_also_without_its_certificate(with_ca):
    own = tls.signer(with_ca)
    private = with_ca.secret(CA).partition(".")[0]
    assert private not in with_ca.vault.mask(f"key={private}")
    assert own.trusted[0] == with_ca.vault.mask(own.trusted[0])


def test_openssl_verifies_what_the_authority_signs(with_ca, tmp_path):
    one = held(ETCD_TLS, "sql1", with_ca)
    (tmp_path / "ca.crt").write_text(tls.trusted(with_ca))
    (tmp_path / "etcd.crt").write_text(one.certificate)
    for purpose in ("sslserver", "sslclient"):
        for option in (["-verify_ip", "192.168.83.148"], ["-verify_hostname", "sql1"]):
            options = ("-x509_strict", "-purpose", purpose, *option)
            assert verified(tmp_path, *options) == ""
    assert "hostname mismatch" in verified(tmp_path, "-verify_hostname", "sql2").lower()


def verified(folder, *options: str) -> str:
    """What openssl says against a certificate."""
    command = ["openssl", "verify", "-attime", str(int(NOW)), *options, "-CAfile", "ca.crt"]
    done = subprocess.run([*command, "etcd.crt"], cwd=folder, capture_output=True, text=True)
    assert (done.returncode == 0) == (done.stderr == "")
    return done.stderr


# Certificates


def test_names_are_those_of_hosts_yaml_whatever_the_request_asks_for(with_ca):
    greedy = request("etcd on sql1", "mq1", ("mq1", "airflow"))
    own = held(ETCD_TLS, "sql1", with_ca, request=greedy, certificate="")
    step = tls.certificate(
        ETCD_TLS, with_ca.hosts["sql1"], with_ca, Facts({ETCD_TLS.held: {"sql1": own}})
    )
    found = authority.described(step.text)
    assert found.subject.names == {"sql1", "localhost"}
    assert found.subject.addresses == {"192.168.83.148", "127.0.0.1"}
    assert found.subject.common_name == "etcd on sql1"
    assert found.subject.client
    assert found.ends == NOW + 397 * DAY


def test_a_request_that_somebody_else_signed_is_refused(with_ca):
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import Encoding

    text = request("etcd on sql1")
    forged = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    der = forged.sign(key("another"), hashes.SHA256()).public_bytes(Encoding.DER)
    own = x509.load_pem_x509_csr(text.encode())
    assert own.is_signature_valid
    broken = bytearray(der)
    broken[-1] ^= 1
    import base64

    body = base64.encodebytes(bytes(broken)).decode()
    pem = f"-----BEGIN CERTIFICATE REQUEST-----\n{body}-----END CERTIFICATE REQUEST-----\n"
    with pytest.raises(ValueError, match="not signed by its own key"):
        authority.requested_key(pem)


def test_only_keys_of_p256_are_signed():
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding

    other = ec.generate_private_key(ec.SECP384R1())
    text = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    pem = text.sign(other, hashes.SHA256()).public_bytes(Encoding.PEM).decode()
    with pytest.raises(ValueError, match="P-256"):
        authority.requested_key(pem)


def test_a_certificate_stays_as_long_as_it_is_as_wanted(with_ca):
    own = held(ETCD_TLS, "sql2", with_ca)
    host = with_ca.hosts["sql2"]
    assert tls.objection(ETCD_TLS, host, with_ca, own) == ""
    for days, words in ((366, ""), (368, "expires in 29 days"), (398, "has expired")):
        later = replace(own, at=NOW + days * DAY)
        assert words in tls.objection(ETCD_TLS, host, with_ca, later)
        step = tls.certificate(ETCD_TLS, host, with_ca, Facts({ETCD_TLS.held: {"sql2": later}}))
        assert (step.text == own.certificate) == (words == "")


def test_another_key_name_or_ca_asks_for_another_certificate(with_ca):
    host = with_ca.hosts["sql2"]
    own = held(ETCD_TLS, "sql2", with_ca)

    def why(**changes) -> str:
        return tls.objection(ETCD_TLS, host, with_ca, replace(own, **changes))

    assert "not for the key" in why(request=request("another"))
    assert "names are not" in why(
        request=request("etcd on sql1"), certificate=held(ETCD_TLS, "sql1", with_ca).certificate
    )
    assert "there is none" in why(certificate="")
    moved = structs.replace(host, address="192.168.83.99")
    assert "names are not" in tls.objection(ETCD_TLS, moved, with_ca, own)
    with_ca.vault.put(CA, new_authority("another"))
    assert "CN=test CA" in why()


def test_a_certificate_does_not_outlive_its_authority(with_ca):
    host, late = with_ca.hosts["sql1"], tls.signer(with_ca).ends - 10 * DAY
    own = held(ETCD_TLS, "sql1", with_ca, at=late)
    known = Facts({ETCD_TLS.held: {"sql1": own}})
    signed = tls.certificate(ETCD_TLS, host, with_ca, known).text
    assert authority.described(signed).ends == int(tls.signer(with_ca).ends)
    again = replace(own, certificate=signed)
    assert tls.objection(ETCD_TLS, host, with_ca, again) == ""


def test_without_a_key_the_certificate_is_unknown(with_ca):
    known = Facts(speaking())
    with pytest.raises(MissingFact, match=r"fab postgres\.keys postgres\.certificates"):
        list(transport.certificates(with_ca.hosts["sql1"], with_ca, known))


def test_what_a_server_says_of_its_certificate_is_input():
    text = request("x")
    answer = f"640 root etcd\n{text}garbage $(reboot)\n\n# trusts\n"
    assert tls.parse(answer, NOW) == tls.Held(text, "640 root etcd", "", "", NOW)
    for wrong in ("", "640 root etcd\n", f"0 root;x\n{text}", text):
        with pytest.raises(ValueError, match="certificate request"):
            tls.parse(wrong, NOW)


def test_the_fact_reads_what_the_step_makes(cluster, tmp_path):
    """In a folder of the test instead of root's, with a real openssl."""

    def carried_out(command: str) -> str:
        here = command.replace(tls.FOLDER, str(tmp_path)).replace("chown", ": chown")
        done = subprocess.run(["bash", "-c", f"set -euo pipefail\n{here}"], **CAPTURED)
        assert done.returncode == 0, done.stderr
        return done.stdout

    [make] = [step for step in tls.keys(ETCD_TLS) if "private key" in step.title]
    carried_out(make.apply)
    private = (tmp_path / "etcd.key").read_text()
    assert oct((tmp_path / "etcd.key").stat().st_mode)[-4:] == "0640"
    carried_out(make.apply)
    assert (tmp_path / "etcd.key").read_text() == private
    host, asked = cluster.hosts["sql1"], ETCD_TLS.held.command
    (tmp_path / "etcd.crt").write_text("")
    (tmp_path / "ca.crt").write_text("")
    own = tls.parse(carried_out(asked(cluster, host)), NOW)
    assert own.certificate == own.trusts == ""
    assert authority.requested_key(own.request)
    assert "640" in own.key


CAPTURED = {"capture_output": True, "text": True}


def test_a_new_ca_is_refused_where_servers_trust_one(cluster, tmp_path, with_ca):
    lost = cluster.with_vault(Vault(tmp_path / "none.yaml", Mask()))
    known = Facts({TRUSTS: {"sql1": tls.trusted(with_ca)}})
    with pytest.raises(RunbookError, match=r"sql1 trusts CN=test CA.*Copy that file"):
        list(trust(cluster.hosts["mq1"], lost, known))
    own = Facts({**speaking(), ETCD_TLS.held: {"sql1": held(ETCD_TLS, "sql1", with_ca)}})
    with pytest.raises(RunbookError, match="Copy that file"):
        list(transport.certificates(cluster.hosts["sql1"], lost, own))


def test_every_server_knows_the_ca_and_both_while_it_changes(with_ca):
    before = tls.trusted(with_ca)
    steps = list(trust(with_ca.hosts["card1"], with_ca, Facts()))
    assert steps[-1].text == before
    with_ca.secret(NEXT_CA)
    with_ca.vault.keep()
    both = tls.trusted(with_ca)
    assert before in both
    assert both.count("BEGIN CERTIFICATE") == 2


def test_a_certificate_of_a_site_comes_with_the_chain(with_ca):
    """An intermediate CA signs; servers trust the root, and send what is in between."""
    root = authority.authority_of(new_authority("root"), "root")
    middle = _intermediate(root)
    with_ca.vault.put(CA, authority.text_of(middle))
    own = held(ETCD_TLS, "sql1", with_ca)
    assert own.certificate.count("BEGIN CERTIFICATE") == 2
    assert tls.trusted(with_ca).count("BEGIN CERTIFICATE") == 2
    assert tls.objection(ETCD_TLS, with_ca.hosts["sql1"], with_ca, own) == ""
    assert middle.complete
    assert not replace(middle, above=()).complete


def _intermediate(root: authority.Authority) -> authority.Authority:
    from datetime import datetime, timedelta, timezone

    from cryptography.hazmat.primitives import hashes

    private = key("intermediate")
    begin = datetime.fromtimestamp(NOW, timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "middle")]))
        .issuer_name(root.certificate.subject)
        .public_key(private.public_key())
        .serial_number(7)
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=1000))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(root.key, hashes.SHA256())
    )
    return authority.Authority(private, certificate, (root.certificate,))


def test_settings_that_renew_at_every_run_are_refused(hosts_yaml):
    with pytest.raises(InventoryError, match="renew_before"):
        CONTENTS.load(hosts_yaml("days: 397 ", "days: 20 "))
    assert CONTENTS.load(hosts_yaml())[Tls].enabled


# What is on the servers decides


@pytest.mark.parametrize(
    ("conf", "yml", "says"),
    [
        ("", "", Transport(None, None)),
        ('ETCD_LISTEN_CLIENT_URLS="http://localhost:2379"\n', "", Transport(None, None)),
    ],
)
def test_a_server_that_is_not_set_up_does_not_say_how_it_speaks(tmp_path, conf, yml, says):
    assert _said(tmp_path, conf, yml) == says


@pytest.mark.parametrize("speaks", Speaks)
def test_what_is_written_is_read_again(cluster, tmp_path, speaks):
    host = cluster.hosts["sql1"]
    conf = etcd.configuration(host, cluster, speaks).text
    yml = patroni.configuration(host, cluster, speaks, speaks).text
    assert _said(tmp_path, conf, yml) == Transport(speaks, speaks, speaks)


def _said(folder, conf: str, yml: str) -> Transport:
    (folder / "etcd.conf").write_text(conf)
    (folder / "patroni.yml").write_text(yml)
    command = transport.words(folder / "etcd.conf", folder / "patroni.yml")
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return transport.parse(done.stdout)


def test_a_cluster_in_clear_stays_so_until_it_is_switched(cluster):
    host, known = cluster.hosts["sql1"], Facts(speaking(CLEAR, CLEAR))
    assert cluster[Tls].enabled
    assert transport.etcd_speaks(host, cluster, known) == CLEAR
    assert transport.patroni_speaks(host, cluster, known) == CLEAR
    assert list(transport.keys(host, cluster, known)) == []
    assert list(transport.certificates(host, cluster, known)) == []
    assert transport.rest_speaks(cluster, known) == CLEAR


def test_a_new_cluster_speaks_as_hosts_yaml_says(cluster, hosts_yaml):
    off = CONTENTS.load(hosts_yaml("enabled: true ", "enabled: false "))
    for one, wanted in ((cluster, TLS), (off, CLEAR)):
        host, known = one.hosts["sql1"], Facts(speaking(None, None))
        assert transport.etcd_speaks(host, one, known) == wanted
        assert transport.patroni_speaks(host, one, known) == wanted
        assert transport.rest_speaks(one, known) == wanted


def test_a_new_server_speaks_as_the_others(cluster):
    known = Facts({TRANSPORT: {"sql1": Transport(CLEAR, CLEAR), "sql3": Transport()}})
    assert transport.etcd_speaks(cluster.hosts["sql3"], cluster, known) == CLEAR
    mixed = {"sql1": Transport(TLS, TLS), "sql2": Transport(BOTH, BOTH), "sql3": Transport()}
    known = Facts({TRANSPORT: mixed})
    assert transport.etcd_speaks(cluster.hosts["sql3"], cluster, known) == BOTH
    assert transport.rest_speaks(cluster, known) == BOTH


# Settings


def environment(cluster, speaks: Speaks) -> dict[str, str]:
    text = etcd.configuration(cluster.hosts["sql1"], cluster, speaks).text
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def test_etcd_in_clear_is_as_it_was(cluster):
    assert environment(cluster, CLEAR) == {
        "ETCD_NAME": "sql1",
        "ETCD_DATA_DIR": "/var/lib/etcd/airflow-ha.etcd",
        "ETCD_LISTEN_PEER_URLS": "http://192.168.83.148:2380",
        "ETCD_INITIAL_ADVERTISE_PEER_URLS": "http://192.168.83.148:2380",
        "ETCD_LISTEN_CLIENT_URLS": "http://192.168.83.148:2379,http://127.0.0.1:2379",
        "ETCD_ADVERTISE_CLIENT_URLS": "http://192.168.83.148:2379",
        "ETCD_AUTO_COMPACTION_MODE": "periodic",
        "ETCD_AUTO_COMPACTION_RETENTION": "1h",
    }


def test_etcd_over_tls_lets_in_nobody_without_a_certificate(cluster):
    own = environment(cluster, TLS)
    assert "http:" not in " ".join(own.values())
    assert own["ETCD_CLIENT_CERT_AUTH"] == own["ETCD_PEER_CLIENT_CERT_AUTH"] == "true"
    assert own["ETCD_TRUSTED_CA_FILE"] == own["ETCD_PEER_TRUSTED_CA_FILE"] == tls.TRUSTED


def test_in_between_etcd_can_be_reached_both_ways(cluster):
    own = environment(cluster, BOTH)
    listens = own["ETCD_LISTEN_CLIENT_URLS"].split(",")
    assert {url.partition(":")[0] for url in listens} == {"http", "https"}
    assert own["ETCD_ADVERTISE_CLIENT_URLS"] == "http://192.168.83.148:2379"
    assert own["ETCD_LISTEN_PEER_URLS"] == "http://192.168.83.148:2380"
    assert own["ETCD_PEER_CERT_FILE"] == ETCD_TLS.certificate


def settings(cluster, speaks: Speaks) -> dict:
    host = cluster.hosts["sql1"]
    return yaml.safe_load(patroni.configuration(host, cluster, speaks, speaks).text)


def test_patroni_needs_a_certificate_for_what_changes_something(cluster):
    own = settings(cluster, TLS)
    assert own["restapi"]["verify_client"] == "optional"
    assert own["restapi"]["cafile"] == tls.TRUSTED
    assert own["restapi"]["keyfile"] == own["etcd3"]["key"] == PATRONI_TLS.key
    assert own["etcd3"]["protocol"] == "https"
    between = settings(cluster, BOTH)
    assert "certfile" not in between["restapi"]
    assert own["ctl"]["certfile"] == PATRONI_TLS.certificate
    assert between["ctl"] == {"cacert": tls.TRUSTED}, "with a certificate, it cannot ask in clear"
    assert between["etcd3"] == own["etcd3"]
    clear = settings(cluster, CLEAR)
    assert set(clear["etcd3"]) == {"hosts"}
    assert "ctl" not in clear


def servers(cluster, known: Facts, backend: str = "primary") -> list[str]:
    steps = proxy.configure(cluster.hosts["airflow"], cluster, known)
    [text] = [step.text for step in steps if step.title == "file /etc/haproxy/haproxy.cfg"]
    block = text.partition(f"\nbackend {backend}\n")[2].partition("\n\n")[0]
    lines = [line.strip() for line in block.splitlines()]
    return [line for line in lines if line.startswith(("server ", "default-server "))]


def test_haproxy_asks_patroni_as_it_speaks(cluster):
    default, *clear = servers(cluster, Facts(speaking(CLEAR, CLEAR)))
    assert default == (
        "default-server check port 8008 inter 1s fastinter 500ms downinter 1s fall 2 rise 1 "
        "tcp-ut 10s on-marked-down shutdown-sessions"
    )
    assert clear[0] == "server sql1 192.168.83.148:5432"
    default, *over_tls = servers(cluster, Facts(speaking()))
    assert f"check-ssl verify required ca-file {tls.TRUSTED}" in default
    assert default.endswith("on-marked-down shutdown-sessions")
    assert over_tls[0] == "server sql1 192.168.83.148:5432 verifyhost sql1"
    default, *clear = servers(cluster, Facts(speaking(TLS, BOTH)), "replicas")
    assert "check-ssl" not in " ".join([default, *clear])


def test_while_patroni_changes_haproxy_asks_both_ways_and_keeps_sessions(cluster):
    mixed = {
        "sql1": Transport(TLS, TLS),
        "sql2": Transport(TLS, BOTH),
        "sql3": Transport(TLS, BOTH),
    }
    default, *both = servers(cluster, Facts({TRANSPORT: mixed}))
    assert "shutdown-sessions" not in default
    assert len(both) == 6
    assert [one.split()[1] for one in both[:2]] == ["sql1", "sql1:tls"]


def test_haproxy_stays_as_it_is_while_no_database_answers(cluster):
    for speaks in Speaks:
        known = Facts({proxy.ASKS: {"airflow": speaks}})
        assert proxy.asks(cluster.hosts["airflow"], cluster, known) == speaks


# The check


def found(cluster, known: dict) -> dict[str, tuple[str, str]]:
    return {
        one.title: (one.verdict.level, one.verdict.sentence)
        for one in check.check_cluster(cluster, Facts(known))
    }


def test_all_is_well_with_new_certificates(with_ca):
    said = found(with_ca, {**certificate_facts(with_ca), **speaking()})
    assert {level for level, _ in said.values()} == {"ok"}
    assert said["certificate of patroni on sql3"] == ("ok", "valid for 397 days")


@pytest.mark.parametrize(
    ("changes", "level", "words"),
    [
        ({"at": NOW + 380 * DAY}, "warn", "expires in 17 days"),
        ({"at": NOW + 400 * DAY}, "error", "has expired"),
        ({"certificate": ""}, "error", "there is none"),
        ({"request": request("another")}, "error", "not for the key"),
    ],
)
def test_what_is_wrong_with_a_certificate_is_told(with_ca, changes, level, words):
    known = certificate_facts(with_ca)
    own = known[ETCD_TLS.held]["sql2"]
    known[ETCD_TLS.held]["sql2"] = replace(own, **changes)
    said = found(with_ca, {**known, **speaking()})["certificate of etcd on sql2"]
    assert said[0] == level
    assert words in said[1]


def test_a_key_that_others_can_read_is_told(with_ca):
    known = certificate_facts(with_ca)
    own = known[PATRONI_TLS.held]["sql1"]
    known[PATRONI_TLS.held]["sql1"] = replace(own, key="644 root postgres")
    level, sentence = found(with_ca, known)["private key of patroni on sql1"]
    assert level == "error"
    assert "644 root postgres" in sentence


def test_a_database_in_clear_is_told_unless_that_is_wanted(with_ca, hosts_yaml):
    level, sentence = found(with_ca, speaking(CLEAR, CLEAR))["etcd and Patroni speak TLS"]
    assert level == "warn"
    assert "etcd on sql1, Patroni on sql1" in sentence
    off = CONTENTS.load(hosts_yaml("enabled: true ", "enabled: false "))
    assert found(off, speaking(CLEAR, CLEAR))["etcd and Patroni speak TLS"][0] == "ok"
    assert found(with_ca, {}) == {}


def test_a_ca_that_expires_and_one_that_a_server_does_not_know_are_told(with_ca):
    known = certificate_facts(with_ca)
    known[TRUSTS]["mq2"] = "".join(authority.authority_of(new_authority("x"), "").trusted)
    later = tls.signer(with_ca).ends - 100 * DAY
    known[ETCD_TLS.held] = {
        name: replace(one, at=later) for name, one in known[ETCD_TLS.held].items()
    }
    said = found(with_ca, known)
    assert said["the CA is trusted"] == ("error", "not on mq2")
    assert said["the cluster's CA"] == ("warn", "valid for 100 days")


def test_the_status_lists_every_certificate(with_ca):
    known = Facts(certificate_facts(with_ca))
    rows = status.status(with_ca, known)
    etcd, *others = (row for row in rows if row["server"] == "sql1")
    assert [row["service"] for row in (etcd, *others)] == ["etcd", "patroni", "postgresql"]
    assert etcd["names"] == "localhost sql1 127.0.0.1 192.168.83.148"
    assert etcd["days left"] == 397
    assert etcd["signed by"] == "test CA"
    line = f"{len(rows)} certificates, the first one expires in 397 days"
    assert status.line(with_ca, known, []) == line
