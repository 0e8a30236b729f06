"""One SSH connection per host and run: opened in parallel, verified, reused by every task."""

from __future__ import annotations

import logging
import os
import random
import secrets
import socket
import threading
import time
from collections.abc import Sequence
from typing import Any, Callable, Optional

import fabric
import paramiko
from fabric.config import Config

from runbook.declare.library import library
from runbook.errors import AccessError, SettingsError, UnreachableError
from runbook.inventory.cluster import Cluster, Host
from runbook.script import Reader, Script
from runbook.secrets.vault import Passwords
from runbook.ssh.connection import HostConnection, open_socket
from runbook.ssh.known_hosts import KnownHosts, UnknownHostKey, lookup_name, shown_key
from runbook.ssh.troubles import (
    BOOTSTRAP_PASSWORD,
    SUDO_PASSWORD,
    changed_key,
    cut,
    no_root,
    reason,
    refused_login,
    silent,
    unreachable,
)

# Paramiko logs tracebacks of what becomes a sentence here.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)

ATTEMPTS = 4
"""Connection attempts if sshd closes the connection before its greeting (MaxStartups)."""
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
        self._config = config
        self._key: Optional[paramiko.PKey] = None
        self._gateways: dict[str, HostConnection] = {}
        self._gateway_lock = threading.Lock()
        self._key_lock = threading.Lock()
        self._by_user = {host.name: self._make(host, cluster.user(host)) for host in hosts}
        self._by_bootstrap = {
            host.name: self._make(host, cluster.connection.bootstrap_user) for host in hosts
        }
        self._open: dict[str, HostConnection] = {}
        self._shells: dict[str, paramiko.Channel] = {}

    def close(self) -> None:
        """Close every connection."""
        for connection in [*self._open.values(), *self._gateways.values()]:
            connection.close()
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

        With `bootstrap`, a host that refuses the user is entered as the bootstrap user, with a
        password. Raises UnreachableError or AccessError.
        """
        connection = self._open.get(host.name)
        if connection and connection.is_connected:
            return connection
        connection = self._by_user[host.name]
        try:
            self._connect(host, connection, {"pkey": self._private_key()})
            self._open[host.name] = connection
            if bootstrap:
                self._root_shell(host, connection, may_ask=False)
        except AccessError:
            if not bootstrap:
                raise
            self.drop(host)
            connection = self._by_bootstrap[host.name]
            question = f"Password of {connection.user} on new hosts: "
            password = self.passwords.get(BOOTSTRAP_PASSWORD, question)
            self._connect(host, connection, {"password": password, "allow_agent": False})
            self._open[host.name] = connection
        return connection

    def host_key(self, host: Host) -> tuple[str, paramiko.PKey]:
        """The name in known_hosts, and the key that the host shows now, which is not verified."""
        connection = self._by_user[host.name]
        name = lookup_name(connection.host, connection.port)
        try:
            self._open_gateway_of(connection)
            sock = (
                connection.open_gateway()
                if connection.gateway
                else open_socket(connection.host, connection.port, connection.patience)
            )
        except (OSError, paramiko.SSHException) as error:
            raise unreachable(host, connection, error) from None
        pinned = [key.get_name() for key in self.known.keys(name)]
        return name, shown_key(sock, host, connection.patience, pinned)

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

    def command(self, host: Host, command: str) -> tuple[int, list[str]]:
        """Run a command as the login user; returns its exit code and what it printed."""
        connection = self._open[host.name]
        chunks = []
        try:
            channel = connection.transport.open_session(timeout=connection.patience)
            channel.set_combine_stderr(True)
            channel.exec_command(command)
            channel.shutdown_write()
            while True:
                data = channel.recv(65536)
                if not data:
                    break
                chunks.append(data)
            code = channel.recv_exit_status()
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise UnreachableError(
                f"the connection to {host.name} was lost ({reason(error)})."
            ) from None
        if code < 0:
            raise UnreachableError(f"the connection to {host.name} was lost before the end.")
        return code, b"".join(chunks).decode(errors="replace").splitlines()

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
            data = shell.recv(4096)
            said += data.decode(errors="replace")
            if prompt in said and may_ask and not asked:
                question = f"sudo password of {connection.user}: "
                shell.sendall(f"{self.passwords.get(SUDO_PASSWORD, question)}\n".encode())
                said, asked = "", True
            elif prompt in said or not data:
                shell.close()
                raise no_root(host, connection.user, said.replace(prompt, ""), asked)
        shell.sendall(library().encode())
        self._shells[host.name] = shell
        return shell

    def _make(self, host: Host, user: str) -> HostConnection:
        settings = self.cluster.connection
        connection = HostConnection(
            host.name,
            user=user,
            port=self.cluster.ssh_port(host),
            config=self._config,
            connect_timeout=settings.timeout,
        )
        if connection.host == host.name:
            connection.host = host.address
        gateway = host.gateway or settings.gateway
        if gateway:
            connection.gateway = HostConnection(gateway, config=self._config)
        if isinstance(connection.gateway, fabric.Connection):
            connection.gateway = self._shared_gateway(connection.gateway)
        connection.connect_kwargs = {**connection.connect_kwargs, "look_for_keys": False}
        return connection

    def _shared_gateway(self, gateway: fabric.Connection) -> HostConnection:
        name = f"{gateway.user}@{gateway.host}:{gateway.port}"
        if name not in self._gateways:
            shared = HostConnection(
                gateway.host,
                user=gateway.user,
                port=gateway.port,
                config=self._config,
                connect_timeout=self.cluster.connection.timeout,
            )
            self._gateways[name] = shared
        return self._gateways[name]

    def _private_key(self) -> Optional[paramiko.PKey]:
        with self._key_lock:
            if self._key is None:
                self._key = self._read_private_key()
        return self._key

    def _read_private_key(self) -> Optional[paramiko.PKey]:
        """The key of hosts.yaml; None if only an agent can use it."""
        agent = bool(os.environ.get("SSH_AUTH_SOCK"))
        path = self.cluster.path(self.cluster.connection.key)
        try:
            return paramiko.PKey.from_path(path)
        except FileNotFoundError:
            if agent:
                return None
            raise SettingsError(
                f"{path} does not exist; create a key (ssh-keygen -t ed25519 -f {path}), "
                "or set connection.key in hosts.yaml."
            ) from None
        except paramiko.PasswordRequiredException:
            if agent:
                return None
            raise SettingsError(
                f"{path} has a passphrase; load it into an agent first: ssh-add {path}"
            ) from None
        except (paramiko.SSHException, paramiko.pkey.UnknownKeyType, ValueError, OSError) as error:
            raise SettingsError(f"{path} is not a usable private key: {error}.") from None

    def _connect(self, host: Host, connection: HostConnection, login: dict[str, Any]) -> None:
        connection.connect_kwargs = {**connection.connect_kwargs, **login}
        self.known.teach(connection.client, lookup_name(connection.host, connection.port))
        for attempt in range(ATTEMPTS):
            began = time.monotonic()
            try:
                self._open_gateway_of(connection)
                connection.open()
                return
            except UnknownHostKey as error:
                raise UnreachableError(
                    f"{host.name} ({connection.host}) shows a host key that is not pinned: "
                    f"{error.key.get_name()} {error.key.fingerprint}. "
                    f"Compare it on the host, then: fab -H {host.name} ssh.trust"
                ) from None
            except paramiko.BadHostKeyException as error:
                raise UnreachableError(changed_key(host, connection, error)) from None
            except paramiko.AuthenticationException:
                connection.close()
                raise AccessError(refused_login(host, connection, login)) from None
            except (paramiko.SSHException, EOFError, ConnectionResetError) as error:
                connection.close()
                if "No authentication methods" in str(error):  # no key here, and an empty agent
                    raise AccessError(refused_login(host, connection, login)) from None
                silent = time.monotonic() - began >= connection.patience
                if silent or attempt + 1 == ATTEMPTS:
                    raise unreachable(host, connection, error) from None
                time.sleep((attempt + random.random()) * 0.3)
            except (OSError, paramiko.ssh_exception.NoValidConnectionsError) as error:
                raise unreachable(host, connection, error) from None

    def _open_gateway_of(self, connection: HostConnection) -> None:
        if not isinstance(connection.gateway, HostConnection):
            return
        with self._gateway_lock:
            gateway = connection.gateway
            if gateway.is_connected:
                return
            self.known.teach(gateway.client, lookup_name(gateway.host, gateway.port))
            gateway.connect_kwargs = {**gateway.connect_kwargs, "pkey": self._private_key()}
            try:
                gateway.open()
            except UnknownHostKey as error:
                raise UnreachableError(
                    f"the gateway {gateway.host} shows a host key that is not pinned: "
                    f"{error.key.get_name()} {error.key.fingerprint}. Log in to it once with ssh "
                    "and compare the fingerprint, then rerun."
                ) from None
            except (paramiko.SSHException, OSError, EOFError) as error:
                raise UnreachableError(
                    f"the gateway {gateway.user}@{gateway.host} cannot be used: {reason(error)}."
                ) from None
