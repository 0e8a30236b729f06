"""What the lab builds once and keeps: each entry under the hash of what it was made from."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Union

Input = Union[str, Path]


def key_of(*inputs: Input) -> str:
    """A short hash of texts, files and whole folders (names, contents and executable bits).

    Files that Python has compiled do not count, because they appear and change by themselves.
    """
    digest = hashlib.sha256()
    for entry in inputs:
        for part in _parts(entry):
            digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()[:12]


def _parts(entry: Input) -> Iterator[bytes]:
    if isinstance(entry, str):
        yield entry.encode()
        return
    for path in sorted(entry.rglob("*")) if entry.is_dir() else [entry]:
        if path.is_file() and "__pycache__" not in path.parts:
            executable = os.access(path, os.X_OK)
            yield f"{path.name if path == entry else path.relative_to(entry)} {executable}".encode()
            yield path.read_bytes()


@contextmanager
def locked(path: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold a lock file; call `on_wait` before waiting for another process that holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            on_wait()
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


class Cache:
    """Named entries, each a folder `kind-key` that is there only when it is complete."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def build(self, kind: str, key: str, make: Callable[[Path], None]) -> Path:
        """The entry's folder; `make` fills it if it is not there."""
        entry = self.root / f"{kind}-{key}"
        if entry.exists():
            return entry
        # Under a name of its own: what an interrupted build left may still be written to.
        self.root.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f"unfinished-{kind}-", dir=self.root))
        unfinished.chmod(0o755)
        make(unfinished)
        unfinished.rename(entry)
        return entry

    def prune(self, keep: Collection[Path]) -> list[Path]:
        """Remove all entries but those to keep and those that a running lab holds."""
        gone = [path for path in self.entries() if path not in keep and not self.held(path)]
        for path in gone:
            self._discard(path)
        return gone

    def entries(self) -> list[Path]:
        if not self.root.exists():
            return []
        return sorted(path for path in self.root.iterdir() if path.is_dir())

    def held(self, entry: Path) -> bool:
        """Whether a process uses the entry."""
        handle = os.open(entry, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(handle)
        return False

    def _discard(self, entry: Path) -> None:
        # First under another name: half an entry must never look like a whole one.
        gone = Path(tempfile.mkdtemp(prefix="unfinished-discarded-", dir=self.root))
        entry.rename(gone / entry.name)
        shutil.rmtree(gone)


@contextmanager
def hold(entries: Iterable[Path]) -> Iterator[list[int]]:
    """Mark entries as in use, here and by each process that inherits these descriptors."""
    handles: list[int] = []
    try:
        for entry in entries:
            handles.append(os.open(entry, os.O_RDONLY))
            fcntl.flock(handles[-1], fcntl.LOCK_SH)
        yield handles
    finally:
        for handle in handles:
            os.close(handle)
