#!/usr/bin/python3
"""The NFS 4.1 client of a host without one in its kernel: client.py SERVER:PATH DIRECTORY OPTIONS.

It mounts, serves until it is unmounted, and behaves as the kernel's client where that matters: a
hard mount waits for a silent server as long as it takes, and a soft one gives up with EIO. What was
open stays open if the same server answers again, and says EIO if another one has its address.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
import sys
import syslog
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mfusepy as fuse  # type: ignore[import-not-found]
import nfs_rs as nfs  # type: ignore[import-not-found]
from connection import Options, Result, Server, User, close_all, error_number

TYPES = {
    nfs.FileType.DIRECTORY: stat.S_IFDIR,
    nfs.FileType.SYMLINK: stat.S_IFLNK,
    nfs.FileType.FIFO: stat.S_IFIFO,
    nfs.FileType.SOCKET: stat.S_IFSOCK,
    nfs.FileType.BLOCK_DEVICE: stat.S_IFBLK,
    nfs.FileType.CHARACTER_DEVICE: stat.S_IFCHR,
}
NOW, OMIT = 0x3FFFFFFF, 0x3FFFFFFE  # instead of a time: UTIME_NOW, UTIME_OMIT
FLAGS = ("ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "sync", "dirsync")


@dataclass
class Handle:
    """A file that a program has open."""

    file: Any
    who: User
    generation: int
    machine: str
    again: Callable[[Any], Any]
    turn: threading.Lock = field(default_factory=threading.Lock)


class Filesystem(fuse.Operations):
    """What the kernel's FUSE asks for; paths start at the mount's directory."""

    use_ns = True

    def __init__(self, server: Server) -> None:
        self.server = server
        self.root = server.options.path
        self.handles: dict[int, Handle] = {}
        self.hidden: dict[str, User] = {}  # what FUSE renamed instead of deleting it, and for whom
        self.numbers = itertools.count(1)

    def init(self, path: str) -> None:
        """Part from whoever has mounted: no sooner, or autofs would hold this mount up, too."""
        with suppress(OSError):  # it was started by hand
            os.setsid()
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)

    def full(self, path: str) -> str:
        """The path at the server: connections begin at its root, as nfs_rs cannot stat theirs."""
        return self.root + path if path != "/" else self.root or "/"

    def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
        return attributes(self.server.call(lambda client: client.stat(self.full(path))))

    def readdir(self, path: str, fh: int) -> Iterator[Any]:
        found = self.server.call(lambda client: list(client.scandir(self.full(path))))
        yield from (".", "..")
        for entry in found:
            if entry.name not in (".", ".."):
                yield (entry.name, attributes(entry.info), 0)

    def readlink(self, path: str) -> str:
        return str(self.server.call(lambda client: client.readlink(self.full(path))))

    def mkdir(self, path: str, mode: int) -> None:
        self.server.call(lambda client: client.mkdir(self.full(path), mode))

    def rmdir(self, path: str) -> None:
        self.server.call(lambda client: client.rmdir(self.full(path)))

    def unlink(self, path: str) -> None:
        who = self.hidden.pop(path, None)  # FUSE deletes it later, and as root
        self.server.call(lambda client: client.unlink(self.full(path)), who)

    def symlink(self, link: str, target: str) -> None:
        self.server.call(lambda client: client.symlink(target, self.full(link)))

    def rename(self, old: str, new: str) -> None:
        self.server.call(lambda client: client.rename(self.full(old), self.full(new)))
        if Path(new).name.startswith(".fuse_hidden"):
            self.hidden[new] = fuse.fuse_get_context()[:2]

    def link(self, link: str, target: str) -> None:
        self.server.call(lambda client: client.link(self.full(target), self.full(link)))

    def chmod(self, path: str, mode: int) -> None:
        self.server.call(lambda client: client.chmod(self.full(path), stat.S_IMODE(mode)))

    def chown(self, path: str, uid: int, gid: int) -> None:
        def change(client: Any) -> None:
            unchanged = (-1, 0xFFFFFFFF)
            now = client.stat(self.full(path))
            client.chown(
                self.full(path),
                now.uid if uid in unchanged else uid,
                now.gid if gid in unchanged else gid,
            )

        self.server.call(change)

    def truncate(self, path: str, length: int, fh: int | None = None) -> None:
        self.server.call(lambda client: client.truncate(self.full(path), length))

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> None:
        atime, mtime = times or (NOW, NOW)

        def change(client: Any) -> None:
            kept = client.stat(self.full(path)) if OMIT in (atime, mtime) else None
            at = {NOW: time.time_ns(), OMIT: kept and kept.atime}.get(atime, atime)
            mt = {NOW: time.time_ns(), OMIT: kept and kept.mtime}.get(mtime, mtime)
            client.utime(self.full(path), ns=(at, mt))

        self.server.call(change)

    def statfs(self, path: str) -> dict[str, int]:
        def asked(_: Any) -> Any:  # for the root of a connection alone
            client = self.server.connect((0, 0), self.root or "/")
            try:
                return client.fs_stat()
            finally:
                close_all([client])

        found = self.server.call(asked)
        block = 4096
        return {
            "f_bsize": block,
            "f_frsize": block,
            "f_blocks": found.total_bytes // block,
            "f_bfree": found.free_bytes // block,
            "f_bavail": found.available_bytes // block,
            "f_files": found.total_files,
            "f_ffree": found.free_files,
            "f_namemax": 255,
        }

    def open(self, path: str, flags: int) -> int:
        full = self.full(path)
        mode = "rb" if flags & os.O_ACCMODE == os.O_RDONLY else "r+b"

        def opened(client: Any) -> Any:
            if flags & os.O_TRUNC:
                client.truncate(full, 0)
            return client.open(full, mode)

        return self.keep(opened, lambda client: client.open(full, mode))

    def create(self, path: str, mode: int, flags: int) -> int:
        full = self.full(path)

        def created(client: Any) -> Any:
            if flags & os.O_EXCL:
                file = alone(client, full)
            elif flags & os.O_TRUNC:
                file = client.open(full, "w+b")
            else:
                client.open(full, "ab").close()
                file = client.open(full, "r+b")
            client.chmod(full, stat.S_IMODE(mode))
            return file

        return self.keep(created, lambda client: client.open(full, "r+b"))

    def keep(self, opened: Callable[[Any], Any], again: Callable[[Any], Any]) -> int:
        who = fuse.fuse_get_context()[:2]

        def held(client: Any) -> Handle:
            generation, machine = self.server.generation, self.server.machine()
            return Handle(opened(client), who, generation, machine, again)

        number = next(self.numbers)
        self.handles[number] = self.server.call(held, who)
        return number

    def on(self, fh: int, operation: Callable[[Any], Result]) -> Result:
        """Do something with an open file; after an interruption, if it is still the same server."""
        handle = self.handles[fh]

        def done(client: Any) -> Result:
            generation = self.server.generation
            if handle.generation != generation:
                if handle.machine != self.server.machine():
                    raise OSError(errno.EIO, "another server answers, open the file again")
                handle.file = handle.again(client)
                handle.generation = generation
            return operation(handle.file)

        with handle.turn:
            return self.server.call(done, handle.who)

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return bytes(self.on(fh, lambda file: file.read_at(offset, size)))

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        def written(file: Any) -> int:
            done = 0
            while done < len(data):
                done += file.write_at(data[done:], offset + done)
            return done

        return self.on(fh, written)

    def fsync(self, path: str, datasync: int, fh: int) -> None:
        self.on(fh, lambda file: file.flush())

    def release(self, path: str, fh: int) -> None:
        handle = self.handles.pop(fh)
        if handle.generation == self.server.generation:
            with suppress(Exception):
                handle.file.close()


def alone(client: Any, path: str) -> Any:
    """Make a file that must not be there yet: nfs_rs cannot, but a second name is given once."""
    other = f"{path}.{uuid.uuid4().hex}"
    file = client.open(other, "w+b")
    try:
        client.link(other, path)
    except BaseException:
        file.close()
        raise
    finally:
        client.unlink(other)
    return file


def attributes(info: Any) -> dict[str, int]:
    return {
        "st_mode": TYPES.get(info.type, stat.S_IFREG) | stat.S_IMODE(info.mode),
        "st_nlink": info.nlink,
        "st_uid": info.uid,
        "st_gid": info.gid,
        "st_size": info.size,
        "st_ino": info.fileid,
        "st_blocks": (info.used + 511) // 512,
        "st_atime": info.atime,
        "st_mtime": info.mtime,
        "st_ctime": info.ctime,
    }


def find(server: Server) -> None:
    """Ask the server for the export as root, as mount does, until it answers or time is up."""
    path = server.options.path or "/"
    deadline = time.monotonic() + server.options.retry
    while True:
        try:
            client = server.connect((0, 0))
            found = client.stat(path)
            close_all([client])
        except (OSError, nfs.NfsError) as error:
            number = error_number(error)
            if number is not None or time.monotonic() > deadline:
                raise OSError(number or errno.ETIMEDOUT, str(error)) from None
            time.sleep(1)
        else:
            if found.type is not nfs.FileType.DIRECTORY:
                raise OSError(errno.ENOTDIR, "not a directory")
            return


def refusal(source: str, error: OSError) -> str:
    """What mount.nfs4 says."""
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"access denied by server while mounting {source}"
    if error.errno == errno.ETIMEDOUT:
        return "Connection timed out"
    reason = os.strerror(error.errno or errno.EIO)
    return f"mounting {source} failed, reason given by server: {reason}"


def main() -> None:
    source, directory, words = sys.argv[1:4]
    options = Options.parse(source, words)
    server = Server(options)
    try:
        find(server)
    except OSError as error:
        sys.exit(refusal(source, error))
    if not Path(directory).is_dir():
        sys.exit(f"mount point {directory} does not exist")
    syslog.openlog("kernel")
    fuse.FUSE(
        Filesystem(server),
        directory,
        foreground=True,
        allow_other=True,
        default_permissions=True,
        fsname=source,
        subtype="nfs4",
        # What was written elsewhere shows at once, as when the kernel's client opens a file.
        attr_timeout=0,
        entry_timeout=0,
        use_ino=True,
        **{flag: True for flag in FLAGS if flag in options.words},
    )
    os._exit(0)  # whoever still waits for a silent server must not keep the client alive


if __name__ == "__main__":
    main()
