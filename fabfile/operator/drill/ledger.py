"""What became of each drill, and a fault that stands: files in the state folder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Optional

import msgspec

from runbook.errors import RunbookError, SettingsError

from .measure import Figures

PASSED, MISSED, BY_DESIGN, FAILED, NOT_RUN = "passed", "missed", "by design", "failed", "not run"
"""Words for a drill: all marks were reached; one was missed; an outage, since hosts.yaml has no
second server; the cluster did not recover, or the drill could not be carried out; it did not begin.
"""

WRONG = (MISSED, FAILED, NOT_RUN)
"""Words that end in exit code 1."""


class Entry(msgspec.Struct, kw_only=True):
    """One drill, once.

    `seconds`: without service, or until the status was OK; `mark`: what it may be. `alone`: whether
    the cluster recovered by itself. `well`: seconds from the end of the fault until the status was
    OK. `exposed`: what hosts.yaml has no second server for.
    """

    when: str
    run: str
    who: str
    cluster: str
    ground: str
    drill: str
    sentence: str
    word: str = NOT_RUN
    why: list[str] = []
    struck: list[str] = []
    seconds: Optional[float] = None
    mark: Optional[float] = None
    alone: Optional[bool] = None
    well: Optional[float] = None
    exposed: list[str] = []
    trade: str = ""
    loads: list[Figures] = []
    versions: dict[str, str] = {}

    @property
    def lost(self) -> int:
        """Acknowledged items that are not there, of loads of which none may be lost."""
        return sum(one.lost or 0 for one in self.loads if not one.lossy)

    @property
    def late(self) -> int:
        """The same of other loads."""
        return sum(one.lost or 0 for one in self.loads if one.lossy)

    @property
    def twice(self) -> int:
        """Items that are there more than once."""
        return sum(one.twice for one in self.loads)

    @property
    def retried(self) -> int:
        """Tasks that took several attempts."""
        return sum(one.retried for one in self.loads)


class Standing(msgspec.Struct):
    """A fault that was caused and has not been ended yet."""

    drill: str = ""
    struck: list[str] = []
    since: str = ""


def ledger(state: Path) -> Path:
    """The file with a line for each drill."""
    return state / "drills.jsonl"


def standing(state: Path) -> Path:
    """The file that says which fault stands."""
    return state / "drill.json"


@contextmanager
def alone_with(state: Path) -> Iterator[None]:
    """For this long, no other command carries out drills; RunbookError if one does now."""
    file = state / ".drill.lock"
    try:
        state.mkdir(parents=True, exist_ok=True)
        lock = os.open(file, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise SettingsError(f"{file} cannot be written: {error.strerror}.") from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunbookError(
                f"Another command carries out drills ({state}). Wait for it, or stop it."
            ) from None
        yield
    finally:
        os.close(lock)


def append(state: Path, entry: Entry) -> None:
    """Add what became of a drill."""
    file = ledger(state)
    try:
        with open(file, "ab", opener=lambda path, flags: os.open(path, flags, 0o600)) as stream:
            stream.write(msgspec.json.encode(entry) + b"\n")
    except OSError as error:
        raise SettingsError(f"{file} cannot be written: {error.strerror}.") from None


def read(state: Path) -> list[Entry]:
    """All drills, the oldest first; a line that a full disk cut short is left out."""
    file = ledger(state)
    try:
        lines = file.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror}.") from None
    found = []
    for line in lines:
        try:
            found.append(msgspec.json.decode(line, type=Entry))
        except msgspec.MsgspecError:
            continue
    return found
