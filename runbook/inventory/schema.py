"""What sections bring to hosts.yaml: roles, and mappings with settings of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Optional, TypeVar

from runbook.inventory.entry import Entry


@dataclass(frozen=True, order=True)
class Tier:
    """A row in the drawing of the cluster: its place from the top, and its title."""

    place: int
    title: str


@dataclass(frozen=True)
class Port:
    """A port or protocol that is open on hosts, such as 5432/tcp or vrrp, and what it is for.

    `callers`: the role whose hosts alone may reach it; everybody, if empty.
    """

    number: str
    purpose: str
    callers: str = ""


class Role(str):
    """What a host is for, as hosts.yaml spells it.

    `label`: what one of its hosts is called. `service`: what it provides, which is away while its
    only host is. `loss`: what it means if none of its hosts is left. `majority`: its hosts decide
    by majority. `ports`: what they open. `units`: what of systemd listens on them, or programs
    that outlive it. `tier`: where they are drawn.
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
    """What is wrong with a setting, and under which key; a warning only, if `grave` is false."""

    sentence: str
    path: tuple[str, ...]
    grave: bool = True


class Settings(Entry, frozen=True):
    """A mapping of hosts.yaml that belongs to a section, or to several."""

    def objections(self, inventory: Understood) -> Iterator[Objection]:
        """What does not go together in these settings, with others, or with the hosts."""
        return iter(())


S = TypeVar("S", bound=Settings)


@dataclass(frozen=True)
class Understood:
    """What could be understood of an inventory: its hosts as they are written, and settings."""

    hosts: Mapping[str, Any]
    settings: tuple[Settings, ...]

    def get(self, kind: type[S]) -> Optional[S]:
        """The settings of this kind; None if they are not valid."""
        return next((one for one in self.settings if isinstance(one, kind)), None)


@dataclass(frozen=True)
class Schema:
    """All roles and settings that hosts.yaml may name, the latter by their key."""

    roles: tuple[Role, ...] = ()
    settings: Mapping[str, type[Settings]] = field(default_factory=dict)
