"""What unit tests share: no root, no network, no waiting."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fabfile.engine.cluster import Cluster
from fabfile.engine.inventory import load

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def cluster(tmp_path_factory) -> Cluster:
    """The inventory as it is shipped, away from the passwords of whoever runs the tests."""
    folder = tmp_path_factory.mktemp("cluster")
    return load(Path(shutil.copy(PROJECT / "hosts.yaml", folder)))


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
