"""Tests on real hosts. They need root; the first run builds the lab's cache."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lab.machine import Lab

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def lab():
    """A lab with the hosts of hosts.yaml: LAB_NAME, else `test`. LAB_KEEP=1 leaves it running."""
    if os.geteuid() != 0:
        pytest.fail("the lab needs root")
    opened = Lab.open(os.environ.get("LAB_NAME", "test"))
    opened.up()
    yield opened
    if os.environ.get("LAB_KEEP") != "1":
        opened.down()


@dataclass
class Answer:
    """What `fab` printed, and with --json what that says."""

    code: int
    text: str
    data: dict[str, Any] = field(default_factory=dict)

    def steps(self, *statuses: str) -> set[tuple[str, str]]:
        """(host, step) with one of these statuses, over all tasks."""
        return {
            (host, step["title"])
            for task in self.data["tasks"].values()
            for host, result in task["hosts"].items()
            for step in result["steps"]
            if step["status"] in statuses
        }

    def hosts(self, *statuses: str) -> set[str]:
        """Hosts with one of these statuses as their gravest."""
        return {host for host, status in self.data["hosts"].items() if status in statuses}


@dataclass
class Controller:
    """The machine that runs `fab`, inside the lab's network."""

    lab: Lab

    def __call__(self, *arguments: str, **environment: str) -> Answer:
        """Run fab with --json and wait for it."""
        answer = self.text("--json", *arguments, **environment)
        start = answer.text.find("{")
        if start >= 0:
            answer.data, _ = json.JSONDecoder().raw_decode(answer.text[start:])
        return answer

    def text(self, *arguments: str, **environment: str) -> Answer:
        """Run fab as a person would and wait for it; no traceback may come out of it."""
        done = self.lab.exec(
            ["fab", *arguments],
            env=environment,
            cwd=PROJECT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
        )
        said = done.stdout + done.stderr
        assert "Traceback" not in said
        assert "error of its own" not in said
        return Answer(done.returncode, said)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start fab and go on. A test run in the background passes on that SIGINT is ignored."""
        return subprocess.Popen(
            self.lab.inside(["env", "--default-signal=INT", "fab", *arguments]),
            env=self.lab.environment(),
            cwd=PROJECT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


@pytest.fixture(scope="session")
def controller_of() -> type[Controller]:
    """The controller of a lab other than the session's."""
    return Controller


@pytest.fixture(scope="session")
def fab(lab) -> Controller:
    return Controller(lab)


@pytest.fixture(scope="session")
def reachable(lab, fab) -> Controller:
    """All hosts know the controller's key, and it knows theirs."""
    answer = fab("--yes", "ssh.trust", "ssh.bootstrap")
    assert answer.code == 0, answer.text
    return fab


@pytest.fixture(scope="session")
def prepared(reachable) -> Controller:
    """Section 1 has been carried out."""
    answer = reachable("--yes", "base", "hostnames", "hosts", "ssh")
    assert answer.code == 0, answer.text
    return reachable


@pytest.fixture
def on(lab):
    """Run a command as root on a host, past the product: on("mq1", "cat /etc/hosts")."""

    def run(host: str, command: str) -> str:
        done = lab.root_shell(host, command)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    return run


@pytest.fixture
def settings(lab, tmp_path):
    """An override file with the lab's settings and these: settings("base: {…}") -> environment."""

    def write(text: str) -> dict[str, str]:
        override = tmp_path / "override.yaml"
        override.write_text((PROJECT / "lab/override.yaml").read_text() + text)
        return {"RUNBOOK_OVERRIDE": str(override)}

    return write
