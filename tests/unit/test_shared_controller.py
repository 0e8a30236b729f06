"""Other users of the controller: what they can change, read or plant."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from conftest import PROJECT

from fabfile import CONTENTS
from runbook.errors import SettingsError
from runbook.execute.journal import Journal
from runbook.inventory.owned import writer
from runbook.secrets.private_file import read_private, write_private
from runbook.secrets.vault import Mask
from runbook.ssh.known_hosts import KnownHosts

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_hosts_yaml_that_everybody_can_change_is_told(hosts_yaml):
    file = hosts_yaml()
    assert not any("can change" in one for one in CONTENTS.load(file).warnings)
    file.chmod(0o666)
    [told] = [one for one in CONTENTS.load(file).warnings if "can change" in one]
    assert told.startswith("every user of this machine can change")
    assert f"chmod go-w {file}" in told


@root_only
def test_so_is_one_of_another_account_or_group(hosts_yaml, monkeypatch):
    monkeypatch.delenv("SUDO_UID", raising=False)
    file = hosts_yaml()
    os.chown(file, 65534, 0)
    assert "the user nobody" in writer(file)
    monkeypatch.setenv("SUDO_UID", "65534")
    assert writer(file) == ""
    os.chown(file, 0, 65534)
    file.chmod(0o664)
    assert writer(file).startswith("the group ")
    os.chown(file, 0, 0)
    assert writer(file) == ""


def test_a_state_folder_for_everybody_is_refused(tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    with pytest.raises(SettingsError, match="Every user of this machine can write to"):
        CONTENTS.load(PROJECT / "hosts.yaml", state=shared)
    shared.chmod(0o700)
    assert CONTENTS.load(PROJECT / "hosts.yaml", state=shared)


def test_what_others_can_read_is_not_taken_for_secret(tmp_path):
    file = tmp_path / "secrets.yaml"
    write_private(file, b"a: b\n")
    assert mode(file) == 0o600
    file.chmod(0o640)
    with pytest.raises(SettingsError, match="readable by others"):
        read_private(file)


def test_a_planted_link_is_replaced_and_not_written_through(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine\n")
    for name in ("secrets.yaml", "known_hosts", "walk.json"):
        (tmp_path / name).symlink_to(victim)
        write_private(tmp_path / name, b"new\n")
        assert not (tmp_path / name).is_symlink()
    assert victim.read_text() == "mine\n"


def test_host_keys_are_pinned_in_a_file_of_ones_own(tmp_path, cluster):
    import paramiko

    victim = tmp_path / "victim"
    victim.write_text("mine\n")
    (tmp_path / ".known_hosts.new").symlink_to(victim)
    known = KnownHosts([tmp_path / "known_hosts"])
    key = paramiko.ECDSAKey.generate()
    known.pin(cluster.hosts["sql1"], "192.168.83.148", key)
    assert victim.read_text() == "mine\n"
    assert mode(tmp_path / "known_hosts") == 0o600
    assert key.get_base64() in (tmp_path / "known_hosts").read_text()


def test_the_journal_is_its_owners(tmp_path):
    Journal(tmp_path, Mask()).write(task="x")
    assert mode(tmp_path / "journal.jsonl") == 0o600
