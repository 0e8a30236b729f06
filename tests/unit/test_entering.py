"""Logins: SSH with small servers on this machine, and OpenSSH's agent."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import paramiko
import pytest
from support.entered import Site
from support.ssh_servers import Account, agent

from runbook.errors import AccessError, SettingsError, UnreachableError
from runbook.execute.run import Options
from runbook.execute.trees import push
from runbook.results import DO

if not shutil.which("ssh-keygen"):
    pytest.skip("OpenSSH's client is not installed", allow_module_level=True)


@pytest.fixture
def site(tmp_path, cluster, monkeypatch):
    for name in [name for name in os.environ if name.startswith(("RUNBOOK_", "SSH_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    site = Site(tmp_path, cluster)
    yield site
    site.close()


@pytest.fixture
def ssh_agent(tmp_path, monkeypatch):
    folder = tmp_path / "agent"
    folder.mkdir()
    with agent(folder) as running:
        monkeypatch.setenv("SSH_AUTH_SOCK", running.sock)
        yield running


@pytest.fixture
def without_terminal(monkeypatch):
    monkeypatch.setattr("sys.stdin.isatty", lambda: False)


# The key of hosts.yaml

KINDS = {
    "ed25519": ("-t", "ed25519"),
    "ecdsa": ("-t", "ecdsa"),
    "rsa": ("-t", "rsa", "-b", "2048"),
    "pem": ("-t", "rsa", "-b", "2048", "-m", "PEM"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_logs_in(site, kind):
    key = site.keygen(*KINDS[kind])
    assert site.enter(site.server(rocky=Account([key]))) == ["rocky"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_passphrase_is_asked_for_once(site, kind):
    key = site.keygen(*KINDS[kind], passphrase="open sesame")
    site.answers = {"Passphrase": "open sesame"}
    server = site.server(rocky=Account([key]))
    assert site.enter(server) == ["rocky"]
    assert site.asked == [f"Passphrase of {site.key_path}: "]
    assert server.logins == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_passphrase_is_said(site, kind):
    key = site.keygen(*KINDS[kind], passphrase="open sesame")
    site.answers = {"Passphrase": "close sesame"}
    with pytest.raises(SettingsError, match=r"The passphrase of .*id_ed25519 is wrong"):
        site.enter(site.server(rocky=Account([key])))


def test_the_passphrase_may_come_from_the_environment(site, monkeypatch, without_terminal):
    key = site.keygen(passphrase="open sesame")
    monkeypatch.setenv("RUNBOOK_KEY_PASSPHRASE", "open sesame")
    assert site.enter(site.server(rocky=Account([key]))) == ["rocky"]


def test_without_a_terminal_a_passphrase_ends_in_ssh_add(site, without_terminal):
    key = site.keygen(passphrase="open sesame")
    with pytest.raises(SettingsError, match=f"passphrase, .*ssh-add {site.key_path}"):
        site.enter(site.server(rocky=Account([key])))


def test_the_agent_is_asked_before_the_user(site, ssh_agent, without_terminal):
    key = site.keygen(passphrase="open sesame")
    ssh_agent.add(site.key_path, passphrase="open sesame")
    assert site.enter(site.server(rocky=Account([key]))) == ["rocky"]


def test_another_key_of_the_agent_is_tried_before_the_passphrase_is_asked_for(site, ssh_agent):
    site.keygen(passphrase="open sesame")
    other = site.keygen(name="other")
    ssh_agent.add(site.folder / "other")
    assert site.enter(site.server(rocky=Account([other]))) == ["rocky"]
    assert not site.asked


def test_the_passphrase_is_asked_for_if_the_agent_s_keys_are_refused(site, ssh_agent):
    key = site.keygen(passphrase="open sesame")
    site.keygen(name="other")
    ssh_agent.add(site.folder / "other")
    site.answers = {"Passphrase": "open sesame"}
    assert site.enter(site.server(rocky=Account([key]))) == ["rocky"]


def test_a_key_that_only_the_agent_has_is_the_first_of_many(site, ssh_agent):
    """sshd closes the connection after six keys, or after fewer."""
    for number in range(7):
        site.keygen(name=f"other{number}")
        ssh_agent.add(site.folder / f"other{number}")
    key = site.keygen()
    ssh_agent.add(site.key_path)
    site.key_path.unlink()
    server = site.server(rocky=Account([key]))
    assert site.enter(server) == ["rocky"]
    assert server.tries == [("rocky", key.fingerprint)]


def test_no_key_is_offered_twice(site, ssh_agent):
    key = site.keygen()
    ssh_agent.add(site.key_path)
    site.configure(f"IdentityFile {site.key_path}")
    server = site.server(rocky=Account())
    with pytest.raises(AccessError, match=r"does not accept the key of hosts\.yaml, .* for rocky"):
        site.enter(server)
    assert server.tries == [("rocky", key.fingerprint)]


def test_an_agent_that_is_gone_is_no_agent(site, monkeypatch):
    key = site.keygen()
    monkeypatch.setenv("SSH_AUTH_SOCK", str(site.folder / "gone"))
    assert site.enter(site.server(rocky=Account([key]))) == ["rocky"]


def test_without_any_key_one_is_told_how_to_make_one_and_nothing_is_connected(site):
    server = site.server(rocky=Account())
    with pytest.raises(SettingsError, match="does not exist; create a key"):
        site.enter(server)
    assert server.connections == 0


def test_keys_of_ssh_config_do_not_take_the_place_of_the_one_in_hosts_yaml(site):
    other = site.keygen(name="other")
    site.configure(f"IdentityFile {site.folder}/other")
    server = site.server(rocky=Account([other]))
    with pytest.raises(SettingsError, match="does not exist; create a key"):
        site.enter(server)
    assert server.connections == 0


def test_a_key_that_the_agent_may_not_use_is_passed_over(site, ssh_agent):
    """It was loaded with `ssh-add -c`, and its use is not confirmed."""
    site.keygen(name="guarded")
    ssh_agent.add(site.folder / "guarded", "-c")
    other = site.keygen(name="other")
    ssh_agent.add(site.folder / "other")
    assert site.enter(site.server(rocky=Account([other]))) == ["rocky"]


def test_a_key_that_was_not_confirmed_is_said(site, ssh_agent):
    key = site.keygen()
    ssh_agent.add(site.key_path, "-c")
    site.key_path.unlink()
    with pytest.raises(AccessError, match="agent did not sign: confirm the use of the key"):
        site.enter(site.server(rocky=Account([key])))


def security_key(path: Path) -> None:
    """Write a file as `ssh-keygen -t ed25519-sk` does; the key itself stays in the hardware."""
    kind, point, application = b"sk-ssh-ed25519@openssh.com", bytes(range(32)), b"ssh:"
    public, private = paramiko.Message(), paramiko.Message()
    for part in (kind, point, application):
        public.add_string(part)
    private.add_int(7)
    private.add_int(7)
    for part in (kind, point, application):
        private.add_string(part)
    private.add_byte(b"\x01")
    for part in (b"handle", b"", b"comment"):
        private.add_string(part)
    padding = -len(private.asbytes()) % 8
    whole = paramiko.Message()
    for part in (b"none", b"none", b""):
        whole.add_string(part)
    whole.add_int(1)
    whole.add_string(public.asbytes())
    whole.add_string(private.asbytes() + bytes(range(1, padding + 1)))
    text = base64.encodebytes(b"openssh-key-v1\0" + whole.asbytes()).decode()
    path.write_text(
        f"-----BEGIN OPENSSH PRIVATE KEY-----\n{text}-----END OPENSSH PRIVATE KEY-----\n"
    )


def test_a_security_key_wants_an_agent(site):
    security_key(site.key_path)
    with pytest.raises(SettingsError, match=f"security key .*ssh-add {site.key_path}"):
        site.enter(site.server(rocky=Account()))


def test_a_security_key_beside_an_agent_with_other_keys_is_said(site, ssh_agent):
    security_key(site.key_path)
    other = site.keygen(name="other")
    ssh_agent.add(site.folder / "other")
    assert site.enter(site.server(rocky=Account([other]))) == ["rocky"]
    with pytest.raises(AccessError, match=f"was not tried, .*ssh-add {site.key_path}"):
        site.enter(site.server(rocky=Account()))


def test_a_file_that_is_no_key_is_said(site):
    site.key_path.write_text("nothing of the kind\n")
    with pytest.raises(SettingsError, match="is not a usable private key"):
        site.enter(site.server(rocky=Account()))


def test_a_certificate_beside_the_key_is_offered_first_and_then_the_key(site):
    key = site.keygen()
    site.keygen(name="ca")
    sign = ["ssh-keygen", "-q", "-s", "ca", "-I", "me", "-n", "rocky", "id_ed25519.pub"]
    subprocess.run(sign, cwd=site.folder, check=True)
    server = site.server(rocky=Account())
    with pytest.raises(AccessError):
        site.enter(server)
    assert len(server.tries) == 2
    server.accounts["rocky"].keys = [key]
    assert site.enter(server) == ["rocky"]


# The first contact


def test_root_is_entered_by_key_as_on_every_cloud_image(site):
    key = site.keygen()
    server = site.server(root=Account([key]))
    assert site.enter(server, bootstrap=True) == ["root"]
    assert not site.asked


def test_root_is_entered_with_a_password_if_keys_are_refused(site):
    site.keygen()
    site.answers = {"Password of root": "toor"}
    server = site.server(root=Account(password="toor"))
    assert site.enter(server, bootstrap=True) == ["root"]
    assert server.passwords == ["toor"]


def test_a_password_is_not_asked_for_where_none_is_taken(site):
    site.keygen()
    server = site.server(root=Account())
    with pytest.raises(AccessError, match="for root, and does not allow passwords: install your"):
        site.enter(server, bootstrap=True)
    assert not site.asked


def test_a_wrong_password_is_said(site):
    site.keygen()
    site.answers = {"Password of root": "wrong"}
    server = site.server(root=Account(password="toor"))
    with pytest.raises(AccessError, match="does not accept that password for root"):
        site.enter(server, bootstrap=True)


def test_an_image_s_own_user_has_sudo(site):
    key = site.keygen()
    server = site.server(**{"cloud-user": Account([key])})
    assert site.enter(server, bootstrap=True, bootstrap_user="cloud-user") == ["cloud-user"]


def test_the_administrator_may_be_the_bootstrap_user(site):
    """The image contains the account, but sudo requires a password."""
    key = site.keygen()
    server = site.server(rocky=Account([key], sudo="secret"))
    assert site.enter(server, bootstrap=True, bootstrap_user="rocky") == ["rocky"]


def test_keys_that_were_refused_are_not_offered_again_to_the_same_account(site):
    site.keygen()
    site.answers = {"Password of rocky": "secret"}
    server = site.server(rocky=Account(password="secret", sudo="secret"))
    assert site.enter(server, bootstrap=True, bootstrap_user="rocky") == ["rocky"]
    assert len(server.tries) == 1


def test_the_password_of_a_login_is_also_sudo_s(site):
    site.keygen()
    site.answers = {"Password of cloud-user": "secret"}
    server = site.server(**{"cloud-user": Account(password="secret", sudo="secret")})
    connections = site.connections(server, bootstrap_user="cloud-user")
    host = connections.cluster.hosts["sql1"]
    connections._root_shell(host, connections.open(host, bootstrap=True))
    assert site.asked == ["Password of cloud-user on new hosts: "]


def test_an_image_that_names_its_user_is_quoted(site):
    key = site.keygen()
    refusal = 'echo \'Please login as the user "rocky" rather than the user "root".\''
    server = site.server(root=Account([key], forced=refusal))
    connections = site.connections(server)
    host = connections.cluster.hosts["sql1"]
    opened = connections.open(host, bootstrap=True)
    with pytest.raises(AccessError, match=r'user "rocky".* Set connection.bootstrap_user'):
        connections._root_shell(host, opened)


def test_a_second_factor_is_said(site):
    key = site.keygen()
    server = site.server(rocky=Account([key], password="secret", both=True))
    with pytest.raises(AccessError, match="accepts the key for rocky, but also requires password"):
        site.enter(server)


def test_a_bootstrap_user_may_give_key_and_password(site):
    key = site.keygen()
    site.answers = {"Password of root": "toor"}
    server = site.server(root=Account([key], password="toor", both=True))
    assert site.enter(server, bootstrap=True) == ["root"]


def test_a_host_that_hangs_up_after_many_keys_is_said(site, ssh_agent):
    for number in range(5):
        site.keygen(name=f"other{number}")
        ssh_agent.add(site.folder / f"other{number}")
    server = site.server(rocky=Account())
    server.most_tries = 4
    with pytest.raises(AccessError, match="closed after 4 keys; set IdentitiesOnly"):
        site.enter(server)


# ssh_config, as ssh reads it


def test_ssh_config_says_where_a_host_is_and_which_keys_it_takes(site):
    site.keygen()
    other = site.keygen(name="other")
    server = site.server(rocky=Account([other]))
    site.configure(f"Host sql1\nHostName localhost\nIdentityFile {site.folder}/other")
    site.pin(server, name=f"[localhost]:{server.port}")
    assert site.enter(server) == ["rocky"]


def test_included_files_and_match_blocks_count(site):
    site.keygen()
    other = site.keygen(name="other")
    more = site.folder / "more"
    more.write_text(f"Match user rocky\nIdentityFile {site.folder}/other\n")
    site.configure(f"Include {more}")
    assert site.enter(site.server(rocky=Account([other]))) == ["rocky"]


def test_only_the_named_keys_of_an_agent_are_offered_if_that_is_asked_for(site, ssh_agent):
    site.keygen(name="other")
    ssh_agent.add(site.folder / "other")
    key = site.keygen()
    site.configure("IdentitiesOnly yes")
    server = site.server(rocky=Account())
    with pytest.raises(AccessError):
        site.enter(server)
    assert server.tries == [("rocky", key.fingerprint)]


def test_the_agent_of_ssh_config_is_used(site, ssh_agent, monkeypatch):
    monkeypatch.delenv("SSH_AUTH_SOCK")
    key = site.keygen()
    ssh_agent.add(site.key_path)
    site.key_path.unlink()
    site.configure(f"IdentityAgent {ssh_agent.sock}")
    assert site.enter(site.server(rocky=Account([key]))) == ["rocky"]


def test_a_key_of_ssh_config_with_a_passphrase_is_named(site):
    site.keygen()
    site.keygen(name="other", passphrase="secret")
    site.configure(f"IdentityFile {site.folder}/other")
    with pytest.raises(AccessError, match=f"other was not tried, .*ssh-add {site.folder}/other"):
        site.enter(site.server(rocky=Account()))


def test_a_proxy_command_is_run_by_a_shell(site):
    key = site.keygen()
    server = site.server(rocky=Account([key]))
    relay = site.folder / "relay.py"
    relay.write_text(RELAY)
    site.configure(f"Host sql1\nProxyCommand python3 {relay} %h %p 2>/dev/null")
    assert site.enter(server) == ["rocky"]


RELAY = """import os, socket, sys, threading
sock = socket.create_connection((sys.argv[1], int(sys.argv[2])))
def back():
    while data := sock.recv(65536):
        os.write(1, data)
