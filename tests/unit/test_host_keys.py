"""Which host keys are accepted: pinned, revoked, signed by an authority, as in ssh."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import shutil
import subprocess

import paramiko
import pytest
from support.entered import Site
from support.ssh_servers import Account, Certified

from fabfile import CONTENTS
from runbook.errors import UnreachableError, UsageError
from runbook.execute.journal import Journal
from runbook.execute.run import Options, Run
from runbook.execute.trust import trust
from runbook.output.report import Report
from runbook.results import Status
from runbook.secrets.mask import Mask
from runbook.secrets.vault import Passwords
from runbook.ssh.known_hosts import KnownHosts

OTHER = f"SHA256:{'A' * 43}"
"""The fingerprint of a key that no server has."""

needs_openssh = pytest.mark.skipif(
    not shutil.which("ssh-keygen"), reason="OpenSSH's client is not installed"
)


@pytest.fixture(scope="module")
def keys():
    return [paramiko.ECDSAKey.generate() for _ in range(3)]


def line(names: str, key, marker: str = "") -> str:
    return f"{marker} {names} {key.get_name()} {key.get_base64()}\n".lstrip()


def known(folder, *texts: str | bytes) -> KnownHosts:
    files = []
    for number, text in enumerate(texts):
        file = folder / f"known_hosts{number}"
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        files.append(file)
    return KnownHosts(files)


def hidden(name: str) -> str:
    """Return a name as HashKnownHosts writes it."""
    digest = hmac.new(b"salt", name.encode(), hashlib.sha1).digest()
    return "|1|" + "|".join(base64.b64encode(part).decode() for part in (b"salt", digest))


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ("10.0.0.1", True),
        ("sql1,10.0.0.1", True),
        ("10.0.0.*", True),
        ("10.0.0.?", True),
        ("*,!10.0.0.1", False),
        ("10.0.0.11", False),
        ("10.0.0", False),
        ("10x0x0x1", False),
        ("[10.0.0.1]:2222", False),
        (hidden("10.0.0.1"), True),
        (hidden("10.0.0.2"), False),
        ("|1|garbage", False),
    ],
)
def test_names_match_as_they_do_in_ssh(tmp_path, keys, names, found):
    hosts = known(tmp_path, line(names, keys[0]))
    assert hosts.keys("10.0.0.1") == ([keys[0]] if found else [])


def test_a_host_on_another_port_is_another_host(tmp_path, keys):
    hosts = known(tmp_path, line("[10.0.0.1]:2222", keys[0]))
    assert hosts.keys("[10.0.0.1]:2222") == [keys[0]]


def test_what_is_no_host_key_is_skipped(tmp_path, keys):
    odd = (
        b"\n# comment\n@cert-authority\nsql1\nsql1 ssh-ed25519\n@odd sql1 ssh-ed25519 AAAA\n"
        b"sql1 ssh-dss AAAA\nsql1 sk-ssh-ed25519@openssh.com AAAA\nsql1 ssh-ed25519 !!!\n"
        b"caf\xe9 ssh-ed25519 AAAA caf\xe9\n"
    )
    hosts = known(tmp_path, odd + line("sql1", keys[0]).encode())
    assert hosts.keys("sql1") == [keys[0]]


def test_an_authority_and_a_revoked_key_are_no_pinned_keys(tmp_path, keys):
    hosts = known(
        tmp_path,
        line("*", keys[0], "@cert-authority") + line("*", keys[1], "@revoked"),
    )
    assert hosts.keys("sql1") == []


def test_the_first_file_that_knows_a_host_decides(tmp_path, keys):
    hosts = known(tmp_path, line("sql2", keys[0]), line("sql1", keys[1]), line("sql1", keys[2]))
    assert hosts.keys("sql1") == [keys[1]]


def test_a_new_key_takes_the_place_of_all_old_ones(tmp_path, cluster, keys):
    """Also of a hashed one; other hosts of a line, markers and comments stay, byte by byte."""
    host = cluster.hosts["sql1"]
    text = (
        f"# caf\xe9\n{hidden(host.address)} {keys[0].get_name()} {keys[0].get_base64()}\n"
        + line(f"sql1,other,{host.address}", keys[0])
        + line("*", keys[2], "@revoked")
    )
    hosts = known(tmp_path, text.encode("latin-1"))
    hosts.pin(host, host.address, keys[1])
    assert hosts.keys(host.address) == [keys[1]]
    assert hosts.keys("other") == [keys[0]]
    first, *_, revoked, last = hosts.files[0].read_bytes().splitlines()
    assert first == b"# caf\xe9"
    assert revoked.startswith(b"@revoked * ")
    assert last.startswith(f"sql1,{host.address} ".encode())


# Seen by a run


@pytest.fixture
def site(tmp_path, cluster, monkeypatch):
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    site = Site(tmp_path, cluster)
    yield site
    site.close()


@pytest.fixture
def server(site):
    return site.server(known=False, rocky=Account([site.keygen()]))


pytestmark = needs_openssh


def test_an_unknown_key_is_refused_with_its_fingerprint(site, server):
    with pytest.raises(UnreachableError, match=r"not pinned: .* SHA256:.*fab -H sql1 ssh.trust"):
        site.enter(server)
    assert server.tries == []


def test_another_key_than_the_pinned_one_is_refused(site, server, keys):
    site.pin(server, keys[0])
    with pytest.raises(UnreachableError, match=r"differs from the pinned one.*--replace\. If"):
        site.enter(server)


def test_a_key_that_hosts_yaml_does_not_list_is_refused_though_it_is_pinned(site):
    server = site.server(rocky=Account([site.keygen()]))
    assert site.enter(server, host_key=f"{OTHER} {server.key.fingerprint}") == ["rocky"]
    with pytest.raises(UnreachableError) as refused:
        site.enter(server, host_key=OTHER)
    assert f"{server.key.fingerprint}, but hosts.yaml lists {OTHER}" in str(refused.value)
    assert "correct hosts.sql1.host_key" in str(refused.value)


def test_a_listed_key_still_has_to_be_pinned(site, server):
    with pytest.raises(UnreachableError, match="a host key that is not pinned"):
        site.enter(server, host_key=server.key.fingerprint)


# First contact


@pytest.fixture
def trusting(site, monkeypatch):
    """Run ssh.trust on a server without a terminal: trusting(server, host_key, yes=True)."""
    monkeypatch.setattr("sys.stdin", io.StringIO())

    def trusting(server, host_key=None, replace=False, **options):
        mask = Mask()
        connections = site.connections(server, host_key=host_key)
        run = Run(
            contents=CONTENTS,
            cluster=connections.cluster,
            options=Options(**options),
            report=Report(mask, order=["sql1"], stream=io.StringIO()),
            config=None,
            journal=Journal(site.folder, mask),
            passwords=Passwords(mask, ask=str),
        )
        run._connections = connections
        trust(run, list(run.cluster.hosts.values()), replace=replace)
        [result] = run.results
        return result

    return trusting


@pytest.mark.parametrize("options", [{}, {"yes": True}])
def test_without_a_terminal_no_key_is_accepted_not_even_with_yes(site, server, trusting, options):
    with pytest.raises(UsageError, match="pass --accept-host-keys, or set host_key"):
        trusting(server, **options)
    assert not site.known_hosts.read_text()


def test_host_keys_are_accepted_if_that_is_what_was_asked_for(site, server, trusting):
    assert trusting(server, accept_host_keys=True).count(Status.CHANGED) == 1
    assert server.key.get_base64() in site.known_hosts.read_text()


def test_a_key_that_hosts_yaml_lists_is_pinned_without_a_question(site, server, trusting):
    assert trusting(server, server.key.fingerprint).count(Status.CHANGED) == 1
    assert server.key.get_base64() in site.known_hosts.read_text()
    assert trusting(server, server.key.fingerprint).count(Status.OK) == 1


@pytest.mark.parametrize("replace", [False, True])
def test_a_key_that_hosts_yaml_does_not_list_is_never_accepted(site, server, trusting, replace):
    result = trusting(server, OTHER, accept_host_keys=True, replace=replace)
    assert result.status is Status.REFUSED
    assert f"{server.key.fingerprint}, but hosts.yaml lists {OTHER}" in result.sentence
    assert not site.known_hosts.read_text()


def test_a_pinned_key_that_hosts_yaml_does_not_list_is_refused(site, server, trusting):
    site.pin(server)
    assert trusting(server, OTHER).status is Status.REFUSED


def test_a_plan_pins_nothing(site, server, trusting):
    assert trusting(server, server.key.fingerprint, plan=True).count(Status.DIFFERS) == 1
    assert not site.known_hosts.read_text()


def test_a_line_for_the_host_that_cannot_be_read_is_named(site, server):
    site.known_hosts.write_text(f"[127.0.0.1]:{server.port} ssh-ed25519 !!!\n")
    with pytest.raises(UnreachableError, match=r"known_hosts:1 lists the host, but its key cannot"):
        site.enter(server)


@pytest.mark.parametrize("names", ["*", "sql1", "127.0.0.1"])
def test_a_revoked_key_is_refused_although_it_is_pinned(site, server, names):
    site.pin(server)
    site.pin(server, marker="@revoked", name=names)
    with pytest.raises(UnreachableError, match=r"revoked in .*known_hosts:2"):
        site.enter(server)


def test_a_key_that_is_revoked_for_others_is_fine(site, server):
    site.pin(server)
    site.pin(server, marker="@revoked", name="sql2")
    assert site.enter(server) == ["rocky"]


def test_a_host_with_several_keys_is_asked_for_the_one_that_is_pinned(site, server):
    server.host_keys = [paramiko.ECDSAKey.generate(), paramiko.RSAKey.generate(2048)]
    site.pin(server, server.host_keys[1])
    assert site.enter(server) == ["rocky"]
    connections = site.connections(server)
    name, shown, accepted = connections.host_key(connections.cluster.hosts["sql1"])
    assert name == f"[127.0.0.1]:{server.port}"
    assert shown == server.host_keys[1]
    assert shown in accepted


def test_the_alias_of_ssh_config_is_the_name_in_known_hosts(site, server):
    site.configure("Host sql1\nHostKeyAlias the-database")
    site.pin(server, name="the-database")
    assert site.enter(server) == ["rocky"]


# Certificates


@pytest.fixture
def certified(site, server):
    """Let the server show a certificate: certified(principals, option, …)."""

    def certify(principals: str = "sql1", *options: str, kind: str = "ed25519") -> None:
        bits = ("-b", "2048") if kind == "rsa" else ()
        for name in ("ca", "host"):
            site.keygen("-t", kind, *bits, name=name)
        sign = ["ssh-keygen", "-q", "-s", "ca", "-h", "-I", "host", "-n", principals, *options]
        subprocess.run([*sign, "host.pub"], cwd=site.folder, check=True)
        key = paramiko.PKey.from_path(site.folder / "host")
        key.public_blob = None
        own = paramiko.PKey.from_path(site.folder / "host")
        server.host_keys = [key, Certified(own, site.folder / "host-cert.pub")]

    return certify


@pytest.fixture
def authority(site, server):
    """Trust the test's authority for hosts of these names."""

    def trust(names: str = "*", marker: str = "@cert-authority") -> None:
        kind, text, _ = (site.folder / "ca.pub").read_text().split()
        known = site.known_hosts.read_text()
        site.known_hosts.write_text(f"{known}{marker} {names} {kind} {text}\n")

    return trust


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_a_host_is_let_in_by_its_certificate(site, server, certified, authority, kind):
    certified(kind=kind)
    authority()
    assert site.enter(server) == ["rocky"]


