"""The files of a folder on this machine, without those that .gitignore names."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from runbook.errors import SettingsError

from .git import bare, run
from .tree import FILE, LINK, PROGRAM, SKIPPED, File, Tree


def read(folder: Path, setting: str, state: Path) -> Tree:
    """All files of a folder, with their modes; SettingsError names `setting` if there is none.

    `state`: a folder on this machine for what git needs.
    """
    if not folder.is_dir():
        raise SettingsError(f"{folder} is not a folder. Correct {setting}.")
    paths = sorted(_paths(folder))
    ignored = _ignored(folder, paths, state)
    found = [path for path in paths if path not in ignored]
    return Tree({str(path.relative_to(folder)): _file(path) for path in found}, str(folder))


def _paths(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.name in SKIPPED or path.suffix == ".pyc":
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _paths(path)
        else:
            yield path


def _file(path: Path) -> File:
    try:
        if path.is_symlink():
            return File(LINK, os.fsencode(path.readlink()))
        if not path.is_file():
            raise SettingsError(f"{path} is neither a file nor a link. Remove it.")
        return File(PROGRAM if path.stat().st_mode & 0o100 else FILE, path.read_bytes())
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}.") from None


def _ignored(folder: Path, paths: list[Path], state: Path) -> set[Path]:
    """The paths that .gitignore files name, those above the folder too, if it is in git."""
    top = _top(folder)
    above = [one / ".gitignore" for one in (folder, *folder.parents) if _within(one, top)]
    if not any(path.name == ".gitignore" for path in paths) and not any(
        path.is_file() for path in above
    ):
        return set()
    if not shutil.which("git"):
        raise SettingsError(
            f"{folder} has a .gitignore, which git reads, and git is not installed on this "
            "machine. Install it, or remove .gitignore."
        )
    empty = state / "git" / "empty"
    bare(empty, str(folder))
    names = b"".join(os.fsencode(path.relative_to(top)) + b"\0" for path in paths)
    words = [f"--git-dir={empty}", f"--work-tree={top}", "check-ignore", "--no-index", "-z"]
    told = run([*words, "--stdin"], str(folder), folder=top, given=names, accepted=(0, 1))
    return {top / os.fsdecode(name) for name in told.split(b"\0") if name}


def _top(folder: Path) -> Path:
    """The uppermost folder of the repository that a folder is in; itself, if in none."""
    return next((one for one in (folder, *folder.parents) if (one / ".git").exists()), folder)


def _within(one: Path, top: Path) -> bool:
    return one == top or top in one.parents
