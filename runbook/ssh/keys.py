"""The keys offered to hosts: from hosts.yaml, the command line, an agent and ssh_config."""

from __future__ import annotations

import copy
import os
import socket
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn, cast

import paramiko
from paramiko.agent import AgentKey, AgentSSH

from runbook.errors import SettingsError
from runbook.secrets.vault import Passwords
from runbook.ssh.certificates import SUFFIX
from runbook.ssh.key_files import KeyFile, Trouble, key_file, plain
from runbook.ssh.ssh_config import SshSettings

KEY_PASSPHRASE = "RUNBOOK_KEY_PASSPHRASE"
PATIENCE = 30
"""Seconds to wait for an agent: the user may have to touch a security key."""


class SocketAgent(AgentSSH):
    """The agent at a socket; an agent that does not answer counts as empty."""

    def __init__(self, path: str) -> None:
        super().__init__()
        if not path:
            return
        conn = socket.socket(socket.AF_UNIX)
        conn.settimeout(PATIENCE)
        try:
            conn.connect(path)
            cast("Any", self)._connect(conn)  # paramiko.Agent supports SSH_AUTH_SOCK only
        except (OSError, paramiko.SSHException):
            conn.close()
        for key in self.get_keys():
            if key.name.endswith(SUFFIX):  # else Paramiko omits RSA certificates
                cast("Any", key).inner_key = None

    def close(self) -> None:
        """Close the connection to the agent."""
        cast("Any", self)._close()


class Keys:
    """All keys of a run. `more`: key files from the command line."""

    def __init__(self, path: Path, passwords: Passwords, more: Sequence[Path] = ()) -> None:
        self.path = path
        self._passwords = passwords
        self._more = tuple(more)
        self._typed = False
        self._files: dict[Path, KeyFile] = {}
        self._lock = threading.RLock()

    @property
    def only_here(self) -> bool:
        """Whether only this process has the unlocked key; other programs, such as rsync, do not."""
        return self._typed

    @property
    def locked(self) -> bool:
        """Whether the key of hosts.yaml has a passphrase that has not been entered yet."""
        return self._file(self.path).trouble is Trouble.LOCKED

    def offered(
        self, settings: SshSettings, without: Sequence[paramiko.PKey] = ()
    ) -> Iterator[paramiko.PKey]:
        """Yield the keys to offer to a host, in order; each key once, and none of `without`."""
        done = {_blob(key) for key in without}
        with closing(SocketAgent(settings.agent)) as agent:
            for key in self._in_order(settings, agent.get_keys()):
                blob = _blob(key)
                if blob not in done:
                    done.add(blob)
                    yield key

    def _in_order(
        self, settings: SshSettings, in_agent: Sequence[AgentKey]
    ) -> Iterator[paramiko.PKey]:
        own = self._file(self.path)
        yield from _with_and_without_certificate(own)
        files = [self._file(path) for path in (*self._more, *settings.key_files)]
        for file in (own, *files):
            yield from (key for key in in_agent if _is_in(key, [file]))
        if not settings.only_key_files:
            yield from in_agent
        for file in files:
            yield from _with_and_without_certificate(file)

    def unlock(self, settings: SshSettings) -> paramiko.PKey | None:
        """Return the key of hosts.yaml; ask for its passphrase unless the agent has the key.

        Returns None if the file has no usable key, or only the agent has it unlocked. Raises
        SettingsError without a terminal, or if the passphrase is wrong.
        """
        with self._lock:
            own = self._file(self.path)
            if own.trouble is Trouble.LOCKED and not self._in_agent(own, settings):
                self._refuse_to_ask()
                question = f"Passphrase of {self.path}: "
                own = own.unlocked(self._passwords.get(KEY_PASSPHRASE, question))
                self._files[self.path] = own
                self._typed = True
            return own.key

    def make_ready(self, settings: SshSettings) -> None:
        """Ensure before connecting that hosts.yaml or an agent provides a key; unlock it if needed.

        Raises SettingsError otherwise: key files of ssh_config alone are not enough.
        """
        if self._file(self.path).key:
            return
        with closing(SocketAgent(settings.agent)) as agent:
            if agent.get_keys():
                return
        if not self.unlock(settings):
            self._refuse_nothing()

    def notes(self, settings: SshSettings) -> str:
        """Return why some keys were not offered: one sentence each, with a leading space."""
        files = [self._file(path) for path in (self.path, *self._more, *settings.key_files)]
        return "".join(
            f" {file.path} was not tried, because {file.trouble.value} "
            f"({file.reason or f'load it into an agent: ssh-add {file.path}'})."
            for file in dict.fromkeys(files)
            if file.trouble
            and file.trouble is not Trouble.MISSING
            and not self._in_agent(file, settings)
        )

    def _file(self, path: Path) -> KeyFile:
        with self._lock:
            if path not in self._files:
                self._files[path] = key_file(path)
            return self._files[path]

    def _in_agent(self, file: KeyFile, settings: SshSettings) -> bool:
        with closing(SocketAgent(settings.agent)) as agent:
            return any(_is_in(key, [file]) for key in agent.get_keys())

    def _refuse_to_ask(self) -> None:
        known = os.environ.get(KEY_PASSPHRASE) or KEY_PASSPHRASE in Passwords.given
        if not known and not sys.stdin.isatty():
            raise SettingsError(
                f"{self.path} has a passphrase, and stdin is not a terminal. Load the key into an "
                f"agent (ssh-add {self.path}), or set {KEY_PASSPHRASE} in the environment."
            )

    def _refuse_nothing(self) -> NoReturn:
        own = self._file(self.path)
        if own.trouble is Trouble.ONLY_BY_AGENT:
            raise SettingsError(
                f"{self.path} cannot be used directly, because {own.trouble.value}. Load it into "
                f"an agent: ssh-add {self.path}"
            )
        if own.trouble is Trouble.UNUSABLE:
            raise SettingsError(
                f"{self.path} is not a usable private key: {own.reason}. If ssh can use it, "
                f"convert it: ssh-keygen -p -f {self.path}"
            )
        raise SettingsError(
            f"{self.path} does not exist; create a key (ssh-keygen -t ed25519 -f {self.path}), "
            "or set connection.key in hosts.yaml."
        )


def _blob(key: paramiko.PKey) -> bytes:
    """Return the public key, or the certificate, that is sent to the host."""
    if isinstance(key, AgentKey):
        return key.blob
    return key.public_blob.key_blob if key.public_blob else key.asbytes()


def _is_in(key: AgentKey, files: Iterable[KeyFile]) -> bool:
    """Whether a key or certificate of an agent belongs to one of the files."""
    return any(file.public and file.public in (key.blob, plain(key.blob)) for file in files)


def _with_and_without_certificate(file: KeyFile) -> Iterator[paramiko.PKey]:
    if not file.key:
        return
    yield file.key
    if file.key.public_blob:
        bare = copy.copy(file.key)
        bare.public_blob = None
        yield bare
