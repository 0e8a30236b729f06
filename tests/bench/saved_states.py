"""How long it takes to save a lab and to go back to it, for docs/lab.md.

sudo .venv/bin/python tests/bench/saved_states.py

Thirteen hosts, first bare, then with the whole cluster on them (LAB_KEEP=1: on the lab LAB_NAME as
it is). Prints a table; takes some minutes more than a deployment.
"""

from __future__ import annotations

import os
import re
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT))

from lab.machine import Lab  # noqa: E402

STATE = "measured"


@dataclass
class Clock:
    """When a command of the lab said which of its lines."""

    began: float = field(default_factory=time.monotonic)
    lines: list[tuple[float, str]] = field(default_factory=list)

    def __call__(self, line: str) -> None:
        self.lines.append((time.monotonic() - self.began, line))

    def said(self, words: str) -> float:
        """Seconds until the last line with these words."""
        return next(seconds for seconds, line in reversed(self.lines) if re.search(words, line))


def timed(lab: Lab) -> Clock:
    lab.write = Clock()
    return lab.write


def operate(lab: Lab, *command: str) -> None:
    """Run inv as the controller."""
    lab.exec(["inv", *command], cwd=PROJECT, stdout=sys.stderr, check=True)


def measure(lab: Lab, what: str, deployed: bool) -> None:
    """Save, restore, forget; rows of the table."""
    clock = timed(lab)
    saved = lab.save(STATE)
    size = lab.store.size(saved) / 2**20
    row(
        f"{what}: save",
        f"{clock.said(' is saved'):.1f} s, {clock.said('hosts are off'):.1f} of "
        f"them until all have shut down; they answer again after {clock.said('answers'):.0f} s",
    )
    row(f"{what}: size of the saved state", f"{size:.0f} MB")
    clock = timed(lab)
    lab.restore(STATE)
    words = f"{clock.said('answers'):.0f} s until all hosts answer"
    if deployed:
        operate(lab, "cluster.status", "--wait", "300")
        words += f", {time.monotonic() - clock.began:.0f} s until `inv cluster.status` is OK"
    row(f"{what}: restore", words)
    timed(lab)
    saved = lab.save(f"{STATE}-again")
    row(f"{what}: saved again at once, more disk", f"{lab.store.size(saved) / 2**20 - size:.0f} MB")
    lab.forget(f"{STATE}-again")
    lab.forget(STATE)


def row(what: str, figure: str) -> None:
    print(f"| {what} | {figure} |", flush=True)


def main() -> None:
    """The table's rows."""
    if sys.argv[1:]:
        sys.exit(f"{sys.argv[0]} takes no arguments; see its first lines")
    keep = os.environ.get("LAB_KEEP") == "1"
    lab = Lab.open(os.environ.get("LAB_NAME", "measure"), write=lambda line: None)
    if keep:
        measure(lab, "as it is", deployed=True)
        return
    lab.down()
    try:
        lab.up()
        measure(lab, "13 bare hosts", deployed=False)
        operate(lab, "cluster.deploy", "--yes", "--accept-host-keys")
        operate(lab, "cluster.status", "--wait", "300")
        measure(lab, "with the whole cluster", deployed=True)
    finally:
        lab.down()


if __name__ == "__main__":
    main()
