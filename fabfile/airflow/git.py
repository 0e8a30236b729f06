"""git on this machine: what others have committed is read, and nothing of it is run."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Optional

from runbook.errors import SettingsError

PATIENCE = 300
"""Seconds that a command of git may take."""

SAFE = {
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "core.askPass": "",
    "submodule.recurse": "false",
    "fetch.recurseSubmodules": "false",
    # With another server's answer, git would ask for a login there.
    "http.followRedirects": "false",
    "http.lowSpeedLimit": "1000",
    "http.lowSpeedTime": "30",
    "gc.auto": "0",
}
"""Settings that go over those of this machine: no hooks, no submodules, no other servers."""


class GitFailed(Exception):
    """What git printed before it failed."""


def run(
    words: Sequence[str],
    about: str,
    folder: Optional[Path] = None,
    given: bytes = b"",
    accepted: Sequence[int] = (0,),
    environment: Optional[Mapping[str, str]] = None,
    patience: int = PATIENCE,
) -> bytes:
    """What a command of git prints.

    Raises GitFailed with what it prints as errors, and SettingsError if git is missing, or does not
    end in time; `about` says with what.
    """
    settings = [word for key, value in SAFE.items() for word in ("-c", f"{key}={value}")]
    try:
        process = subprocess.Popen(
            ["git", *settings, *words],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**_environment(), **(environment or {})},
            start_new_session=True,  # ssh finds no terminal to ask at
        )
    except FileNotFoundError:
        raise SettingsError(
            f"git is not installed on this machine, which {about} needs. Install it."
        ) from None
    try:
        told, errors = process.communicate(given, timeout=patience)
    except subprocess.TimeoutExpired:
        raise SettingsError(
            f"{about}: git did not end within {patience} s. Check the network, then rerun."
        ) from None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    if process.returncode not in accepted:
        raise GitFailed(errors.decode(errors="replace"))
    return told


def bare(path: Path, about: str) -> None:
    """Make an empty repository that only its owner can read, unless it is there."""
    if not (path / "HEAD").is_file():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        run(["init", "-q", "--bare", "--template=", str(path)], about)


def _environment() -> dict[str, str]:
    """This process's, without what would lead git elsewhere; it asks nobody, and in English."""
    elsewhere = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX", "GIT_OBJECT", "GIT_TRACE", "GIT_CURL")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(elsewhere)}
    never = {"GIT_TERMINAL_PROMPT": "0", "SSH_ASKPASS_REQUIRE": "never", "GIT_ASKPASS": "true"}
    # It goes over protocol.NAME.allow, with which a remote could be a command.
    return {**kept, **never, "GIT_ALLOW_PROTOCOL": "https:http:ssh:file", "LC_ALL": "C"}
