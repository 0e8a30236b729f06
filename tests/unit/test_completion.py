"""What the Tab key offers: tasks, options, and the hosts and groups of hosts.yaml."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fabfile import CONTENTS
from runbook.cli.completion import hosts, script

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def shell(tmp_path):
    """Run a shell that has our `fab` in its PATH."""
    program = tmp_path / "fab"
    program.write_text(
        f"#!/bin/sh\nPYTHONPATH='{PROJECT}' exec '{sys.executable}' -c "
        "'from runbook.cli.fab import main; main()' \"$@\"\n"
    )
    program.chmod(0o755)
    (tmp_path / "script").write_text(script("bash", "fab"))
    (tmp_path / "script.zsh").write_text(script("zsh", "fab"))

    def run(*command: str) -> list[str]:
        path = f"{tmp_path}:{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "HERE": str(tmp_path)}
        return subprocess.run(
            command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=True
        ).stdout.splitlines()

    return run


@pytest.fixture
def bash(shell):
    def complete(line: str, begun: str) -> list[str]:
        return shell(
            "bash",
            "-c",
            'source "$HERE/script"; COMP_LINE=$1 COMP_POINT=${#1}; _complete_fab fab "$2" x; '
            'printf "%s\\n" "${COMPREPLY[@]}"',
            "bash",
            line,
            begun,
        )

    return complete


@pytest.mark.parametrize(
    ("line", "begun", "offered"),
    [
        ("fab postgres.sw", "postgres.sw", ["postgres.switchover"]),
        ("fab base --pl", "--pl", ["--plan"]),
        ("fab -H haproxy", "haproxy", ["haproxy2"]),
        ("fab -H sql1,sq", "sql1,sq", ["sql1,sql2", "sql1,sql3"]),
        ("fab -H @postg", "postg", ["postgres"]),
        ("fab -H mq1,@postg", "postg", ["postgres"]),
        ("fab postgres.switchover --to sql", "sql", ["sql1", "sql2", "sql3"]),
    ],
)
def test_bash_completes(bash, line, begun, offered):
    assert bash(line, begun) == offered


@pytest.mark.skipif(not shutil.which("zsh"), reason="zsh is not here")
def test_zsh_completes(shell):
    offered = shell(
        "zsh",
        "-fc",
        'source "$HERE/script.zsh"; words=(fab -H @p); _complete_fab; print -l $reply',
    )
    assert "@postgres" in offered
    assert "sql1" in offered


def test_hosts_are_offered_where_hosts_are_wanted(monkeypatch):
    assert "@postgres" in hosts("fab -H ", CONTENTS)
    assert "@postgres" in hosts("fab --hosts=", CONTENTS)
    assert hosts("fab base", CONTENTS) is None
    assert hosts("fab -H sql1 ", CONTENTS) is None
    monkeypatch.setenv("RUNBOOK_INVENTORY", "/nowhere/hosts.yaml")
    assert hosts("fab -H ", CONTENTS) == []
