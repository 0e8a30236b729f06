"""`inv cluster.*` on the hosts of a lab."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from support.controller import PROJECT

from lab.machine import Lab


@dataclass
class Whole:
    """A lab, and who operates it."""

    lab: Lab

    @property
    def state(self) -> Path:
        """Where the controller keeps what it knows."""
        return self.lab.state / "controller"

    def on(self, host: str, command: str) -> str:
        """Run a command as root on a host, past the product."""
        done = self.lab.root_shell(host, command)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def __call__(self, *arguments: str) -> tuple[int, str]:
        """Run inv as a person would; its exit code and what it said."""
        done = self.lab.exec(
            ["inv", *arguments],
            cwd=PROJECT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=1500,
        )
        said = done.stdout + done.stderr
        assert "Traceback" not in said
        assert "Internal error" not in said
        return done.returncode, said

    def changed(self, *arguments: str) -> tuple[int, set[tuple[str, str]]]:
        """Run inv with --json; its exit code, and (host, step) of all that it changed."""
        code, said = self(*arguments, "--json")
        data, _ = json.JSONDecoder().raw_decode(said[said.index("{") :])
        return code, {
            (host, step["title"])
            for task in data["tasks"].values()
            for host, result in task["hosts"].items()
            for step in result["steps"]
            if step["status"] == "changed"
        }
