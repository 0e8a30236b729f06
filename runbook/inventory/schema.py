"""What sections add to hosts.yaml: roles, and mappings with their settings."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Callable, ClassVar, Optional, TypeVar, Union

from runbook.inventory.entry import Entry
from runbook.yaml_source import KeyPath

if TYPE_CHECKING:
    from runbook.inventory.cluster import Cluster, Connection, Host, Vip


@dataclass(frozen=True, order=True)
class Tier:
    """A row in the drawing of the cluster: its place from the top, and its title."""

    place: int
    title: str


ALL = "all"
"""All hosts of the cluster."""
EVERYBODY = "0.0.0.0/0"
"""Every address."""
SSH = "ssh"
"""In place of a port's number: the port of the host's sshd."""


@dataclass(frozen=True)
class Listed:
    """The networks that a setting of hosts.yaml lists: Listed("postgres", "clients")."""

    key: str
    name: str


Caller = Union[str, Listed, Callable[["Cluster", "Host"], Sequence["Host"]]]
"""Who may reach a port: the hosts of a role, ALL, EVERYBODY, networks that hosts.yaml lists, or
hosts that a function chooses; the first line of its docstring names them.
"""


@dataclass(frozen=True)
class Port:
    """A port or protocol that is open on hosts, such as 5432/tcp or vrrp, and what it is for.

    `callers`: who may reach it; nobody else may.
    """

    number: str
    purpose: str
    callers: tuple[Caller, ...]

    def __post_init__(self) -> None:
        """Reject a port that does not say who may reach it."""
        if not self.callers:
            raise ValueError(f"{self.number}: name who may reach it")


@dataclass(frozen=True)
class Opening:
    """A port, and the hosts that open it: those of a role, all, or those a function chooses."""

    on: Union[str, Callable[[Cluster], Sequence[Host]]]
    port: Port


class Role(str):
    """A role of hosts.yaml: what a host is used for.

    `label`: the word for one of its hosts. `service`: what it provides, which is unavailable while
    its only host is down. `loss`: the impact if none of its hosts is left. `majority`: its hosts
    decide by majority. `ports`: the ports that they open. `units`: the systemd units that listen on
    them, or programs that outlive their unit. `tier`: their row in the drawing.
    """

    label: str
    service: str
    loss: str
    majority: bool
    ports: tuple[Port, ...]
    units: tuple[str, ...]
    tier: Tier

    def __new__(
        cls,
        name: str,
        *,
        label: str = "",
        service: str = "",
        loss: str = "",
        majority: bool = False,
        ports: tuple[Port, ...] = (),
        units: tuple[str, ...] = (),
        tier: Tier = Tier(1, "workers and files"),
    ) -> Role:
        """A role; sections declare theirs with it."""
        role = super().__new__(cls, name)
        role.label, role.service, role.loss = label or name, service, loss
        role.majority, role.ports, role.units, role.tier = majority, ports, units, tier
        return role


@dataclass(frozen=True)
class Objection:
    """What is wrong with a setting, and its key; only a warning if `grave` is false."""

    sentence: str
    path: KeyPath
    grave: bool = True


class Settings(Entry, frozen=True):
    """A mapping of hosts.yaml that belongs to a section, or to several.

    `in_files`: keys whose mapping may be in a YAML file of its own, which the key then names.
    """

    in_files: ClassVar[tuple[str, ...]] = ()

    def objections(self, inventory: Understood) -> Iterator[Objection]:
        """Conflicts within these settings, with other settings, or with the hosts."""
        return iter(())


S = TypeVar("S", bound=Settings)


@dataclass(frozen=True)
class Understood:
    """The entries and settings of an inventory that are valid by themselves.

    `names`: the names of all hosts. `whole`: all entries are valid, so nothing is missing here.
    """

    names: Collection[str]
    hosts: Mapping[str, Host]
    vips: Mapping[str, Vip]
    connection: Optional[Connection]
    settings: tuple[Settings, ...]
    whole: bool

    def with_role(self, role: str) -> list[str]:
        """The names of the hosts that have a role."""
        return [host.name for host in self.hosts.values() if role in host.roles]

    def vips_of(self, role: str) -> list[Vip]:
        """The VIPs of a role."""
        return [vip for vip in self.vips.values() if vip.role == role]

    def get(self, kind: type[S]) -> Optional[S]:
        """The settings of this kind; None if they are not valid."""
        return next((one for one in self.settings if isinstance(one, kind)), None)


@dataclass(frozen=True)
class Schema:
    """All roles and settings that hosts.yaml may name, the latter by their key.

    `accounts`: those that sections make for their services, which are nobody's to log in with.
    `others`: the ports that hosts open besides those of their roles.
    """

    roles: tuple[Role, ...] = ()
    settings: Mapping[str, type[Settings]] = field(default_factory=dict)
    accounts: frozenset[str] = frozenset()
    others: tuple[Opening, ...] = ()

    @property
    def openings(self) -> tuple[Opening, ...]:
        """Every port, and the hosts that open it."""
        own = (Opening(role, port) for role in self.roles for port in role.ports)
        return (*own, *self.others)
