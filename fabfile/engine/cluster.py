"""The cluster as the sections see it: hosts, VIPs, groups and settings of hosts.yaml."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Literal, Optional, get_args

import msgspec

from .errors import UsageError

Role = Literal[
    "scheduler",
    "triggerer",
    "webserver",
    "flower",
    "haproxy",
    "nfs",
    "dag-processor",
    "worker",
    "target",
    "rabbitmq",
    "postgres",
]
ROLES: tuple[str, ...] = get_args(Role)
SIZE = re.compile(r"([1-9][0-9]*)(MB|GB|TB)")
_MEGABYTES = {"MB": 1, "GB": 1024, "TB": 1024 * 1024}


Positive = Annotated[int, msgspec.Meta(ge=1)]
Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Text = Annotated[str, msgspec.Meta(min_length=1)]
AtLeastOne = Annotated[list[str], msgspec.Meta(min_length=1)]
# sudo ignores files in sudoers.d with a dot in their name.
Account = Annotated[str, msgspec.Meta(pattern="^[a-z_][a-z0-9_-]{0,31}$")]
PackageName = Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9][A-Za-z0-9._+-]*$")]
HostName = Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9][A-Za-z0-9.:-]*$")]


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A mapping of hosts.yaml: a key that is not a field here is a typo."""


class Connection(Entry, frozen=True):
    """How the controller reaches a host."""

    user: Account = "rocky"
    key: Text = "~/.ssh/id_ed25519"
    port: Port = 22
    gateway: Optional[Text] = None
    known_hosts: AtLeastOne = msgspec.field(
        default_factory=lambda: ["known_hosts", "~/.ssh/known_hosts"]
    )
    bootstrap_user: Account = "root"
    timeout: Positive = 10
    parallel: Positive = 32


class Host(Entry, frozen=True):
    """One server of the cluster."""

    name: str
    vm: Positive
    address: str
    ram: str
    cpu: Positive
    disk: str
    roles: list[Role]
    port: Optional[Port] = None
    user: Optional[Account] = None
    gateway: Optional[Text] = None

    @property
    def ram_mb(self) -> int:
        """Memory in MiB."""
        return megabytes(self.ram)

    @property
    def disk_mb(self) -> int:
        """Disk in MiB."""
        return megabytes(self.disk)


class Vip(Entry, frozen=True):
    """An address that moves between its members; the highest priority is preferred."""

    name: str
    address: str
    role: Role
    members: dict[str, int]


class Versions(Entry, frozen=True):
    """What gets installed."""

    airflow: str = "2.9.0"
    python: str = "3.9.16"
    postgresql: str = "15"
    rabbitmq: str = "3.12.10"
    erlang: str = "26.1.2"


class Base(Entry, frozen=True):
    """Settings of the section `base`."""

    packages: list[PackageName] = msgspec.field(
        default_factory=lambda: ["vim", "curl", "wget", "rsync", "nfs-utils", "firewalld", "chrony"]
    )
    ntp: list[HostName] = []


class Ssh(Entry, frozen=True):
    """Settings of the section `ssh`."""

    key_host: str


class Cluster(msgspec.Struct, frozen=True, kw_only=True):
    """The judged inventory: what every task function gets to see."""

    name: str
    hosts: dict[str, Host]
    vips: dict[str, Vip]
    groups: dict[str, list[str]]
    connection: Connection
    versions: Versions
    timezone: str
    selinux: str
    base: Base
    ssh: Ssh
    public_key: str
    file: Path
    state: Path
    warnings: list[str]

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
        used = [role for role in ROLES if self.group(role)]
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
                known = ", ".join(f"@{name}" for name in self.group_names)
                raise UsageError(
                    f"{self.file.name} has no group {word}{perhaps(word[1:], self.group_names)}; "
                    f"there are {known}."
                )
            yield from (host.name for host in self.group(word[1:]))
            return
        if word in self.hosts:
            yield word
            return
        by_address = [host.name for host in self.hosts.values() if host.address == word]
        if not by_address:
            raise UsageError(
                f"{self.file.name} has no host {word}{perhaps(word, self.hosts)}; "
                f"there are {', '.join(self.hosts)}."
            )
        yield by_address[0]

    def names(self) -> Iterator[tuple[str, str]]:
        """(name, address) of every host, then of every VIP."""
        for host in self.hosts.values():
            yield host.name, host.address
        for vip in self.vips.values():
            yield vip.name, vip.address

    def apart(self, hosts: Iterable[Host]) -> list[list[Host]]:
        """`hosts` in batches; no two of a batch share a role, so no cluster loses two members."""
        batches: list[list[Host]] = []
        for host in hosts:
            for batch in batches:
                if not any(set(host.roles) & set(other.roles) for other in batch):
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
        return self.state / Path(text).expanduser()


def megabytes(size: str) -> int:
    """MiB of a size such as `4GB` (1 GB is 1024 MiB here, as hypervisors count)."""
    match = SIZE.fullmatch(size)
    if not match:
        raise ValueError(size)
    return int(match[1]) * _MEGABYTES[match[2]]


def perhaps(word: str, known: Iterable[str]) -> str:
    """` (did you mean …?)`, if one of the known words is close."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""
