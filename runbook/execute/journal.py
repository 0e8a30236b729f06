"""The journal: who did what on which host, when, and how it went. Secrets are left out."""

from __future__ import annotations

import getpass
import os
import secrets
import socket
import time
from pathlib import Path
from typing import Any

from runbook.secrets.mask import Mask
from runbook.secrets.patterns import without_passwords
from runbook.visible import in_json


class Journal:
    """Appends one JSON line per entry to `journal.jsonl` in the state folder."""

    def __init__(self, state: Path, mask: Mask) -> None:
        self.file = state / "journal.jsonl"
        self._mask = mask
        self._who = f"{_user()}@{socket.gethostname()}"
        self.run = f"{time.strftime('%m%d-%H%M%S')}-{secrets.token_hex(2)}"
        """The id of this run, which is in each of its entries."""

    @property
    def who(self) -> str:
        """The user and the machine that this run belongs to."""
        return self._who

    def write(self, **entry: Any) -> None:
        """Append an entry; a full disk on the controller must not stop the work on hosts."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        told = {
            key: without_passwords(value) if isinstance(value, str) else value
            for key, value in self._mask.all(entry).items()
        }
        line = {"when": moment, "run": self.run, "who": self._who, **told}
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with open(self.file, "a", encoding="utf-8", opener=_private) as stream:
                stream.write(f"{in_json(line)}\n")
        except OSError:
            return


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
