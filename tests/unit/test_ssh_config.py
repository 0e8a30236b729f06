"""The route to a host, from ssh_config and hosts.yaml."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fabfile import CONTENTS
from runbook.errors import InventoryError, SettingsError
from runbook.ssh import ssh_config
from runbook.ssh.ssh_config import RELEVANT, Hop, SshConfig, hop_of

needs_ssh = pytest.mark.skipif(not shutil.which("ssh"), reason="OpenSSH's client is not installed")


@pytest.fixture
def config(tmp_path):
    """Write an ssh_config: config(text)."""

    def written(text: str) -> SshConfig:
        file = tmp_path / "ssh_config"
        file.write_text(text)
        return SshConfig(str(file))

    return written


@pytest.mark.parametrize(
    ("text", "hop"),
    [
        ("bastion", Hop("bastion")),
        ("ops@bastion:2222", Hop("bastion", "ops", 2222)),
        ("ops@example.com@bastion", Hop("bastion", "ops@example.com")),
        ("[2001:db8::1]:22", Hop("2001:db8::1", "", 22)),
        ("[10.0.0.1]", Hop("10.0.0.1")),
    ],
)
def test_a_gateway_has_parts(text, hop):
    assert hop_of(text) == hop


GATEWAYS = [
    "bastion",
    "ops@bastion.example.com:2222",
    "ops@example.com@bastion",
    "a,ops@b:22",
    "ops@[::1]:2222",
    "none",
]
NO_GATEWAYS = [
    "ops@bastion:ssh",
    "@",
    "@bastion",
    ":2222",
    "bastion:",
    "bastion:0",
    "bastion:65536",
    "ops@::1",
    "a,",
    ",a",
    "a b",
    "-oProxyCommand=reboot",
    "bastion\n",
    "",
]


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_a_gateway_of_hosts_yaml_is_what_ssh_takes_after_j(hosts_yaml, gateway):
    cluster = CONTENTS.load(hosts_yaml("gateway: null", f"gateway: {gateway!r}"))
    assert cluster.connection.gateway == gateway
    for hop in gateway.split(","):
        assert hop_of(hop).host


@pytest.mark.parametrize("gateway", NO_GATEWAYS)
@pytest.mark.parametrize("place", ["connection", "host"])
def test_anything_else_is_a_complaint_about_the_inventory(hosts_yaml, gateway, place):
    written = f'gateway: "{gateway}"'.replace("\n", "\\n")
    if place == "connection":
        file, key = hosts_yaml("gateway: null", written), "connection.gateway"
    else:
        file, key = hosts_yaml("sql1:       {", f"sql1:       {{{written}, "), "hosts.sql1.gateway"
    with pytest.raises(InventoryError, match=key):
        CONTENTS.load(file)


@needs_ssh
def test_the_address_of_hosts_yaml_counts_where_ssh_config_has_no_other(config):
    found = config("Host sql2\nHostName db.example.com\n")
    assert found.of("sql1", "rocky", 2222, "10.0.0.1").hostname == "10.0.0.1"
    assert found.of("sql2", "rocky", 2222, "10.0.0.2").hostname == "db.example.com"


@needs_ssh
def test_a_proxy_command_gets_what_it_asks_for(config):
    found = config("ProxyCommand relay %h:%p %r %n 100%%\n").of("sql1", "rocky", 2222, "10.0.0.1")
    assert found.proxy == "relay 10.0.0.1:2222 rocky sql1 100%"


@needs_ssh
def test_user_and_port_of_a_gateway_are_those_of_ssh_config(config):
    found = config("Host bastion\nUser ops\nPort 2222\n")
    assert (found.of("bastion").user, found.of("bastion").port) == ("ops", 2222)
    assert (found.of("bastion", "me", 22).user, found.of("bastion", "me", 22).port) == ("me", 22)


@needs_ssh
@pytest.mark.parametrize(
    ("text", "agent"),
    [
        ("", "/run/agent"),
        ("IdentityAgent SSH_AUTH_SOCK", "/run/agent"),
        ("IdentityAgent none", ""),
        ("IdentityAgent $OTHER", "/run/other"),
        ("IdentityAgent ${OTHER}", "/run/other"),
        ("IdentityAgent /run/third", "/run/third"),
        ("IdentityAgent ~/agent", str(Path("~/agent").expanduser())),
    ],
)
def test_the_agent_is_that_of_ssh_config_or_of_the_environment(config, monkeypatch, text, agent):
    monkeypatch.setenv("SSH_AUTH_SOCK", "/run/agent")
    monkeypatch.setenv("OTHER", "/run/other")
    assert config(text).of("sql1").agent == agent


@needs_ssh
def test_a_file_that_is_missing_is_said(tmp_path):
    with pytest.raises(SettingsError, match="nowhere: No such file"):
        SshConfig(str(tmp_path / "nowhere")).of("sql1")


def test_without_ssh_a_configuration_cannot_be_read(config, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SettingsError, match="is not installed; install the OpenSSH client"):
        config("").of("sql1")


def test_without_a_configuration_ssh_is_not_needed(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(ssh_config, "_says_something", lambda: False)
    found = SshConfig().of("sql1", "rocky", 22, "10.0.0.1")
    assert (found.hostname, found.user, found.port, found.jump) == ("10.0.0.1", "rocky", 22, "")


@pytest.mark.parametrize(
    ("text", "relevant"),
    [
        (b"Host *\n    SendEnv LANG LC_*\n    HashKnownHosts yes\n#   Port 22\n", False),
        (b"Include /etc/ssh/ssh_config.d/*.conf\n", False),
        (b"Match final all\n\tInclude /etc/crypto-policies/back-ends/openssh.config\n", False),
        (b"Host *\n  proxyjump bastion\n", True),
        (b"Include /etc/ssh/company\n", True),
        (b"\tIdentityFile caf\xe9\n", True),
    ],
)
def test_ssh_is_started_only_if_the_machine_s_files_make_a_difference(text, relevant):
    """Every start costs some milliseconds for each host."""
    assert bool(RELEVANT.search(text)) is relevant
