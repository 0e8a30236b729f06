"""The cluster as the sections see it: hosts, VIPs, groups and settings of hosts.yaml."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Callable, Optional, TypeVar

import msgspec

from runbook.errors import SettingsError, UsageError
from runbook.inventory.entry import (
    Account,
    Address,
    Entry,
    Fingerprints,
    Gateway,
    LocalPath,
    Network,
    Port,
    Size,
    between,
    no_such,
)
from runbook.inventory.schema import Opening, Role, Settings
from runbook.secrets import references
from runbook.secrets.vault import Secret, Vault

S = TypeVar("S", bound=Settings)
_SIZE = re.compile(r"([1-9][0-9]*)(MB|GB|TB)")
_MEGABYTES = {"MB": 1, "GB": 1024, "TB": 1024 * 1024}


class Connection(Entry, frozen=True):
    """How the controller reaches a host."""

    user: Account = "rocky"
    """The account that logs in with the key below and has sudo; base.user creates it."""
    key: LocalPath = "~/.ssh/id_ed25519"
    """The controller's private key; the .pub file is beside it."""
    port: Port = 22
    """The port of sshd."""
    gateway: Optional[Gateway] = None
    """A jump host (ProxyJump), such as user@bastion.example.com, or several; `none`: no jump host,
    even if ssh_config names one.
    """
    known_hosts: Annotated[list[LocalPath], msgspec.Meta(min_length=1)] = msgspec.field(
        default_factory=lambda: ["known_hosts", "~/.ssh/known_hosts"]
    )
    """Files with host keys; the first is where `fab ssh.trust` pins them."""
    bootstrap_user: Account = "root"
    """The account for first contact, by key or password; only `fab ssh.bootstrap` uses it."""
    timeout: Annotated[int, between(1, 600)] = 10
    """Seconds to wait for a connection."""
    parallel: Annotated[int, between(1, 1000)] = 32
    """How many hosts are worked on at the same time."""
    journal_commands: bool = True
    """Whether the journal records the text of commands after `--`, without passwords."""


class Host(Entry, frozen=True):
    """One server of the cluster."""

    name: str
    vm: Annotated[int, between(1, 99999)]
    """The number of the machine in the runbook."""
    address: Address
    """Its IPv4 address, at which the other hosts reach it; not loopback, multicast and the like."""
    ram: Size
    """Its memory, 512MB to 64TB; settings of PostgreSQL and Airflow depend on it."""
    cpu: Annotated[int, between(1, 4096)]
    """How many processors it has."""
    disk: Size
    """The size of its disk, 5GB to 9999TB."""
    roles: list[str]
    """What it is used for."""
    port: Optional[Port] = None
    """The port of sshd, if not that of `connection`."""
    user: Optional[Account] = None
    """The administrator's account, if not that of `connection`."""
    gateway: Optional[Gateway] = None
    """The jump host, if not that of `connection`; `none`: no jump host."""
    host_key: Optional[Fingerprints] = None
    """The fingerprint of its host key, or several; `ssh.trust` then pins that key without a
    question, and every other key is refused.
    """

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """The fingerprints of the host keys that it may show; empty: any key that is pinned."""
        return tuple((self.host_key or "").split())

    @property
    def ram_mb(self) -> int:
        """Memory in MiB."""
        return megabytes(self.ram)

    @property
    def disk_mb(self) -> int:
        """Disk in MiB."""
        return megabytes(self.disk)


def share_a_role(one: Host, other: Host) -> bool:
    """Whether the two have a role in common, and so must not be down at the same time."""
    return bool(set(one.roles) & set(other.roles))


def among(wanted: Iterable[Host], hosts: Iterable[Host]) -> list[Host]:
    """Those of `wanted`, in that order, that belong to `hosts`."""
    chosen = {host.name for host in hosts}
    return [host for host in wanted if host.name in chosen]


def host_named(name: str, known: Iterable[Host], what: str) -> Host:
    """The host of this name; UsageError if it is not one of `known`, each of which is a `what`."""
    by_name = {host.name: host for host in known}
    if name not in by_name:
        raise no_such(f"{name} is not a {what}", name, by_name)
    return by_name[name]


class Vip(Entry, frozen=True):
    """An address that moves between its members; the highest priority is preferred.

    `vrrp_id`: the id of the VRRP group in its network; default: the address's last number.
    """

    name: str
    address: Address
    """Its IPv4 address, which is not that of any host. In the network that its members are in."""
    role: str
    """The role of the servers that answer at it."""
    members: Annotated[dict[str, Annotated[int, between(1, 254)]], msgspec.Meta(min_length=1)]
    """Hosts between which it moves, with VRRP priorities of 1 to 254; the highest is preferred."""
    vrrp_id: Optional[Annotated[int, between(1, 255)]] = None
    """The id of the VRRP group in its network; null: the last number of the address."""
    network: Optional[Network] = None
    """The network of the address and its members; null: the smallest network that includes all
    members, at least a /24.
    """

    @property
    def router_id(self) -> int:
        """The number of its VRRP group."""
        return self.vrrp_id or int(self.address.rpartition(".")[2]) or 1


OWN_KEYS = ("name", "hosts", "vips", "groups", "connection", "timezone", "selinux")
"""The keys of hosts.yaml that belong to no section."""


