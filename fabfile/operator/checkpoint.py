"""What a long task has got done, kept in the state folder so that the next call goes on there."""

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
    """A number that changes when anything in hosts.yaml does that is more than a comment."""
    return hashlib.sha256(msgspec.json.encode(cluster.plain())).hexdigest()[:16]


def recall(file: Path, kind: type[Kept]) -> Kept:
    """What was kept; as new if there is nothing, or nothing that can be understood."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except FileNotFoundError:
        return kind()
    except msgspec.MsgspecError:
        return kind()
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror}.") from None


def keep(file: Path, what: msgspec.Struct) -> None:
    """Write it in one instant, or not at all."""
    write_private(file, msgspec.json.encode(what))


def forget(file: Path) -> None:
    """Nothing is left to go on with."""
    file.unlink(missing_ok=True)
