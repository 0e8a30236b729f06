"""secrets.yaml in an editor: in a private folder, which is removed whatever happens."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Optional

from runbook.errors import RunbookError, SettingsError
from runbook.secrets.passwords_file import parse_passwords

MEMORY = Path("/dev/shm")
ENDING = (signal.SIGTERM, signal.SIGHUP)


def edited(text: bytes, file: Path) -> bytes:
    """`text` as the user has edited it; SettingsError if it is invalid in the end."""
    with _private_folder() as folder:
        draft = folder / file.name
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(text)
        while True:
            _open_editor(draft)
            after = draft.read_bytes()
            try:
                parse_passwords(after, file)
                return after
            except RunbookError as error:
                if not _once_more(str(error)):
                    raise SettingsError(f"{error} Nothing was changed.") from None


def changes(before: bytes, after: bytes, file: Path) -> list[str]:
    """A line for each password that is new, changed or removed; only the names."""
    if before == after:
        return []
    old, new = parse_passwords(before, file), parse_passwords(after, file)
    kinds = {
        "new": [name for name in new if name not in old],
        "changed": [name for name in new if name in old and new[name] != old[name]],
        "gone": [name for name in old if name not in new],
    }
    lines = [f"{kind}: {', '.join(names)}" for kind, names in kinds.items() if names]
    return lines or ["comments or order changed"]


@contextmanager
def _private_folder() -> Iterator[Path]:
    """A folder that only its owner may enter; it is removed even if this process is terminated."""
    where = MEMORY if os.access(MEMORY, os.W_OK) else None
    before = {number: signal.signal(number, _end) for number in ENDING}
    try:
        with TemporaryDirectory(prefix="runbook-", dir=where) as folder:
            yield Path(folder)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(number: int, frame: Optional[FrameType]) -> None:
    sys.exit(128 + number)


def _open_editor(draft: Path) -> None:
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    # Ctrl-C is the editor's; a handler that does nothing is not inherited, ignoring it would be.
    before = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        code = subprocess.run([*shlex.split(editor), str(draft)], check=False).returncode
    except (OSError, ValueError) as error:
        raise SettingsError(f"{editor} cannot be started ({error}); set EDITOR.") from None
    finally:
        signal.signal(signal.SIGINT, before)
    if code:
        raise SettingsError(f"{editor} ended with exit code {code}. Nothing was changed.")


def _once_more(complaint: str) -> bool:
    if not sys.stdin.isatty():
        return False
    print(complaint, file=sys.stderr)
    print("Edit it again? [yes/no] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip() == "yes"