threading.Thread(target=back, daemon=True).start()
while data := os.read(0, 65536):
    sock.sendall(data)
"""


def test_bytes_that_are_not_utf_8_are_nothing_special(site):
    key = site.keygen()
    site.config.write_bytes(b"# caf\xe9\nHost caf\xe9\nUser no\xebl\nHost *\nIdentityFile none\n")
    assert site.enter(site.server(rocky=Account([key]))) == ["rocky"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Garbage in", "Bad configuration option: garbage"),
        ("Match nonsense", "for sql1: "),
        (
            "CanonicalizeHostname yes\nCanonicalDomains example.invalid\n"
            "CanonicalizeFallbackLocal no",
            "Could not resolve host",
        ),
    ],
)
def test_what_ssh_refuses_is_said_in_its_words(site, text, words):
    site.keygen()
    server = site.server(rocky=Account())
    site.config.write_text(f"{text}\n")
    with pytest.raises(SettingsError, match=f"ssh cannot use its configuration.*{words}"):
        site.enter(server)
    assert server.tries == []


# Gateways


@pytest.fixture
def behind(site):
    """A server, the gateways, and their entries for ssh_config."""
    key = site.keygen()
    server = site.server(rocky=Account([key]))
    gateways = {name: site.server(hop=Account([key])) for name in ("a", "b", "c")}
    places = "".join(
        f"Host {name}\nHostName 127.0.0.1\nPort {gateway.port}\nUser hop\n"
        for name, gateway in gateways.items()
    )
    return server, gateways, places


def passed(gateways) -> list[str]:
    return [name for name, gateway in gateways.items() if gateway.forwarded]


@pytest.mark.parametrize("jump", ["a", "a,b", "a,b,c"])
def test_every_hop_of_a_proxy_jump_is_passed(site, behind, jump):
    server, gateways, places = behind
    site.configure(f"{places}Host sql1\nProxyJump {jump}")
    assert site.enter(server) == ["rocky"]
    assert passed(gateways) == jump.split(",")


def test_a_gateway_may_have_a_proxy_jump_of_its_own(site, behind):
    server, gateways, places = behind
    site.configure(f"{places}Host c\nProxyJump b\nHost b\nProxyJump a")
    assert site.enter(server, gateway="c") == ["rocky"]
    assert passed(gateways) == ["a", "b", "c"]


def test_gateways_of_hosts_yaml_may_be_several_with_user_and_port(site, behind):
    server, gateways, _ = behind
    jump = ",".join(f"hop@127.0.0.1:{gateways[name].port}" for name in ("a", "b"))
    assert site.enter(server, gateway=jump) == ["rocky"]
    assert passed(gateways) == ["a", "b"]


def test_the_gateway_of_hosts_yaml_goes_over_ssh_config(site, behind):
    server, gateways, places = behind
    site.configure(f"{places}Host sql1\nProxyJump a")
    assert site.enter(server, gateway="b") == ["rocky"]
    assert passed(gateways) == ["b"]


@pytest.mark.parametrize("where", ["ssh_config", "hosts.yaml"])
def test_none_is_no_gateway(site, behind, where):
    server, gateways, places = behind
    if where == "ssh_config":
        site.configure(f"{places}Host sql1\nProxyJump none\nHost *\nProxyJump a")
        assert site.enter(server) == ["rocky"]
    else:
        site.configure(f"{places}Host sql1\nProxyJump a")
        assert site.enter(server, gateway="none") == ["rocky"]
    assert passed(gateways) == []


def test_gateways_in_a_circle_are_said(site, behind):
    server, _, places = behind
    site.configure(f"{places}Host a\nProxyJump b\nHost b\nProxyJump a")
    with pytest.raises(SettingsError, match=r"has a loop, or .*; correct ProxyJump"):
        site.enter(server, gateway="a")


def test_a_gateway_may_take_another_key(site, behind):
    server, gateways, places = behind
    other = site.keygen(name="other")
    gateways["a"].accounts["hop"].keys = [other]
    site.configure(f"{places}Host a\nIdentityFile {site.folder}/other")
    assert site.enter(server, gateway="a") == ["rocky"]


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        ("keys", "the gateway a does not accept any of your keys for hop"),
        ("host key", "the gateway a .* not pinned: .* log in once with ssh"),
        ("forwarding", "the gateway a does not forward connections to sql1 .* AllowTcpForwarding"),
        ("target", "the gateway a cannot connect to sql1 .*: "),
        ("gateway", "the gateway a .* is unreachable: connection refused"),
    ],
)
def test_what_is_wrong_with_a_gateway_is_said_of_the_gateway(site, behind, trouble, words):
    server, gateways, places = behind
    site.configure(places)
    if trouble == "keys":
        gateways["a"].accounts["hop"].keys = []
    elif trouble == "host key":
        site.known_hosts.write_text("")
    elif trouble == "forwarding":
        gateways["a"].forwards = False
    else:
        (server if trouble == "target" else gateways["a"]).close()
    with pytest.raises(UnreachableError, match=words):
        site.enter(server, gateway="a")


def test_a_gateway_that_was_cut_off_is_opened_again(site, behind):
    server, gateways, places = behind
    site.configure(places)
    connections = site.connections(server, gateway="a")
    host = connections.cluster.hosts["sql1"]
    connections.open(host)
    gateways["a"].cut()
    connections.drop(host)
    connections.open(host)
    assert gateways["a"].logins == 2


@pytest.mark.parametrize("error", [EOFError(), OSError("reset"), paramiko.SSHException("lost")])
def test_a_host_is_dropped_while_its_gateway_dies(site, behind, monkeypatch, error):
    """The gateway may die after paramiko has checked that the channel is open."""
    server, _, places = behind
    site.configure(places)
    connections = site.connections(server, gateway="a")
    host = connections.cluster.hosts["sql1"]
    connections.open(host)

    def refuse(transport, message):
        raise error

    with monkeypatch.context() as lost:
        lost.setattr(paramiko.Transport, "_send_user_message", refuse)
        connections.drop(host)
    connections.open(host)


# Folders, which ssh and rsync copy


@pytest.fixture
def copied(site, monkeypatch):
    """Copy a folder to a server and return the copied text: copied(server, **connection)."""
    if not shutil.which("rsync"):
        pytest.skip("rsync is not installed")
    source = site.folder / "source of wheels"
    source.mkdir()
    (source / "file").write_text("content")

    def copy(server, **connection):
        monkeypatch.setattr("sys.stdin", (site.folder / "source of wheels" / "file").open())
        connections = site.connections(server, **connection)
        run = SimpleNamespace(
            connections=connections,
            cluster=connections.cluster,
            options=Options(),
            task="copy",
            mode=DO,
            each=lambda hosts, function: [function(host) for host in hosts],
        )
        push(run, connections.cluster.hosts["sql1"], source, str(site.folder / "target"))
        return (site.folder / "target" / "file").read_text()

    return copy


def test_a_folder_is_copied_with_the_key_and_the_host_key_of_the_run(site, copied):
    server = site.server(rocky=Account([site.keygen()]))
    assert copied(server) == "content"


def test_a_folder_is_copied_through_the_gateway(site, behind, copied):
    server, gateways, places = behind
    site.configure(f"{places}Match host 127.0.0.1\nUserKnownHostsFile {site.known_hosts}")
    text = site.config.read_text().replace(
        "IdentityFile none", f"IdentityFile {site.key_path}\nUserKnownHostsFile {site.known_hosts}"
    )
    site.config.write_text(text)
    assert copied(server, gateway="a,b") == "content"
    assert len(gateways["a"].forwarded) == 2
    assert len(gateways["b"].forwarded) == 2


def test_a_folder_is_not_copied_with_a_passphrase_that_only_we_know(site, copied, monkeypatch):
    key = site.keygen(passphrase="open sesame")
    monkeypatch.setenv("RUNBOOK_KEY_PASSPHRASE", "open sesame")
    with pytest.raises(SettingsError, match=f"rsync cannot ask.*ssh-add {site.key_path}"):
        copied(site.server(rocky=Account([key])))
