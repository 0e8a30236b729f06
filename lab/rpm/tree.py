"""The files of one RPM: unpacked Debian packages and wheels, brought into RHEL's layout."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

from lab.packages import PACKAGES, TREES
from lab.packages.model import File, Package, Part

# What Debian packages carry and an RPM for RHEL does not.
DEBIAN_ONLY = (
    "/etc/apparmor.d",
    "/etc/default",
    "/etc/init.d",
    "/etc/insserv.conf.d",
    "/etc/rc?.d",
    "/usr/share/bug",
    "/usr/share/doc",
    "/usr/share/doc-base",
    "/usr/share/info",
    "/usr/share/lintian",
    "/usr/share/locale",
    "/usr/share/man",
)


def to_rhel_layout(tree: Path, key: str, package: Package) -> None:
    """Turn an unpacked Debian tree into what the RPM shall contain."""
    if package.part:
        _rearrange(tree, PACKAGES[package.part.entry])
        _delete_files(tree, [path for path in _files(tree) if not belongs(path, package.part)])
    _rearrange(tree, package)
    _lay_over(tree, TREES / key)
    for name, text in package.append.items():
        with inside(tree, name).open("a") as file:
            file.write(text)
    parts = [other.part for other in PACKAGES.values() if other.part and other.part.entry == key]
    for part in parts:
        _delete_files(tree, [path for path in _files(tree) if belongs(path, part)])
    for name in package.directories:
        inside(tree, name).mkdir(parents=True, exist_ok=True)


def inside(tree: Path, name: str) -> Path:
    """Where a file of the hosts' is in the tree."""
    return tree / name.lstrip("/")


def place(tree: Path, name: str) -> Path:
    """The path for a new file in the tree: its folder exists and nothing is in its place."""
    path = inside(tree, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    return path


def belongs(path: str, part: Part) -> bool:
    """Whether a file belongs into the part and not into the package it is split off."""
    name = path.rpartition("/")[2]
    return any(fnmatchcase(path, pattern) for pattern in part.paths) and not any(
        fnmatchcase(name, pattern) for pattern in part.but
    )


def _rearrange(tree: Path, package: Package) -> None:
    for name in ("bin", "lib", "lib64", "sbin"):  # RPM would fight with the merged /usr
        _move(tree / name, tree / "usr" / name)
    for pattern in (*DEBIAN_ONLY, *package.remove):
        for path in tree.glob(pattern.lstrip("/")):
            _delete(path)
    for source, target in package.move.items():
        _move(inside(tree, source), inside(tree, target))
        _delete_empty(tree, inside(tree, source).parent)
    for name, content in package.files.items():
        file = content if isinstance(content, File) else File(content)
        path = place(tree, name)
        path.write_text(file.text)
        path.chmod(int(file.mode, 8))
    for name, link_target in package.links.items():
        place(tree, name).symlink_to(link_target)


def _lay_over(tree: Path, folder: Path) -> None:
    """Copy the files of a folder; of their modes, only what is executable counts."""
    for path in folder.rglob("*"):
        if path.is_file():
            target = place(tree, str(path.relative_to(folder)))
            shutil.copyfile(path, target)
            target.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)


def _move(source: Path, target: Path) -> None:
    """Move a file, or a folder into one that may already be there."""
    if not source.is_symlink() and not source.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if not (source.is_dir() and not source.is_symlink() and target.is_dir()):
        source.rename(target)
        return
    for path in list(source.iterdir()):
        _move(path, target / path.name)
    source.rmdir()


def _files(tree: Path) -> list[str]:
    """What is in the tree and no folder, with the names that it will have on a host."""
    return [
        f"/{path.relative_to(tree)}"
        for path in tree.rglob("*")
        if path.is_symlink() or not path.is_dir()
    ]


def _delete_files(tree: Path, names: Iterable[str]) -> None:
    for name in names:
        path = inside(tree, name)
        path.unlink()
        _delete_empty(tree, path.parent)


def _delete_empty(tree: Path, folder: Path) -> None:
    """Remove a folder that became empty, and those above it."""
    while folder != tree and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
        return
    path.unlink()
