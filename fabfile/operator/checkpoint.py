"""The progress of a long task, kept in the state folder so that the next call can continue it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TypeVar

import msgspec

from runbook.errors import SettingsError
from runbook.inventory.cluster import Cluster
from runbook.secrets.private_file import write_private

Kept = TypeVar("Kept", bound=msgspec.Struct)


def digest(cluster: Cluster) -> str:
    """A hash that changes when anything in hosts.yaml changes, except comments."""
    return hashlib.sha256(msgspec.json.encode(cluster.plain())).hexdigest()[:16]


def recall(file: Path, kind: type[Kept]) -> Kept:
    """The saved progress; new if there is none, or if it cannot be parsed."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except FileNotFoundError:
        return kind()
    except msgspec.MsgspecError:
        return kind()
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror}.") from None


def keep(file: Path, what: msgspec.Struct) -> None:
    """Save the progress atomically."""
    write_private(file, msgspec.json.encode(what))


def forget(file: Path) -> None:
    """Remove the saved progress."""
    file.unlink(missing_ok=True)
