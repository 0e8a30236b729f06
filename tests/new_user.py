#!/usr/bin/env python3
"""Try a new user's way as README and docs/commands.md write it: a fresh clone, no servers.

    tests/new_user.py [FOLDER]      FOLDER: where to work; a temporary one by default

Every line of their shell blocks has to be known here: what it must say and its exit code, or that
it needs servers, root or a person.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
PATIENCE = 300
PAGES = ("README.md", "docs/commands.md")


@dataclass(frozen=True)
class Expected:
    """What a command ends in, and what it says."""

    text: str = ""
    code: int = 0


NO_KEY = Expected("ssh-keygen -t ed25519", 2)
"""A new user has no key yet; the sentence says how to make one."""

TRIED = {
    "make setup": Expected(),
    "source .venv/bin/activate": Expected(),
    "source <(fab --print-completion-script bash; inv --print-completion-script bash)": Expected(),
    "fab --list": Expected("Give the administrator an account"),
    "inv --list": Expected("secrets.generate"),
    "inv inventory.check": Expected("hosts.yaml is fine: 13 hosts, 2 VIPs."),
    "inv inventory.show": Expected("192.168.83.129"),
    "inv secrets.generate": Expected("generated and kept in"),
    "inv secrets.check": Expected("is fine"),
    "inv runbook.show base": Expected("timedatectl set-timezone"),
    "fab --dry base": Expected("ssh-keygen"),
    "fab ssh.bootstrap": Expected("ssh-keygen -t ed25519", 1),
    "fab base --plan": NO_KEY,
    "fab base": NO_KEY,
    "fab base.check": NO_KEY,
}

ELSEWHERE = {
    "make demo",
    "$EDITOR hosts.yaml",
    "make test",
    "fab ssh.trust",
    "fab base.preflight",
    "inv cluster.plan",
    "inv cluster.deploy",
    "inv cluster.status",
    "fab airflow.smoke",
}
"""What needs servers, root or a person; the tests on the lab run most of these."""


def commands(text: str) -> Iterator[str]:
    """The lines of all shell blocks, without their comments."""
    for block in re.findall(r"^ *```sh\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            command = re.sub(r"\s+#.*", "", line).strip()
            if command and not command.startswith("#"):
                yield command


def environment(home: Path) -> dict[str, str]:
    """That of somebody who has just logged in for the first time."""
    kept = ("PATH", "LANG", "LC_ALL", "PIP_INDEX_URL", "PIP_CACHE_DIR", "PYTHON", "SSL_CERT_FILE")
    return {**{name: os.environ[name] for name in kept if name in os.environ}, "HOME": str(home)}


def run(command: str, clone: Path, home: Path) -> subprocess.CompletedProcess[str]:
    """A command as typed in the clone, after those that came before it."""
    ready = "[[ ! -e .venv/bin/activate ]] || source .venv/bin/activate; "
    return subprocess.run(
        ["bash", "-c", f"{ready}{command}"],
        cwd=clone,
        env=environment(home),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def complaints(command: str, answer: subprocess.CompletedProcess[str]) -> Iterator[str]:
    """What is not as expected of a command's answer."""
    expected = TRIED[command]
    said = answer.stdout + answer.stderr
    if answer.returncode != expected.code:
        yield f"exit code {answer.returncode} instead of {expected.code}"
    if expected.text not in said:
        yield f"does not say {expected.text!r}"
    if "Traceback" in said:
        yield "shows a traceback"


def attempt(folder: Path) -> int:
    """Clone, and type what the README says; the number of commands that went wrong."""
    clone, home = folder / "airflow-runbook", folder / "home"
    home.mkdir()
    subprocess.run(["git", "clone", "-q", str(PROJECT), str(clone)], check=True)
    wrong = 0
    texts = [(clone / page).read_text(encoding="utf-8") for page in PAGES]
    for command in (command for text in texts for command in commands(text)):
        if command in ELSEWHERE:
            print(f"-     {command}")
            continue
        if command not in TRIED:
            print(f"WRONG {command}\n      nobody has said here what it should do")
            wrong += 1
            continue
        answer = run(command, clone, home)
        found = list(complaints(command, answer))
        print(f"{'WRONG' if found else 'ok   '} {command}", flush=True)
        if found:
            wrong += 1
            print("\n".join([*(f"      {one}" for one in found), answer.stdout, answer.stderr]))
    left = subprocess.run(
        ["git", "status", "--porcelain"], cwd=clone, capture_output=True, text=True, check=True
    ).stdout
    if left:
        print(f"WRONG git sees what should be ignored:\n{left}")
        wrong += 1
    return wrong


def main() -> int:
    """0 if all went as the README says."""
    if len(sys.argv) > 1:
        return bool(attempt(Path(sys.argv[1])))
    with tempfile.TemporaryDirectory(prefix="new-user-") as folder:
        return bool(attempt(Path(folder)))


if __name__ == "__main__":
    sys.exit(main())