@pytest.mark.parametrize(
    ("principals", "names"),
    [("sql1", "sql*"), ("127.0.0.1", "127.*"), ("sql*", "*"), ("other,sql1", "sql1,!sql2")],
)
def test_a_certificate_is_for_the_name_or_the_address(
    site, server, certified, authority, principals, names
):
    certified(principals)
    authority(names)
    assert site.enter(server) == ["rocky"]


@pytest.mark.parametrize(
    ("principals", "names", "options", "why"),
    [
        ("sql2", "*", (), "it is valid for sql2, not for"),
        ("sql1", "127.0.0.1", (), "it is valid for sql1, not for 127.0.0.1"),
        ("sql1", "*", ("-V", "20200101:20200102"), "it has expired"),
        ("sql1", "*", ("-V", "20990101:20990102"), "it is not valid yet"),
    ],
)
def test_a_certificate_that_does_not_hold_is_said(
    site, server, certified, authority, principals, names, options, why
):
    certified(principals, *options)
    authority(names)
    with pytest.raises(UnreachableError, match=f"certificate is not accepted: {why}"):
        site.enter(server)


def test_a_certificate_of_another_authority_is_said(site, server, certified, authority):
    certified()
    site.keygen(name="other")
    (site.folder / "other.pub").replace(site.folder / "ca.pub")
    authority()
    with pytest.raises(UnreachableError, match="known_hosts has no @cert-authority line"):
        site.enter(server)


