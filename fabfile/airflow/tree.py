"""Files of a project that servers get: DAGs or plugins, with their modes, as one release."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

from runbook.errors import SettingsError
from runbook.yaml_source import shown

FILE, PROGRAM, LINK = "100644", "100755", "120000"
"""The modes that git has; a release has no others."""

LARGEST = 16 << 20
"""Bytes of a packed release."""

SKIPPED = (".git", "__pycache__")
"""Names of files and folders that are no part of a release."""


@dataclass(frozen=True)
class File:
    """The mode of a file, as git has it, and its content; of a link, its target."""

    mode: str
    content: bytes


@dataclass(frozen=True)
class Tree:
    """The files of a release, by their paths, and where they come from, for a message.

    `commit`: what they are in git; empty for a folder.
    """

    files: Mapping[str, File]
    source: str
    commit: str = ""

    @cached_property
    def digest(self) -> str:
        """The digest of all names, modes and contents; files/airflow/releases computes the same."""
        lines = (
            f"{file.mode} {hashlib.sha256(file.content).hexdigest()} {path}\n"
            for path, file in sorted(self.files.items())
        )
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    @property
    def name(self) -> str:
        """The name of the release: the beginnings of its commit, if it has one, and its digest."""
        return f"{self.commit[:12]}-{self.digest[:12]}".lstrip("-")

    @cached_property
    def packed(self) -> str:
        """An archive of it in base64, the same for the same files; SettingsError if too large."""
        inside = io.BytesIO()
        with tarfile.open(fileobj=inside, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for path, file in sorted(self.files.items()):
                archive.addfile(*_member(path, file))
        data = gzip.compress(inside.getvalue(), mtime=0)
        if len(data) > LARGEST:
            largest = sorted(self.files, key=lambda path: -len(self.files[path].content))[:3]
            raise SettingsError(
                f"{self.source} has {len(data) >> 20} MB, packed; a release may have "
                f"{LARGEST >> 20}. The largest files: {', '.join(largest)}. Keep them elsewhere, "
                "such as in an object store, or leave them out with .gitignore."
            )
        return base64.encodebytes(data).decode()

    def with_line(self, path: str, line: str) -> Tree:
        """The same, with one more line at the end of a file."""
        before = self.files[path].content if path in self.files else b""
        if before and not before.endswith(b"\n"):
            before += b"\n"
        file = File(FILE, before + f"{line}\n".encode())
        return Tree({**self.files, path: file}, self.source, self.commit)


def _member(path: str, file: File) -> tuple[tarfile.TarInfo, io.BytesIO]:
    info = tarfile.TarInfo(path)
    if file.mode == LINK:
        info.type, info.linkname = tarfile.SYMTYPE, file.content.decode()
        return info, io.BytesIO()
    info.size, info.mode = len(file.content), int(file.mode[3:], 8)
    return info, io.BytesIO(file.content)


_CONTROL = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029\\ud800-\\udfff]")
_POINTER = b"version https://git-lfs.github.com/spec/"


def checked(tree: Tree, own: tuple[str, ...] = ()) -> Tree:
    """The tree, if servers can take it as it is; otherwise a SettingsError says what is wrong.

    `own`: how names in its uppermost folder may not begin, as others are in that place.
    """
    for path, file in tree.files.items():
        for sentence in (*_misplaced(path, tree), *_faults(path, file, own)):
            raise SettingsError(f"{tree.source}: {shown(path)} {sentence}.")
    return tree


def _misplaced(path: str, tree: Tree) -> Iterator[str]:
    """Whether a path leads elsewhere, as only somebody's own program can commit it."""
    parts = path.split("/")
    if {"", ".", ".."} & set(parts):
        yield "is not a path within the folder; remove it"
    if any(str(parent) in tree.files for parent in PurePosixPath(path).parents):
        yield "is below a file or a link; remove one of them"


def _faults(path: str, file: File, own: tuple[str, ...]) -> Iterator[str]:
    if _CONTROL.search(path):
        yield "has a control character in its name, or is not UTF-8; rename it"
    if path.partition("/")[0].startswith(own):
        yield f"has a name that this project uses itself ({', '.join(own)}); rename it"
    if file.mode == LINK:
        yield from _leads_out(path, file)
    elif file.content.startswith(_POINTER):
        yield "is a pointer of Git LFS, without the content; commit the file itself"


def _leads_out(path: str, file: File) -> Iterator[str]:
    """Whether a link leads out of the release: `..` is allowed at its beginning only."""
    try:
        target = file.content.decode()
    except UnicodeDecodeError:
        yield "is a link whose target is not UTF-8; remove it"
        return
    parts = PurePosixPath(target).parts
    ups = next((place for place, part in enumerate(parts) if part != ".."), len(parts))
    depth = len(PurePosixPath(path).parts) - 1
    if not parts or target.startswith("/") or ".." in parts[ups:] or ups > depth:
        yield f"is a link to {shown(target)}, out of the folder; replace it by what it leads to"
