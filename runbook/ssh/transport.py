"""One SSH connection per host and run: opened in parallel, verified, reused by every task."""

from __future__ import annotations

import logging
import secrets
import socket
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Callable, Optional

import paramiko
from fabric.config import Config

from runbook.declare.library import library
from runbook.errors import AccessError, UnreachableError
from runbook.inventory.cluster import Cluster, Host
from runbook.script import Reader, Script
from runbook.secrets.vault import Passwords
from runbook.ssh.connection import HostConnection
from runbook.ssh.keys import Keys
from runbook.ssh.known_hosts import Identity, KnownHosts, RevokedHostKey, shown_key
from runbook.ssh.login import Login
from runbook.ssh.routes import Place, Routes
from runbook.ssh.ssh_config import SshConfig
from runbook.ssh.troubles import (
    BOOTSTRAP_PASSWORD,
    SUDO_PASSWORD,
    cut,
    flooding,
    no_root,
    reason,
    refuse_untrusted,
    silent,
    unreachable,
)

# Paramiko logs tracebacks of errors that are reported as sentences here.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)

NO_GATEWAY = "none"
"""The value of `gateway` for a direct connection; it also overrides ssh_config."""
LONGEST_BANNER = 1 << 20
"""Characters that a host may print before its root shell begins."""
GRACE = 20
"""Seconds added to a step's limit before the controller stops waiting for its end."""


