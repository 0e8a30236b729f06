"""Whether a command runs in a lab: by its network, and by nothing that could be set."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from lab import plugs
from lab.errors import LabError
from lab.plugs import Plugs, here
from runbook.errors import RunbookError


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """A lab whose controller's namespace is a file of the test."""
    monkeypatch.setattr(plugs, "NAMESPACES", tmp_path)
    monkeypatch.setattr(plugs.os, "geteuid", lambda: 0)
    found = SimpleNamespace(name="test", tag="lab-1")
    monkeypatch.setattr(plugs, "labs", lambda: iter([SimpleNamespace(tag="lab-0"), found]))
    return tmp_path / "lab-1"


def test_outside_of_a_labs_network_there_is_no_lab(lab, monkeypatch):
    monkeypatch.setenv("LAB_NAME", "test")
    assert here() is None
    lab.touch()
    assert here() is None


def test_inside_it_there_is(lab):
    lab.symlink_to("/proc/self/ns/net")
    found = here()
    assert found
    assert found.name == "test"


def test_who_is_not_root_is_in_no_lab(lab, monkeypatch):
    lab.symlink_to("/proc/self/ns/net")
    monkeypatch.setattr(plugs.os, "geteuid", lambda: 1000)
    assert here() is None


def test_an_error_of_the_lab_is_a_sentence_of_the_product():
    class Broken:
        name = "test"

        def strike(self, hosts, kind):
            raise LabError("sql1 is off")

        def status(self):
            return [
                SimpleNamespace(name="a", state="running"),
                SimpleNamespace(name="b", state="off"),
            ]

    with pytest.raises(RunbookError, match="sql1 is off"):
        Plugs(Broken()).strike(["sql1"], "freeze")
    assert Plugs(Broken()).standing() == {"b": "off"}
