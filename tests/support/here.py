"""This machine in the place of a host: steps, carried out by a real bash on files of a test."""

from __future__ import annotations

import getpass
import grp
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from runbook.declare import steps
from runbook.declare.library import library
from runbook.declare.step import Step
from runbook.results import DO
from runbook.script import Reader, compile_script

ME = getpass.getuser()
MINE = grp.getgrgid(os.getgid()).gr_name
OURS = {"owner": ME, "group": MINE}
NOT_ROOT = 'runuser() { shift 3; "$@"; }; export -f runuser\n'
"""Only root may become somebody else; whoever runs the tests is the owner already."""
AS_ME = NOT_ROOT if os.geteuid() else ""


@dataclass
class Here:
    """This machine as a host: scripts run in bash, notes and locks go to a folder of the test."""

    folder: Path

    def run(self, *wanted: Step, mode: str = DO, probes=(), noted=()) -> Reader:
        runtime = str(self.folder / "run")
        script = compile_script(wanted, probes, mode, "me@here", noted, runtime)
        answer = subprocess.run(
            ["bash", "-s"], input=(library() + AS_ME + script.text).encode(), capture_output=True
        )
        reader = Reader(script)
        reader.feed(answer.stdout)
        reader.close()
        assert answer.stderr == b""
        return reader

    def statuses(self, *wanted: Step, **options) -> list[str]:
        return [result.status for result in self.run(*wanted, **options).results]

    def path(self, name: str) -> str:
        return str(self.folder / name)


def kinds(here: Here) -> dict[str, list[Step]]:
    """One example of each kind that needs no root."""
    (here.folder / "config").write_text("SELINUX=enforcing\n# SELINUX=x\nSELINUXTYPE=targeted\n")
    (here.folder / "config").chmod(0o644)
    return {
        "file": [steps.file(here.path("file"), "it's $HOME `id`\nEOF\n", "0640", **OURS)],
        "empty file": [steps.file(here.path("empty"), "", **OURS)],
        "line": [steps.line(here.path("keys"), "ssh-ed25519 AAAA 'x'", "0600", **OURS)],
        "block": [steps.block(here.path("hosts"), "us", ["10.0.0.1 sql1"], ["sql1"], **OURS)],
        "directory": [steps.directory(here.path("dir"), "0700", **OURS)],
        "command": [steps.command("t", f"touch {here.path('t')}", f"[[ -e {here.path('t')} ]]")],
        "fed": [
            steps.with_stdin(
                "fed",
                f"cat >{here.path('fed')}",
                "it's $HOME\nEOF\n",
                unless=f"holds_text {here.path('fed')}",
                diff=f"text_diff {here.path('fed')}",
            )
        ],
        "setting": [
            steps.edited(
                here.path("config"),
                "mode",
                steps.setting(here.path("config"), "SELINUX", "disabled").render,
                **OURS,
            )
        ],
    }


KINDS = ["file", "empty file", "line", "block", "directory", "command", "fed", "setting"]