class Connections:
    """The connections of one run. Made in the main thread; opened and used by workers."""

    def __init__(
        self, cluster: Cluster, config: Config, passwords: Passwords, hosts: Sequence[Host]
    ) -> None:
        self.cluster = cluster
        self.known = KnownHosts.of(cluster)
        self.passwords = passwords
        self.ssh_config = SshConfig(config.ssh_config_path)
        named = [Path(name).expanduser() for name in config.authentication.identities]
        self.keys = Keys(cluster.path(cluster.connection.key), passwords, named)
        self._patience = config.connect_kwargs.get("timeout") or cluster.connection.timeout
        self._routes = Routes(self.ssh_config, self.known, self.keys, self._patience)
        self._config = config
        bootstrap_user = cluster.connection.bootstrap_user
        self._by_user = {host.name: self._make(host, cluster.user(host)) for host in hosts}
        self._by_bootstrap = {host.name: self._make(host, bootstrap_user) for host in hosts}
        self._open: dict[str, HostConnection] = {}
        self._shells: dict[str, paramiko.Channel] = {}

    def close(self) -> None:
        """Close every connection."""
        for connection in self._open.values():
            connection.close()
        self._routes.close()
        self._open.clear()
        self._shells.clear()

    def drop(self, host: Host) -> None:
        """Forget a host's connection, as after a reboot."""
        self._shells.pop(host.name, None)
        connection = self._open.pop(host.name, None)
        if connection:
            connection.close()

    def open(self, host: Host, bootstrap: bool = False) -> HostConnection:
        """The host's connection, opened if necessary.

        With `bootstrap`, log in as the bootstrap user, by key or with a password, if the host
        refuses the user. Raises UnreachableError or AccessError.
        """
        connection = self._open.get(host.name)
        if connection and connection.is_connected:
            return connection
        connection = self._by_user[host.name]
        try:
            place = self._place(host, connection)
            self._enter(host, connection, place, self._routes.by_key(place.settings))
            if bootstrap:
                self._root_shell(host, connection, may_ask=False)
        except AccessError:
            if not bootstrap:
                raise
            refused = host.name not in self._open
            self.drop(host)
            by_user, connection = connection, self._by_bootstrap[host.name]
            place = replace(self._place(host, connection), first_contact=True)
            by_key = not refused or connection.user != by_user.user
            self._enter(host, connection, place, self._first_contact(place, by_key))
        return connection

    def _enter(
        self, host: Host, connection: HostConnection, place: Place, logins: Iterator[Login]
    ) -> None:
        connection.host, connection.port = place.settings.hostname, place.settings.port
        connection.transport, login = self._routes.enter(connection.client, place, logins)
        connection.login_password = login.password
        self._open[host.name] = connection

    def _first_contact(self, place: Place, by_key: bool) -> Iterator[Login]:
        """Yield logins for a new host: with keys, if `by_key`, then with a password."""
        user, login = place.settings.user, Login(place.settings.user)
        for login in self._routes.by_key(place.settings) if by_key else ():
            yield login
        if login.takes_password:
            password = self.passwords.get(BOOTSTRAP_PASSWORD, f"Password of {user} on new hosts: ")
            keys = partial(self.keys.offered, place.settings) if login.wants else tuple
            yield Login(user, keys, password)

    def host_key(self, host: Host) -> tuple[str, paramiko.PKey, list[paramiko.PKey]]:
        """Return the host's name in known_hosts, the key that it shows, and the accepted keys."""
        place = self._place(host, self._by_user[host.name])
        try:
            sock = self._routes.connected_socket(place)
        except (OSError, paramiko.SSHException) as error:
            raise unreachable(place, error) from None
        key = shown_key(sock, host, self._routes.patience, self.known.preferred(place.identity))
        line = self.known.revoked(place.identity, key)
        if line:
            refuse_untrusted(place, RevokedHostKey(key, line))
        return place.identity.pinned, key, self.known.accepted(place.identity, key)

    def run(
        self,
        host: Host,
        script: Script,
        progress: Callable[[Reader], None],
        prompt: bool = False,
    ) -> Reader:
        """Run a script in the host's root shell, which stays open for the next one.

        `prompt`: a host that does not begin within the time for a connection is unreachable.
        Raises UnreachableError if the connection breaks, AccessError if sudo refuses.
        """
        connection = self._open[host.name]
        reader = Reader(script)
        try:
            shell = self._shells.get(host.name) or self._root_shell(host, connection)
            shell.sendall(script.text.encode())
            while not reader.over:
                waits = prompt and not reader.began
                shell.settimeout(connection.patience if waits else reader.limit + GRACE)
                data = shell.recv(65536)
                if not data:
                    break
                reader.feed(data)
                if reader.flooded:
                    connection.close()
                    raise UnreachableError(flooding(host, reader))
                progress(reader)
        except socket.timeout:
            connection.close()
            raise UnreachableError(silent(host, reader)) from None
        except (paramiko.SSHException, EOFError, OSError) as error:
            reader.close()
            if not reader.rebooting:
                raise UnreachableError(cut(host, reader, str(error))) from None
        reader.close()
        if not reader.over:
            self._shells.pop(host.name, None)
            if not connection.is_connected and not reader.rebooting:
                raise UnreachableError(cut(host, reader, "the connection closed"))
        return reader

    def command(self, host: Host, command: str, take: Callable[[bytes], None]) -> int:
        """Run a command as the login user; pass its output to `take`. Returns its exit code."""
        connection = self._open[host.name]
        try:
            channel = connection.transport.open_session(timeout=connection.patience)
            channel.set_combine_stderr(True)
            channel.exec_command(command)
            channel.shutdown_write()
            while True:
                data = channel.recv(65536)
                if not data:
                    break
                take(data)
            code: int = channel.recv_exit_status()
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise UnreachableError(
                f"the connection to {host.name} was lost ({reason(error)})."
            ) from None
        if code < 0:
            raise UnreachableError(f"the connection to {host.name} was lost before the end.")
        return code

    def _root_shell(
        self, host: Host, connection: HostConnection, may_ask: bool = True
    ) -> paramiko.Channel:
        """A shell that takes scripts on its standard input, where no process list shows them.

        The password is sent only once, after sudo has asked for it: bash never gets it.
        """
        prompt, ready = f"[password {secrets.token_hex(8)}]", f"[ready {secrets.token_hex(8)}]"
        command = f"sh -c 'echo \"{ready}\"; exec bash -s'"
        if connection.user != "root":
            command = f"sudo -S -p '{prompt}' {command}"
        shell: paramiko.Channel = connection.transport.open_session(timeout=connection.patience)
        shell.set_combine_stderr(True)
        shell.settimeout(GRACE)
        shell.exec_command(command)
        said, asked = "", False
        while ready not in said:
            if len(said) > LONGEST_BANNER:
                shell.close()
                raise no_root(host, connection.user, f"{said[:200]} …", asked)
            data = shell.recv(4096)
            said += data.decode(errors="replace")
            if prompt in said and may_ask and not asked:
                question = f"sudo password of {connection.user}: "
                password = connection.login_password or self.passwords.get(SUDO_PASSWORD, question)
                shell.sendall(f"{password}\n".encode())
                said, asked = "", True
            elif prompt in said or not data:
                shell.close()
                raise no_root(host, connection.user, said.replace(prompt, ""), asked)
        shell.sendall(library().encode())
        self._shells[host.name] = shell
        return shell

    def _make(self, host: Host, user: str) -> HostConnection:
        return HostConnection(
            host.name,
            user=user,
            port=self.cluster.ssh_port(host),
            config=self._config,
            connect_timeout=self._patience,
        )

    def _place(self, host: Host, connection: HostConnection) -> Place:
        """Return where to connect: user and port from hosts.yaml, the rest from ssh_config."""
        user, port = connection.user, self.cluster.ssh_port(host)
        settings = self.ssh_config.of(host.name, user, port, host.address)
        gateway = self.gateway(host)
        if gateway:
            settings = replace(settings, proxy="", jump="" if gateway == NO_GATEWAY else gateway)
        if settings.alias:
            identity = Identity((settings.alias,), fingerprints=host.fingerprints)
        else:
            identity = Identity((settings.hostname, host.name), port, host.fingerprints)
        return Place(host.name, settings, identity, settings.jump, host.name)

    def gateway(self, host: Host) -> Optional[str]:
        """Return the gateways that hosts.yaml sets for a host; `none`: a direct connection."""
        return host.gateway or self.cluster.connection.gateway
