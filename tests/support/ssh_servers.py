"""Small SSH servers on this machine, and an agent, for tests of how hosts are entered.

A server checks keys and passwords, runs commands as whoever runs the tests, and forwards
connections. It speaks SSH with Paramiko; the agent is OpenSSH's.
"""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

import paramiko

SUDO = """#!/bin/bash
# sudo's part in a login: asks for the password, if there is one, and runs the command.
while [[ $1 == -* ]]; do
    case $1 in
    -p) prompt=$2 && shift 2 ;;
    *) shift ;;
    esac
done
if [[ $SUDO_WANTS ]]; then
    printf %s "$prompt"
    IFS= read -r given
    [[ $given == "$SUDO_WANTS" ]] || exit 1
fi
exec "$@"
"""


@dataclass
class Account:
    """Who may log in, and how. `sudo`: the password that sudo wants. `forced`: runs instead."""

    keys: Sequence[paramiko.PKey] = ()
    password: str = ""
    sudo: str = ""
    forced: str = ""
    both: bool = False
    """Wants the key and then the password."""


class Certified:
    """A host key that shows a certificate."""

    def __init__(self, key: paramiko.PKey, certificate: Path) -> None:
        key.load_certificate(str(certificate))
        self._key = key
        self._blob = key.public_blob

    def get_name(self) -> str:
        return self._blob.key_type

    def asbytes(self) -> bytes:
        return self._blob.key_blob

    def sign_ssh_data(self, data, algorithm=None):
        return self._key.sign_ssh_data(data, algorithm)


