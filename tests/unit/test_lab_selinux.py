"""The lab's commands of SELinux remember what a kernel and a policy would."""

from __future__ import annotations

import importlib.machinery
import importlib.util

import pytest

from lab import CHECKOUT

LAB = CHECKOUT / "lab/rocky/tree/usr/lib/lab"


@pytest.fixture
def selinux(tmp_path):
    loader = importlib.machinery.SourceFileLoader("selinux", str(LAB / "selinux"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("selinux", loader))
    loader.exec_module(module)
    module.POLICY = LAB / "selinux-policy"
    module.STORE = tmp_path / "store/store.json"
    return module


def said(capsys) -> str:
    return capsys.readouterr().out.strip()


def test_a_boolean_stays_as_it_was_set(selinux, capsys):
    selinux.getsebool(["haproxy_connect_any"])
    assert said(capsys) == "haproxy_connect_any --> off"
    selinux.setsebool(["-P", "haproxy_connect_any", "1"])
    selinux.getsebool(["haproxy_connect_any"])
    assert said(capsys) == "haproxy_connect_any --> on"
    with pytest.raises(SystemExit, match="not defined"):
        selinux.setsebool(["-P", "no_such_boolean", "1"])


def test_a_rule_labels_only_what_is_relabelled(selinux, capsys, tmp_path):
    file = tmp_path / "priority"
    file.touch()
    selinux.semanage(["fcontext", "-a", "-t", "keepalived_var_run_t", f"{tmp_path}(/.*)?"])
    with pytest.raises(SystemExit) as ended:
        selinux.matchpathcon(["-V", str(file)])
    assert ended.value.code == 1
    selinux.restorecon(["-R", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        selinux.matchpathcon(["-V", str(file)])
    assert ended.value.code == 0
    assert "verified" in said(capsys)
    (tmp_path / "new").touch()
    selinux.restorecon(["-R", "-n", "-v", str(tmp_path)])
    assert said(capsys) == ""  # a new file has the label of its directory
    with pytest.raises(SystemExit, match="already defined"):
        selinux.semanage(["fcontext", "-a", "-t", "bin_t", f"{tmp_path}(/.*)?"])


def test_a_port_of_the_policy_can_only_be_modified(selinux, capsys):
    with pytest.raises(SystemExit, match="already defined"):
        selinux.semanage(["port", "-a", "-t", "http_port_t", "-p", "tcp", "5000"])
    selinux.semanage(["port", "-m", "-t", "http_port_t", "-p", "tcp", "5000"])
    selinux.semanage(["port", "-l", "-C"])
    assert said(capsys).split() == ["http_port_t", "tcp", "5000"]
