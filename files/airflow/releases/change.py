"""What changes releases: they arrive, run, run again, and go."""

from __future__ import annotations

import base64
import io
import os
import pwd
import shlex
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path, PurePosixPath

from place import NAME, RELEASES, Refused, Releases, digest, manifest

UNFINISHED = ".unfinished-"
"""How the names of folders begin that nobody uses: what interrupted runs left."""


def arrived() -> tarfile.TarFile:
    """The archive on standard input."""
    return tarfile.open(fileobj=io.BytesIO(base64.b64decode(sys.stdin.read())), mode="r:gz")


def stage(own: Releases, name: str) -> None:
    """Unpack a release from standard input beside the others, unless it is there."""
    if own.of(name):
        return
    own.place.mkdir(mode=0o755, exist_ok=True)
    for left in own.place.glob(f"{UNFINISHED}*"):
        shutil.rmtree(left)
    new = own.place / f"{UNFINISHED}{os.getpid()}"
    new.mkdir()
    with arrived() as packed:
        for member in packed:
            _unpack(packed, member, new)
    keep(own, new, name)


def _unpack(packed: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    if PurePosixPath(member.name).is_absolute() or ".." in PurePosixPath(member.name).parts:
        raise Refused(f"{member.name} is not a path within a release.")
    path = folder / member.name
    if any(parent.is_symlink() for parent in path.parents if folder in parent.parents):
        raise Refused(f"{member.name} is below a link.")
    path.parent.mkdir(parents=True, exist_ok=True)
    if member.issym():
        path.symlink_to(member.linkname)
        return
    content = packed.extractfile(member)
    if not content:
        raise Refused(f"{member.name} is neither a file nor a link.")
    path.write_bytes(content.read())
    path.chmod(member.mode)


def keep(own: Releases, new: Path, name: str) -> str:
    """Give a complete folder its name among the releases; a changed one keeps its own."""
    match = NAME.fullmatch(name)
    if not match or not digest(manifest(new)).startswith(match[1]):
        raise Refused(f"What arrived is not the release {name}. Run the same command again.")
    for folder, _, _ in os.walk(new):
        Path(folder).chmod(0o755)
    subprocess.run(["sync", "-f", str(new)], check=True)
    numbered = (f"{name}.{number}" for number in range(2, 1000))
    free = next(one for one in (name, *numbered) if not os.path.lexists(own.place / one))
    new.rename(own.place / free)
    return free


def link(path: Path, target: str) -> None:
    """Make a link, or change where it leads, in one instant."""
    new = path.parent / f".new-{path.name}"
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    new.replace(path)


def switch(own: Releases, name: str) -> None:
    """Let a release run that is there: all its files at once."""
    wanted = own.of(name)
    if not wanted:
        raise Refused(f"{name} is not there, or it was changed.")
    _adopt(own)
    now = own.running()
    if not own.plain:
        _lead(own, own.entries(wanted))
    if now != wanted:
        for one in filter(None, (now, wanted)):
            os.utime(own.place / one)  # those that ran last are kept
        if now:
            link(own.place / f"{wanted}.before", now)
        link(own.current, wanted)
    if not own.plain:
        for one in set(own.links()) - set(own.entries(wanted)):
            (own.folder / one).unlink()


def _lead(own: Releases, entries: list[str]) -> None:
    """A link in the folder for each entry; until the release runs, a new one leads nowhere."""
    for one in own.strangers(entries):
        path = own.folder / one
        raise Refused(
            f"{path} was put there by others, and the release has that name, too. It stays, and "
            f"nothing was released. To move it: {moved(path, f'{path}.by-hand')}"
        )
    for one in entries:
        if not own.leads(one):
            link(own.folder / one, f"{RELEASES}/current/{one}")


def moved(path: Path, target: str) -> str:
    """A command for root that moves what another account controls, with that account's rights."""
    user = pwd.getpwuid(os.geteuid()).pw_name
    return f"runuser -u {user} -- mv -nT {shlex.quote(str(path))} {shlex.quote(target)}"


def back(own: Releases, name: str) -> None:
    """Let a release run that ran before; what ran before that one remains known."""
    wanted = own.of(name)
    before = own.before(wanted)
    switch(own, name)
    path = own.place / f"{wanted}.before"
    if before:
        link(path, before)
    else:
        path.unlink(missing_ok=True)


def prune(own: Releases, count: str) -> None:
    """Remove releases beyond this number."""
    for one in beyond(own, count):
        gone = own.place / f"{UNFINISHED}{one}"
        shutil.move(own.place / one, gone)  # a rename, except on a container's overlay
        for beside in own.place.glob(f"{one}.*"):
            if not NAME.fullmatch(beside.name):
                beside.unlink()
        shutil.rmtree(gone)


def beyond(own: Releases, count: str) -> list[str]:
    """The releases that `prune` removes: never what runs, ran before it, or was changed."""
    running = own.running()
    names = own.names()
    needed = [one for one in names if one in (running, own.before(running))]
    others = [one for one in names if one not in needed]
    return [one for one in others[max(int(count) - len(needed), 0) :] if own.intact(one)]


LISTED = ".shipped"
"""Names the files that were copied into the folder one by one, before there were releases."""


def copied(own: Releases) -> list[str]:
    """The files that were copied into the folder before there were releases, and still are."""
    listed = own.folder / LISTED
    if own.plain or own.running() or not listed.is_file():
        return []
    return [name for name in listed.read_text().splitlines() if _ordinary(own.folder, name)]


def among(own: Releases, names: list[str]) -> list[Path]:
    """The files of others in the folders of these files."""
    folders = [top for top in tops_of(names) if (own.folder / top).is_dir()]
    found = (f"{top}/{path}" for top in folders for path in manifest(own.folder / top))
    return [own.folder / name for name in found if name not in names]


def tops_of(names: list[str]) -> list[str]:
    """The first parts of these paths."""
    return sorted({PurePosixPath(name).parts[0] for name in names})


def _adopt(own: Releases) -> None:
    """Make a release of what was copied into the folder file by file, and is listed there."""
    listed = own.folder / LISTED
    if own.plain or own.running() or not listed.is_file():
        return
    names = copied(own)
    tops = tops_of(names)
    for path in among(own, names):
        raise Refused(
            f"{path} was put there by others, in a folder of the release. It stays, and nothing "
            f"was released. To move it: {moved(path, str(own.folder / path.name))}"
        )
    own.place.mkdir(mode=0o755, exist_ok=True)
    new = own.place / f"{UNFINISHED}{os.getpid()}"
    for name in names:
        (new / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(own.folder / name, new / name)
        (new / name).chmod(0o644)
    if names:
        link(own.current, keep(own, new, digest(manifest(new))[:12]))
    for top in tops:
        if (own.folder / top).is_dir():
            shutil.move(own.folder / top, own.place / f"{UNFINISHED}{top}")
        link(own.folder / top, f"{RELEASES}/current/{top}")
    for former in (listed, *own.folder.glob(".imported-*")):
        former.unlink()


def _ordinary(folder: Path, name: str) -> bool:
    """Whether a name is that of a file in the folder, and no link leads there."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        return False
    links = any((folder / part).is_symlink() for part in (path, *path.parents))
    return not links and (folder / path).is_file()
