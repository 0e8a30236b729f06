"""What a section contributes to operating the cluster as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Callable

from runbook.declare.facts import Fact, Facts, On
from runbook.declare.work import Procedure
from runbook.inventory.cluster import Cluster, Host

CHECKS = "checks"
"""The name of the part of a deployment that runs the checks of all sections."""


@dataclass(frozen=True)
class Part:
    """What cluster.deploy carries out: a section, or one task of it.

    `after`: parts that come before it. `on_request`: only with --update. `planned`:
    whether it is part of a plan of the whole. `preflight`: it changes nothing, and its findings can
    be ignored.
    """

    name: str
    after: tuple[str, ...] = ()
    on_request: bool = False
    planned: bool = True
    preflight: bool = False


@dataclass(frozen=True)
class Phase:
    """A section's share in starting or stopping the cluster, or in freeing some hosts.

    `stages` gets (hosts, cluster, facts). `after`: sections whose phase comes before this one.
    `reboot_only`: not needed where services only restart.
    """

    name: str
    stages: Callable[..., Procedure]
    needs: tuple[Fact[Any], ...] = ()
    after: tuple[str, ...] = ()
    reboot_only: bool = False


@dataclass(frozen=True)
class Evidence:
    """What `inv cluster.support` collects from some hosts; the commands change nothing.

    `units`, `files` and `logs` may be patterns.
    """

    on: On
    units: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    logs: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()


@dataclass(frozen=True)
class Arrow:
    """An arrow in the drawing of the cluster, from one host or VIP to another.

    `kind` is holds, may-hold, writes, copies or tasks.
    """

    kind: str
    start: str
    end: str
    about: str


@dataclass(frozen=True)
class Marks:
    """What a section adds to the drawing: words on hosts, and arrows."""

    badges: Mapping[str, list[str]] = field(default_factory=dict)
    arrows: tuple[Arrow, ...] = ()


@dataclass(frozen=True)
class Leaders:
    """Which hosts lead something of a section now, such as the database or a VIP."""

    names: Callable[[Cluster, Facts], Iterable[str]]
    needs: tuple[Fact[Any], ...]


Conflict = Callable[[Host, Host, Cluster], bool]
"""Whether two hosts must not be down at the same time."""
