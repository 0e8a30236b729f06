"""A cluster whose hosts are small servers on this machine, and the connections of a run to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import paramiko
from fabric import Config
from msgspec import structs
from support.ssh_servers import Account, Server, keygen

from runbook.inventory.cluster import Cluster, Host
from runbook.secrets.mask import Mask
from runbook.secrets.vault import Passwords
from runbook.ssh.transport import Connections


class Site:
    """Servers, a key of hosts.yaml, known_hosts and ssh_config, all of a test's own."""

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        self.folder = folder
        self.key_path = folder / "id_ed25519"
        self.config = folder / "ssh_config"
        self.known_hosts = folder / "known_hosts"
        self.asked: list[str] = []
        self.answers: dict[str, str] = {}
        self._cluster = cluster
        self._servers: list[Server] = []
        self._open: list[Connections] = []
        self.config.write_text("IdentityFile none\n")
        self.known_hosts.touch()

    def close(self) -> None:
        for one in [*self._open, *self._servers]:
            one.close()

    def keygen(self, *options: str, name: str = "id_ed25519", passphrase: str = "") -> Any:
        options = options or ("-t", "ed25519")
        return keygen(self.folder / name, *options, passphrase=passphrase)

    def server(self, known: bool = True, **accounts: Account) -> Server:
        """A server with these accounts, whose key is in known_hosts."""
        server = Server(accounts, self.folder)
        self._servers.append(server)
        if known:
            self.pin(server)
        return server

    def pin(self, server: Server, key: Any = None, marker: str = "", name: str = "") -> None:
        key = key or server.key
        name = name or f"[127.0.0.1]:{server.port}"
        line = f"{marker} {name} {key.get_name()} {key.get_base64()}".strip()
        self.known_hosts.write_text(f"{self.known_hosts.read_text()}{line}\n")

    def configure(self, text: str) -> None:
        self.config.write_text(f"{text}\nHost *\nIdentityFile none\n")

    def cluster(self, server: Server, host_key: Any = None, **connection: Any) -> Cluster:
        """The shipped cluster, but sql1 is this server."""
        host = structs.replace(
            self._cluster.hosts["sql1"], address="127.0.0.1", port=server.port, host_key=host_key
        )
        settings = structs.replace(
            self._cluster.connection,
            key=str(self.key_path),
            known_hosts=[str(self.known_hosts)],
            timeout=5,
            **connection,
        )
        return structs.replace(self._cluster, hosts={"sql1": host}, connection=settings)

    def connections(self, server: Server, **connection: Any) -> Connections:
        cluster = self.cluster(server, **connection)
        config = Config(
            ssh_config=paramiko.SSHConfig(), overrides={"ssh_config_path": str(self.config)}
        )
        passwords = Passwords(Mask(), self._answer)
        made = Connections(cluster, config, passwords, list(cluster.hosts.values()))
        self._open.append(made)
        return made

    def enter(self, server: Server, bootstrap: bool = False, **connection: Any) -> list[str]:
        """Log in and say who one is there."""
        connections = self.connections(server, **connection)
        host: Host = connections.cluster.hosts["sql1"]
        connections.open(host, bootstrap)
        said: list[bytes] = []
        assert connections.command(host, "echo I am $LOGNAME", said.append) == 0
        return b"".join(said).decode().split()[2:]

    def _answer(self, question: str) -> str:
        self.asked.append(question)
        return next(answer for word, answer in self.answers.items() if word in question)
