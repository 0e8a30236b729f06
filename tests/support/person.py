"""Somebody who types what `inv runbook.show` prints."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

import yaml
from support.controller import PROJECT, Answer, Controller

from lab.command import run
from lab.errors import LabError
from lab.machine import Lab


@dataclass
class Person:
    """Somebody with the runbook, a root shell on each host, and secrets.yaml."""

    lab: Lab
    fab: Controller

    def inv(self, *arguments: str, feed: str = "") -> Answer:
        done = self.lab.exec(
            ["inv", *arguments], cwd=PROJECT, input=feed, capture_output=True, timeout=300
        )
        assert "Traceback" not in done.stderr
        assert "Internal error" not in done.stderr
        return Answer(done.returncode, done.stdout or done.stderr)

    def types(self, host: str, chapter: str, *options: str) -> str:
        """All of what is printed for a chapter goes into a root shell, passwords filled in."""
        shown = self.inv("runbook.show", chapter, "--host", host, *options)
        assert shown.code == 0, shown.text
        said = run(*self.lab.host(host).shell("bash"), check=False, feed=self.filled(shown.text))
        words = said.stdout + said.stderr
        for trouble in ("syntax error", "command not found", "unbound variable"):
            assert trouble not in words, words
        return words

    def filled(self, text: str) -> str:
        file = Path(self.lab.environment()["RUNBOOK_STATE"]) / "secrets.yaml"
        kept = yaml.safe_load(file.read_text()) if file.exists() else {}
        for name in re.findall(r"^#   @(\w+)@: ", text, re.MULTILINE):
            kept.setdefault(name, os.urandom(12).hex())
            text = text.replace(f"@{name}@", kept[name])
        file.touch(mode=0o600)
        file.write_text(yaml.safe_dump(kept))
        return text

    def boot_id(self, host: str) -> str:
        try:
            return self.lab.root_shell(host, "cat /proc/sys/kernel/random/boot_id").stdout
        except LabError:  # it is off at the moment
            return ""

    def types_section_one(self, host: str) -> None:
        """Of a fresh host; hostnames ends in a reboot."""
        for chapter in ("base", "hosts"):
            self.types(host, chapter)
        before = self.boot_id(host)
        self.types(host, "hostnames")
        deadline = time.monotonic() + 60
        while self.boot_id(host) in ("", before):
            assert time.monotonic() < deadline
            time.sleep(0.3)
        self.lab.heal(host)

    def nothing_left(self, host: str, sister: str, *sections: str) -> None:
        """A plan has nothing to do, and the checks say what they say of the sister."""
        plan = self.fab("-H", host, "--plan", *sections)
        assert plan.code == 0, plan.text
        assert plan.steps("differs") == set(), plan.text
        checks = [f"{section}.check" for section in sections]
        deadline = time.monotonic() + 120  # what was started last is not at work at once
        while True:
            answer = self.fab("-H", f"{host},{sister}", *checks)
            said = [answer.data["tasks"][check]["hosts"] for check in checks]
            if all(one[host]["status"] == one[sister]["status"] for one in said):
                return
            assert time.monotonic() < deadline, answer.text
            time.sleep(2)
