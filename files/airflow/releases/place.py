"""Where the releases of a folder are, and what is in them."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

RELEASES = ".releases"
NAME = re.compile(r"(?:[0-9a-f]{12}-)?([0-9a-f]{12})(?:\.[0-9]+)?")
COMPILED = "__pycache__"

Entry = tuple[str, str]
"""The mode of a file, as git has it, and its SHA-256; of a link, that of its target."""


class Refused(Exception):
    """Nothing was changed, for the reason in the sentence."""


def manifest(folder: Path) -> dict[str, Entry]:
    """Every file and link of a release, without what Python compiles, by its path."""
    return {str(path.relative_to(folder)): _entry(path) for path in _files(folder)}


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.name == COMPILED or path.suffix == ".pyc":
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _files(path)
        else:
            yield path


def _entry(path: Path) -> Entry:
    mode, content = content_of(path)
    return mode, hashlib.sha256(content).hexdigest()


def content_of(path: Path) -> tuple[str, bytes]:
    """The mode of a file, as git has it, and its content; of a link, its target."""
    if path.is_symlink():
        return "120000", os.fsencode(path.readlink())
    if not path.is_file():
        return "other", b""
    return f"100{stat.S_IMODE(path.stat().st_mode):o}", path.read_bytes()


def digest(entries: dict[str, Entry]) -> str:
    """The digest of a manifest; fabfile/airflow/tree.py computes the same."""
    lines = (f"{mode} {sha} {path}\n" for path, (mode, sha) in sorted(entries.items()))
    return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()


class Releases:
    """The releases of one folder; `plain`: its entries are not links into the one that runs."""

    def __init__(self, folder: str, plain: bool) -> None:
        self.folder = Path(folder)
        self.place = self.folder / RELEASES
        self.current = self.place / "current"
        self.plain = plain
        if self.place.is_symlink():
            raise Refused(f"{self.place} is a link, which others have made. Remove it.")

    def running(self) -> str:
        """The name of the release that runs; empty if none does."""
        return self._target(self.current)

    def before(self, name: str) -> str:
        """The release that ran before this one; empty if there is none any more."""
        return self._target(self.place / f"{name}.before")

    def _target(self, link: Path) -> str:
        name = str(link.readlink()) if link.is_symlink() else ""
        return name if NAME.fullmatch(name) and (self.place / name).is_dir() else ""

    def names(self) -> list[str]:
        """All releases, those that ran last first."""
        found = [path for path in self.place.glob("*") if NAME.fullmatch(path.name)]
        folders = [path for path in found if path.is_dir() and not path.is_symlink()]
        return [path.name for path in sorted(folders, key=lambda one: -one.stat().st_mtime_ns)]

    def intact(self, name: str) -> bool:
        """Whether a release is what its name says."""
        match = NAME.fullmatch(name)
        return bool(match) and digest(manifest(self.place / name)).startswith(match[1])

    def of(self, name: str) -> str:
        """The folder of an intact release: its name, or with a number if that one was changed.

        The one that runs is preferred.
        """
        running = self.running()
        for one in sorted(self.names(), key=lambda one: one != running):
            if (one == name or one.startswith(f"{name}.")) and self.intact(one):
                return one
        return ""

    def entries(self, name: str) -> list[str]:
        """The names in a release's uppermost folder."""
        own = (path.name for path in (self.place / name).iterdir())
        return sorted(one for one in own if one != COMPILED and not one.endswith(".pyc"))

    def links(self) -> list[str]:
        """The names in the folder that lead into the release that runs."""
        return sorted(path.name for path in self.folder.iterdir() if self.leads(path.name))

    def leads(self, name: str) -> bool:
        """Whether a name in the folder is a link into the release that runs."""
        path = self.folder / name
        return path.is_symlink() and str(path.readlink()) == f"{RELEASES}/current/{name}"

    def strangers(self, wanted: list[str]) -> list[str]:
        """Which of these names others have used in the folder."""
        return [one for one in wanted if os.path.lexists(self.folder / one) and not self.leads(one)]