def test_a_user_s_certificate_is_none_for_a_host(site, server, certified, authority):
    certified()
    sign = ["ssh-keygen", "-q", "-s", "ca", "-I", "host", "-n", "sql1", "host.pub"]
    subprocess.run(sign, cwd=site.folder, check=True)
    own = paramiko.PKey.from_path(site.folder / "host")
    server.host_keys = [server.host_keys[0], Certified(own, site.folder / "host-cert.pub")]
    authority()
    with pytest.raises(UnreachableError, match="it is a user certificate, not a host certificate"):
        site.enter(server)


def test_a_pinned_key_counts_whatever_its_certificate_says(site, server, certified, authority):
    certified("sql2")
    authority()
    site.pin(server)
    assert site.enter(server) == ["rocky"]


@pytest.mark.parametrize("what", ["ca", "host"])
def test_a_revoked_authority_or_certified_key_is_refused(site, server, certified, authority, what):
    certified()
    authority()
    if what == "ca":
        authority(marker="@revoked")
    else:
        site.pin(server, server.host_keys[0], marker="@revoked", name="*")
    with pytest.raises(UnreachableError, match="revoked in"):
        site.enter(server)


def test_a_forged_certificate_is_refused(site, server, certified, authority):
    """It names the authority, but the authority has not signed it."""
    certified()
    authority()
    file = site.folder / "host-cert.pub"
    kind, text, *_ = file.read_text().split()
    blob = bytearray(base64.b64decode(text))
    blob[-1] ^= 1
    file.write_text(f"{kind} {base64.b64encode(bytes(blob)).decode()}\n")
    own = paramiko.PKey.from_path(site.folder / "host")
    server.host_keys = [server.host_keys[0], Certified(own, file)]
    with pytest.raises(UnreachableError, match="its signature is invalid"):
        site.enter(server)


def test_a_certified_host_needs_no_pinning(site, server, certified, authority):
    certified()
    authority()
    connections = site.connections(server)
    _, shown, accepted = connections.host_key(connections.cluster.hosts["sql1"])
    assert shown in accepted
