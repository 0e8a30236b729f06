"""Where a walk through the runbook was interrupted, so that anyone can continue it."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Optional

import msgspec

from runbook.errors import SettingsError
from runbook.secrets.private_file import write_private


class Place(msgspec.Struct, frozen=True):
    """A step of a task on a host."""

    task: str
    host: str
    step: str


class Walk(msgspec.Struct, frozen=True):
    """Where a walk is, who moved it there and when, what was skipped, and what is done.

    `turn` increases with each move: if it has changed, somebody else has continued the walk.
    """

    turn: int = 0
    who: str = ""
    when: str = ""
    at: Optional[Place] = None
    skipped: tuple[Place, ...] = ()
    done: tuple[str, ...] = ()


class Moved(Exception):
    """Somebody else has continued the walk meanwhile."""

    def __init__(self, walk: Walk) -> None:
        super().__init__(walk.who)
        self.walk = walk


class Bookmark:
    """One walk in `walk.json` of the state folder; a walk of another part has its own."""

    def __init__(self, state: Path, part: str, who: str) -> None:
        self.file = state / "walk.json"
        self.walk = Walk()
        self._part = part
        self._who = who

    def open(self) -> Walk:
        """The walk as it was left."""
        self.walk = self._read().get(self._part, Walk())
        return self.walk

    def move(self, change: Callable[[Walk], Walk]) -> None:
        """Move the walk, and save that; Moved if somebody else has moved it since."""
        with self._alone():
            walks = self._read()
            found = walks.get(self._part, Walk())
            if found.turn != self.walk.turn:
                self.walk = found
                raise Moved(found)
            self.walk = msgspec.structs.replace(
                change(found),
                turn=found.turn + 1,
                who=self._who,
                when=time.strftime("%Y-%m-%d %H:%M:%S"),
            )
            self._write({**walks, self._part: self.walk})

    def _read(self) -> dict[str, Walk]:
        try:
            return msgspec.json.decode(self.file.read_bytes(), type=dict[str, Walk])
        except FileNotFoundError:
            return {}
        except msgspec.DecodeError:
            raise SettingsError(
                f"{self.file} is damaged. Remove it; the walk then begins at the first step."
            ) from None
        except OSError as error:
            raise SettingsError(f"{self.file} cannot be read: {error.strerror}.") from None

    def _write(self, walks: dict[str, Walk]) -> None:
        write_private(self.file, msgspec.json.format(msgspec.json.encode(walks)) + b"\n")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """A lock: one person at a time moves a walk."""
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW
            lock = os.open(self.file.with_name(".walk.lock"), flags, 0o600)
        except OSError as error:
            raise SettingsError(f"{self.file} cannot be written: {error.strerror}.") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)
