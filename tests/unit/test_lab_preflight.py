from __future__ import annotations

import subprocess

import pytest

from lab import preflight
from lab.errors import LabError
from lab.machine import Lab


def apt_that_ends_with(code: int, calls: list[tuple[str, ...]]):
    def run(*argv, **options):
        calls.append(argv)
        return subprocess.CompletedProcess(argv, code, "", "")

    return run


def test_without_root_there_is_one_sentence(monkeypatch):
    monkeypatch.setattr(preflight.os, "geteuid", lambda: 1000)
    with pytest.raises(LabError, match="must be run as root") as caught:
        Lab.open("any")
    assert caught.value.exit_code == 2


def test_a_missing_package_is_installed_and_named(monkeypatch):
    calls: list[tuple[str, ...]] = []
    said: list[str] = []
    monkeypatch.setattr(preflight, "run", apt_that_ends_with(0, calls))
    preflight._install(["nftables", "rpm"], said.append)
    assert said == ["installing Debian packages that are missing here: nftables rpm"]
    assert [call[1] for call in calls] == ["install"]


def test_what_cannot_be_installed_is_named(monkeypatch):
    calls: list[tuple[str, ...]] = []
    monkeypatch.setattr(preflight, "run", apt_that_ends_with(100, calls))
    with pytest.raises(LabError, match="install them: nftables"):
        preflight._install(["nftables"], print)
    assert [call[1] for call in calls] == ["install", "update", "install"]


def test_a_lab_has_a_plain_name(monkeypatch):
    monkeypatch.setattr(preflight.os, "geteuid", lambda: 0)
    for name in ("../other", "a b", ".hidden"):
        with pytest.raises(LabError, match="a lab's name"):
            Lab.open(name)
