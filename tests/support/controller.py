"""Who runs `fab` in the tests, and what it answers."""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import dataclass, field
from typing import Any

from lab import CHECKOUT as PROJECT
from lab.machine import Lab


@dataclass
class Answer:
    """What `fab` printed, and with --json what that says; `text` then ends with every sentence."""

    code: int
    text: str
    data: dict[str, Any] = field(default_factory=dict)

    def steps(self, *statuses: str) -> set[tuple[str, str]]:
        """(host, step) with one of these statuses, over all tasks."""
        return {
            (host, said(step))
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


def said(step: dict[str, Any]) -> str:
    """The title of a step or question, and what its answer means."""
    return ": ".join(filter(None, (step["title"], step.get("says"))))


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
            tasks = answer.data["tasks"].values()
            hosts = [host for task in tasks for host in task["hosts"].values()]
            answer.text += "\n".join(said(step) for host in hosts for step in host["steps"])
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
        assert "Internal error" not in said
        return Answer(done.returncode, said)

    def settled(self, section: str, seconds: float = 120) -> None:
        """Wait until the section's check has nothing to say any more."""
        deadline = time.monotonic() + seconds
        while True:
            began = time.monotonic()
            answer = self(f"{section}.check")
            if answer.code == 0 and not answer.steps("warn"):
                return
            assert time.monotonic() < deadline, answer.text
            time.sleep(max(2, time.monotonic() - began))

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
