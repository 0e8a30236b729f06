"""What unit tests share: no root, no network, no waiting."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from support.program import answer

from fabfile import CONTENTS
from runbook.cli.fab import main
from runbook.cli.program import main as inv_program
from runbook.inventory.cluster import Cluster

PROJECT = Path(__file__).resolve().parents[2]

if os.geteuid() == 0:
    # In /tmp everybody may write, so root's steps would refuse to work there.
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", "/var/cache")


@pytest.fixture(scope="session")
def cluster(tmp_path_factory) -> Cluster:
    """The inventory as it is shipped, away from the passwords of whoever runs the tests."""
    folder = tmp_path_factory.mktemp("cluster")
    return CONTENTS.load(Path(shutil.copy(PROJECT / "hosts.yaml", folder)))


@pytest.fixture
def hosts_yaml(tmp_path):
    """A copy of hosts.yaml with one thing changed: hosts_yaml(old, new) -> its path."""

    def changed(old: str = "", new: str = "") -> Path:
        text = (PROJECT / "hosts.yaml").read_text()
        assert old in text
        file = tmp_path / "hosts.yaml"
        file.write_text(text.replace(old, new, 1) if old else text)
        return file

    return changed


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Run a program in this process; there is no key, so it cannot connect anywhere.

    Neither does it read the ssh_config of whoever runs the tests, which may name keys or an agent.
    """
    override = tmp_path / "override.yaml"
    override.write_text("connection: {key: id_ed25519, known_hosts: [known_hosts]}\n")
    monkeypatch.chdir(PROJECT)
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setattr("runbook.ssh.ssh_config._says_something", lambda: False)
    monkeypatch.setenv("RUNBOOK_STATE", str(tmp_path))
    monkeypatch.setenv("RUNBOOK_OVERRIDE", str(override))

    return lambda entry, *arguments: answer(entry, arguments, monkeypatch, capsys)


@pytest.fixture
def fab(call):
    return lambda *arguments: call(main, *arguments)


@pytest.fixture
def inv(call):
    return lambda *arguments: call(inv_program, *arguments)
