"""Run programs of this machine."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from lab import CHECKOUT
from lab.errors import LabError


def run(
    *argv: object,
    feed: str | None = None,
    env: Mapping[str, str] | None = None,
    check: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Run argv, capture its output, give `feed` to its stdin and add `env` to the environment.

    A failure is a LabError with the last line of the program's output, unless `check` is off.
    """
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(
            words,
            input=feed,
            stdin=subprocess.DEVNULL if feed is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            env={**os.environ, **(env or {})},
            check=False,
        )
    except FileNotFoundError:
        raise LabError(f"the program {words[0]} is missing on this machine") from None
    if check and done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines() or ["(no output)"]
        shown = " ".join(words[:4])
        raise LabError(f"`{shown} …` failed with exit code {done.returncode}: {lines[-1]}")
    return done


def start_detached(argv: Sequence[str], log: Path, held: Sequence[int]) -> int:
    """Start a process that outlives this one and keeps the descriptors `held`; return its pid."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
            pass_fds=held,
            start_new_session=True,
        )
    return process.pid
