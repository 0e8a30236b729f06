"""Tests on real hosts. They need root; the first run builds the lab's cache."""

from __future__ import annotations

import json
import os
import subprocess
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from bare import KEEP, bare_hosts
from messages import Queue

from lab.machine import Lab

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def lab():
    """A lab with the hosts of hosts.yaml: LAB_NAME, else `test`. LAB_KEEP=1 keeps what is there."""
    if os.geteuid() != 0:
        pytest.fail("the lab needs root")
    with bare_hosts(os.environ.get("LAB_NAME", "test"), keep=KEEP) as opened:
        yield opened


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

    def unknown(self) -> set[str]:
        """Tasks of which a plan could not say what they will do."""
        return {
            task
            for task, result in self.data["tasks"].items()
            if any(host["status"] == "unknown" for host in result["hosts"].values())
        }

    def changes(self, but: set[str]) -> set[tuple[str, str]]:
        """(host, step) that a plan announces, or a run has changed, in all tasks but these."""
        return {
            (host, step["title"])
            for task, result in self.data["tasks"].items()
            if task not in but
            for host, outcome in result["hosts"].items()
            for step in outcome["steps"]
            if step["status"] in ("changed", "differs")
        }

    def hosts(self, *statuses: str) -> set[str]:
        """Hosts with one of these statuses as their gravest."""
        return {host for host, status in self.data["hosts"].items() if status in statuses}


@dataclass
class Controller:
    """The machine that runs `fab`, inside the lab's network."""

    lab: Lab
    environment: dict[str, str] = field(default_factory=dict)

    def given(self, **environment: str) -> Controller:
        """This one, with more in the environment of every run."""
        return Controller(self.lab, {**self.environment, **environment})

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
            env={**self.environment, **environment},
            cwd=PROJECT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=1800,
        )
        said = done.stdout + done.stderr
        assert "Traceback" not in said
        assert "error of its own" not in said
        return Answer(done.returncode, said)

    def settled(self, section: str, seconds: float = 120) -> None:
        """Wait until the section's check has nothing to say any more."""
        deadline = time.monotonic() + seconds
        while True:
            answer = self(f"{section}.check")
            if answer.code == 0 and not answer.steps("warn"):
                return
            assert time.monotonic() < deadline, answer.text
            time.sleep(1)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start fab and go on. A test run in the background passes on that SIGINT is ignored."""
        return subprocess.Popen(
            self.lab.inside(["env", "--default-signal=INT", "fab", *arguments]),
            env={**self.lab.environment(), **self.environment},
            cwd=PROJECT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


@pytest.fixture(scope="module")
def lab_of_its_own():
    """lab_of_its_own("grows", hosts_yaml) -> its fab, its hosts up and through Section 1."""
    with ExitStack() as labs:

        def up(name: str, file: Path) -> Controller:
            fab = Controller(labs.enter_context(bare_hosts(name, file)))
            answer = fab("--yes", "ssh.trust", "ssh.bootstrap", "base", "hostnames", "hosts")
            assert answer.code == 0, answer.text
            return fab

        yield up


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


@pytest.fixture(scope="session")
def queue(prepared, lab, tmp_path_factory) -> Queue:
    """The section rabbitmq has been carried out."""
    answer = prepared("rabbitmq")
    assert answer.code == 0, answer.text
    return Queue(lab, tmp_path_factory.mktemp("rabbitmq"))


@pytest.fixture
def on(lab):
    """Run a command as root on a host, past the product: on("mq1", "cat /etc/hosts")."""

    def run(host: str, command: str) -> str:
        done = lab.root_shell(host, command)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    return run


@pytest.fixture
def well_again():
    """Nothing to wait for."""
    return lambda: None


@pytest.fixture
def healed(lab, well_again):
    """lab.fault, undone at the end whatever happens; then `well_again` of the module waits."""
    broken = set()

    def fault(host: str, kind: str, **options: Any) -> None:
        broken.add(host)
        lab.fault(host, kind, **options)

    yield fault
    for host in broken:
        lab.heal(host)
    well_again()


@pytest.fixture
def settings(lab, tmp_path):
    """The lab's settings with these on top: settings("base", packages=[…]) -> environment."""

    def write(section: str, **changed: Any) -> dict[str, str]:
        override = tmp_path / "override.yaml"
        data = yaml.safe_load((PROJECT / "lab/override.yaml").read_text())
        data.setdefault(section, {}).update(changed)
        override.write_text(yaml.safe_dump(data))
        return {"RUNBOOK_OVERRIDE": str(override)}

    return write


@pytest.fixture
def report(request, capsys):
    """A figure for whoever reads the test's output: report("switchover: 1.5 s without writes")."""

    def say(line: str) -> None:
        with capsys.disabled():
            print(f"\n    {line}", end=" ", flush=True)

    return say
