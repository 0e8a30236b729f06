"""Connections of an NFS client to a server that may go away and come back."""

from __future__ import annotations

import errno
import os
import socket
import sys
import syslog
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import mfusepy as fuse  # type: ignore[import-not-found]
import nfs_rs as nfs  # type: ignore[import-not-found]

Result = TypeVar("Result")
User = tuple[int, int]  # uid and gid

PERMANENT = (
    (FileNotFoundError, errno.ENOENT),
    (FileExistsError, errno.EEXIST),
    (PermissionError, errno.EACCES),
    (IsADirectoryError, errno.EISDIR),
    (NotADirectoryError, errno.ENOTDIR),
    (NotImplementedError, errno.EOPNOTSUPP),
)
LOST = (
    nfs.NfsConnectionError,
    nfs.NfsTimeoutError,
    nfs.NfsMountError,
    nfs.NfsRpcError,
    nfs.NfsStateLostError,
    nfs.NfsOperationOutcomeError,
    nfs.NfsClosedResourceError,
    nfs.NfsPositionUncertainError,
)
UNREACHABLE = frozenset(
    {
        errno.ECONNABORTED,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ENOTCONN,
        errno.EPIPE,
        errno.ETIMEDOUT,
    }
)
PAUSE = 0.3  # seconds between two attempts to reach the server


def error_number(error: Exception) -> int | None:
    """What to tell the program; None if the connection failed and not the operation."""
    name = getattr(error, "code_name", None) or ""
    number = getattr(errno, name.replace("NFS4ERR_", "E"), None)
    if name.startswith("NFS4ERR_") and number:
        return int(number)
    if isinstance(error, LOST) or getattr(error, "errno", None) in UNREACHABLE:
        return None
    for kind, number in PERMANENT:
        if isinstance(error, kind):
            return number
    return getattr(error, "errno", None) or errno.EIO


@dataclass(frozen=True)
class Options:
    server: str
    address: str  # found out once, as the kernel's client does
    path: str
    words: dict[str, str]

    @classmethod
    def parse(cls, source: str, options: str) -> Options:
        server, _, path = source.partition(":")
        words = dict(word.partition("=")[::2] for word in options.split(",") if word)
        try:
            address = socket.gethostbyname(server)
        except OSError as error:
            sys.exit(f"Failed to resolve server {server}: {error.strerror}")
        return cls(server, address, path.rstrip("/"), words)

    @property
    def soft(self) -> bool:
        return "soft" in self.words or "softerr" in self.words

    @property
    def timeout(self) -> float:
        """Seconds that one attempt may take."""
        return max(1.0, float(self.words.get("timeo", 600)) / 10)

    @property
    def patience(self) -> float:
        """Seconds until a soft mount gives up."""
        return self.timeout * (int(self.words.get("retrans", 2)) + 1)

    @property
    def retry(self) -> float:
        """Seconds until mounting gives up."""
        return 60 * float(self.words.get("retry", 2))


@dataclass
class Server:
    """Connections to the server, one for each user, and a number that rises when they are lost."""

    options: Options
    generation: int = 0
    clients: dict[User, Any] = field(default_factory=dict)
    turn: threading.RLock = field(default_factory=threading.RLock)
    silent: bool = False

    def connect(self, who: User, path: str = "/") -> Any:
        # A short attempt, even if timeo is long: the address may be at another server by now.
        return nfs.Client.connect(
            f"nfs://{self.options.address}{path}",
            versions=["4.1"],
            uid=who[0],
            gid=who[1],
            nfs_port=int(self.options.words.get("port", 2049)),
            connect_timeout=min(self.options.timeout, 2),
            operation_timeout=min(self.options.timeout, 10),
        )

    def call(self, operation: Callable[[Any], Result], who: User | None = None) -> Result:
        """Do something as a user, the caller if none is named, when the server answers."""
        who = who or fuse.fuse_get_context()[:2]
        start = time.monotonic()
        while True:
            generation = self.generation
            try:
                result = operation(self.client(who))
                self.answered()
            except nfs.NfsRetryableError:  # it answers, but not yet
                time.sleep(PAUSE)
            except (OSError, nfs.NfsError) as error:
                number = error_number(error)
                if number is not None:
                    self.answered()
                    raise OSError(number, os.strerror(number)) from None
                self.lost(generation)
                if self.options.soft and time.monotonic() - start > self.options.patience:
                    raise OSError(errno.EIO, "the server does not answer") from None
                time.sleep(PAUSE)
            else:
                return result

    def client(self, who: User) -> Any:
        with self.turn:
            if who not in self.clients:
                self.clients[who] = self.connect(who)
            return self.clients[who]

    def lost(self, generation: int) -> None:
        """Begin afresh, unless somebody else has already noticed."""
        with self.turn:
            if generation != self.generation:
                return
            self.generation += 1
            gone = list(self.clients.values())
            self.clients.clear()
            if not self.silent:
                self.silent = True
                syslog.syslog(f"nfs: server {self.options.server} not responding, still trying")
        threading.Thread(target=close_all, args=(gone,), daemon=True).start()

    def machine(self) -> str:
        """The hardware address that has the server's address now; empty if it is this host."""
        neighbours = Path("/proc/net/arp").read_text().splitlines()
        found = (line.split() for line in neighbours)
        return next((words[3] for words in found if words[0] == self.options.address), "")

    def answered(self) -> None:
        if self.silent:
            self.silent = False
            syslog.syslog(f"nfs: server {self.options.server} OK")


def close_all(clients: list[Any]) -> None:
    for client in clients:
        with suppress(Exception):
            client.close()
