"""Files that only their owner may read, written atomically."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from runbook.errors import SettingsError


def read_private(file: Path) -> bytes:
    """The content of a file; SettingsError if it does not exist, or if others may read it."""
    try:
        with file.open("rb") as stream:
            found = os.fstat(stream.fileno())
            content = stream.read()
    except FileNotFoundError:
        raise SettingsError(f"{file} does not exist.") from None
    except OSError as error:
        raise SettingsError(f"{file} cannot be read: {error.strerror}.") from None
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise SettingsError(f"{file} is readable by others. Fix: chmod 600 {file}")
    return content


def write_private(file: Path, content: bytes, mode: int = 0o600) -> None:
    """Replace a file by `content`, with mode 0600 or `mode`; SettingsError if that fails."""
    temporary = None
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        with os.fdopen(handle, "wb") as stream:  # mkstemp's mode is 0600
            stream.write(content)
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        Path(temporary).replace(file)
        temporary = None
    except OSError as error:
        raise SettingsError(f"{file} cannot be written: {error.strerror}.") from None
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