@dataclass
class Server:
    """A server; `seen` are the users and keys of logins, `passwords` those that were tried."""

    accounts: dict[str, Account]
    folder: Path
    forwards: bool = True
    most_tries: int = 6
    host_keys: Sequence[object] = ()
    port: int = 0
    tries: list[tuple[str, str]] = field(default_factory=list)
    passwords: list[str] = field(default_factory=list)
    connections: int = 0
    logins: int = 0
    forwarded: list[tuple[str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.host_keys = self.host_keys or [paramiko.ECDSAKey.generate()]
        program = self.folder / "sudo"
        if not program.exists():
            program.write_text(SUDO)
            program.chmod(0o755)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._transports: list[paramiko.Transport] = []
        threading.Thread(target=self._listen, daemon=True).start()

    @property
    def key(self) -> paramiko.PKey:
        return self.host_keys[0]

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # also ends the accept() that is under way
        self._listener.close()
        for transport in self._transports:
            transport.close()

    def cut(self) -> None:
        """End every connection."""
        for transport in self._transports:
            transport.close()

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=[sock], daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        self.connections += 1
        transport = paramiko.Transport(sock)
        self._transports.append(transport)
        for key in self.host_keys:
            transport.add_server_key(key)
            if key.get_name().startswith("ssh-rsa-cert"):
                transport.server_key_dict["rsa-sha2-512-cert-v01@openssh.com"] = key
        interface = _Interface(self, transport)
        with suppress(paramiko.SSHException, EOFError, OSError):
            transport.start_server(server=interface)
            while transport.is_active():
                channel = transport.accept(1)
                if channel and channel.chanid in interface.behind:
                    interface.forward(channel)


class _Interface(paramiko.ServerInterface):
    def __init__(self, server: Server, transport: paramiko.Transport) -> None:
        self._server = server
        self._transport = transport
        self._user = ""
        self._failures = 0
        self._has_key = False
        self.behind: dict[int, socket.socket] = {}

    def get_allowed_auths(self, username):
        account = self._server.accounts.get(username)
        if self._has_key:
            return "password"
        return "publickey,password" if account and account.password else "publickey"

    def check_auth_none(self, username):
        return paramiko.AUTH_FAILED

    def check_auth_publickey(self, username, key):
        self._server.tries.append((username, key.fingerprint))
        account = self._server.accounts.get(username)
        if account and key in account.keys:
            if account.both:
                self._has_key = True
                return paramiko.AUTH_PARTIALLY_SUCCESSFUL
            return self._in(username)
        return self._failed()

    def check_auth_password(self, username, password):
        self._server.passwords.append(password)
        account = self._server.accounts.get(username)
        if account and account.password == password:
            return self._in(username)
        return self._failed()

    def _in(self, username):
        self._user = username
        self._server.logins += 1
        return paramiko.AUTH_SUCCESSFUL

    def _failed(self):
        self._failures += 1
        if self._failures >= self._server.most_tries:
            self._transport.close()
        return paramiko.AUTH_FAILED

    def check_channel_request(self, kind, chanid):
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel, command):
        threading.Thread(target=self._run, args=[channel, command], daemon=True).start()
        return True

    def check_channel_direct_tcpip_request(self, chanid, origin, destination):
        if not self._server.forwards:
            return paramiko.OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED
        self._server.forwarded.append(destination)
        try:
            self.behind[chanid] = socket.create_connection(destination, 5)
        except OSError:
            return paramiko.OPEN_FAILED_CONNECT_FAILED
        return paramiko.OPEN_SUCCEEDED

    def forward(self, channel: paramiko.Channel) -> None:
        """Connect a channel with the socket that was opened for it."""
        sock = self.behind.pop(channel.chanid)

        def back() -> None:
            _pump(sock.recv, channel.sendall)
            channel.close()

        threading.Thread(target=_pump, args=[channel.recv, sock.sendall], daemon=True).start()
        threading.Thread(target=back, daemon=True).start()

    def _run(self, channel: paramiko.Channel, command: bytes) -> None:
        account = self._server.accounts[self._user]
        process = subprocess.Popen(
            ["bash", "-c", account.forced or command.decode()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={
                "PATH": f"{self._server.folder}:{os.environ['PATH']}",
                "SUDO_WANTS": account.sudo,
                "LOGNAME": self._user,
            },
        )

        def write(data: bytes) -> None:
            process.stdin.write(data)
            process.stdin.flush()

        def feed() -> None:
            _pump(channel.recv, write)
            with suppress(OSError):
                process.stdin.close()

        threading.Thread(target=feed, daemon=True).start()
        _pump(process.stdout.read1, channel.sendall)
        time.sleep(0.05)  # Paramiko answers the request after it has called us
        with suppress(OSError, EOFError):
            channel.send_exit_status(process.wait())
            channel.close()


def _pump(read, write) -> None:
    with suppress(OSError, EOFError, ValueError):
        while True:
            data = read(65536)
            if not data:
                return
            write(data)


def keygen(path: Path, *options: str, passphrase: str = "") -> paramiko.PKey:
    """A key pair that ssh-keygen has made: its public half."""
    quick = ("-a", "1", "-C", path.name)
    command = ["ssh-keygen", "-q", "-f", str(path), "-N", passphrase, *quick, *options]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return public(path)


def public(path: Path) -> paramiko.PKey:
    """The public half beside a private key."""
    kind, text, *_ = path.with_name(f"{path.name}.pub").read_text().split()
    blob = paramiko.pkey.PublicBlob.from_string(f"{kind} {text}").key_blob
    return paramiko.PKey.from_type_string(kind, blob)


class Agent:
    """A running ssh-agent."""

    def __init__(self, sock: str, folder: Path) -> None:
        self.sock = sock
        self._folder = folder

    def add(self, key: Path, *options: str, passphrase: str = "") -> None:
        """Load a key, as ssh-add does."""
        ask = self._folder / "askpass"
        ask.write_text(f"#!/bin/sh\necho '{passphrase}'\n")
        ask.chmod(0o700)
        environment = {**os.environ, "SSH_AUTH_SOCK": self.sock, "SSH_ASKPASS": str(ask)}
        subprocess.run(
            ["ssh-add", "-q", *options, str(key)],
            env={**environment, "SSH_ASKPASS_REQUIRE": "force"},
            check=True,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )


@contextmanager
def agent(folder: Path, confirms: Optional[bool] = None) -> Iterator[Agent]:
    """An agent of one's own. `confirms`: what it hears when it asks whether a key may be used."""
    sock = str(folder / "agent.sock")
    asked = "true" if confirms else "false"
    process = subprocess.Popen(
        ["ssh-agent", "-D", "-a", sock],
        env={"SSH_ASKPASS": f"/bin/{asked}", "SSH_ASKPASS_REQUIRE": "force", **_path()},
        stdout=subprocess.DEVNULL,
    )
    try:
        while not Path(sock).exists():
            process.poll()
            assert process.returncode is None
        yield Agent(sock, folder)
    finally:
        process.terminate()
        process.wait()


def _path() -> dict[str, str]:
    return {"PATH": os.environ["PATH"]}