class Cluster(msgspec.Struct, frozen=True, kw_only=True):
    """The validated inventory, which every task function gets."""

    name: str
    hosts: dict[str, Host]
    vips: dict[str, Vip]
    groups: dict[str, list[str]]
    connection: Connection
    timezone: str
    selinux: str
    roles: tuple[Role, ...]
    openings: tuple[Opening, ...]
    settings: dict[str, Settings]
    public_key: str
    vault: Vault
    file: Path
    state: Path
    warnings: list[str]
    named_secrets: tuple[tuple[references.Path, str], ...] = ()
    """Where settings have `{secret: NAME}`, and the names."""

    def __getitem__(self, kind: type[S]) -> S:
        """The settings of this kind: cluster[Postgres].ttl."""
        key, own = next((key, one) for key, one in self.settings.items() if isinstance(one, kind))
        if not self.named_secrets or not self.secret_settings(key):
            return own
        given = {secret.name: secret for secret in self.given_secrets}
        resolved: S = references.resolved(own, lambda name: self.vault.get(given[name]))
        return resolved

    def plain(self) -> dict[str, Any]:
        """The contents of hosts.yaml as plain values, including defaults."""
        said = {name: msgspec.to_builtins(getattr(self, name)) for name in OWN_KEYS}
        own = {key: msgspec.to_builtins(settings) for key, settings in self.settings.items()}
        return {**said, **references.written(own)}

    def secret_settings(self, *path: str) -> list[references.Path]:
        """The keys below `path` whose value is a secret, without `path`."""
        size = len(path)
        return [where[size:] for where, _ in self.named_secrets if where[:size] == path]

    @property
    def given_secrets(self) -> list[Secret]:
        """The secrets that settings name: the user supplies them, so they are never generated."""
        about: dict[str, list[str]] = {}
        for path, name in self.named_secrets:
            about.setdefault(name, []).append(".".join(map(str, path)))
        return [Secret(name, " and ".join(own), 8, given=True) for name, own in about.items()]

    def role(self, name: str) -> Role:
        """A role by its name."""
        return next(role for role in self.roles if role == name)

    def roles_of(self, host: Host) -> list[Role]:
        """The roles of a host, in the order in which hosts.yaml names them."""
        return [self.role(name) for name in host.roles]

    def group(self, name: str) -> list[Host]:
        """Hosts of `all`, of a role, or of a group of hosts.yaml; empty if no host has the role."""
        if name == "all":
            return list(self.hosts.values())
        if name in self.groups:
            return [self.hosts[host] for host in self.groups[name]]
        return [host for host in self.hosts.values() if name in host.roles]

    @property
    def group_names(self) -> list[str]:
        """Everything that may follow `-H @`."""
        used = [role for role in self.roles if self.group(role)]
        return ["all", *used, *self.groups]

    def select(self, text: str) -> list[Host]:
        """Hosts of `sql1,@rabbitmq`, each once, in hosts.yaml's order; else UsageError."""
        wanted: set[str] = set()
        for word in filter(None, (part.strip() for part in text.split(","))):
            wanted.update(self._named(word))
        if not wanted:
            raise UsageError(f"-H {text!r} names no host.")
        return [host for host in self.hosts.values() if host.name in wanted]

    def _named(self, word: str) -> Iterator[str]:
        if word.startswith("@"):
            if word[1:] not in self.group_names:
                groups = [f"@{name}" for name in self.group_names]
                raise no_such(f"{self.file.name} has no group {word}", word, groups)
            yield from (host.name for host in self.group(word[1:]))
            return
        if word in self.hosts:
            yield word
            return
        by_address = [host.name for host in self.hosts.values() if host.address == word]
        if not by_address:
            raise no_such(f"{self.file.name} has no host {word}", word, self.hosts)
        yield by_address[0]

    def secret(self, secret: Secret) -> str:
        """A password of the cluster; generated and kept in secrets.yaml if there is none yet."""
        return self.vault.get(secret)

    def with_vault(self, vault: Vault) -> Cluster:
        """This cluster, with other passwords."""
        return msgspec.structs.replace(self, vault=vault)

    def names(self) -> Iterator[tuple[str, str]]:
        """(name, address) of every host, then of every VIP."""
        for host in self.hosts.values():
            yield host.name, host.address
        for vip in self.vips.values():
            yield vip.name, vip.address

    def apart(
        self, hosts: Iterable[Host], conflict: Callable[[Host, Host], bool] = share_a_role
    ) -> list[list[Host]]:
        """`hosts` in batches without a conflict: no cluster loses two members at the same time."""
        batches: list[list[Host]] = []
        for host in hosts:
            for batch in batches:
                if not any(conflict(host, other) for other in batch):
                    batch.append(host)
                    break
            else:
                batches.append([host])
        return batches

    def user(self, host: Host) -> str:
        """The administrator's account on a host."""
        return host.user or self.connection.user

    def ssh_port(self, host: Host) -> int:
        """The port of the host's sshd."""
        return host.port or self.connection.port

    def path(self, text: str) -> Path:
        """A path of hosts.yaml: `~` is the user's home, relative ones start in the state folder."""
        return local_path(text, self.state)


def local_path(text: str, folder: Path) -> Path:
    """A path on this machine: `~` is the user's home, relative paths start in `folder`."""
    try:
        return folder / Path(text).expanduser()
    except RuntimeError:
        raise SettingsError(f"{text}: your home folder is not known; set HOME.") from None


def megabytes(size: str) -> int:
    """MiB of a size such as `4GB` (1 GB is 1024 MiB here, as hypervisors count)."""
    match = _SIZE.fullmatch(size)
    if not match:
        raise ValueError(size)
    return int(match[1]) * _MEGABYTES[match[2]]
