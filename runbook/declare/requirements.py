"""What a section needs of the servers before its first task: a preflight asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Callable, Optional

from runbook.declare.facts import Fact, Facts, On
from runbook.declare.probes import Findings, Probes
from runbook.inventory.cluster import Cluster, Host


class Kind(str, Enum):
    """How a URL is asked whether it answers."""

    REPOSITORY = "repository"
    FILE = "file"
    INDEX = "index"

    __str__ = str.__str__


@dataclass(frozen=True)
class Source:
    """A setting that names where software comes from, such as `sources.pgdg.common`.

    `urls`: what it says, or its default. One of several has to answer; with `every`, all of them.
    """

    setting: str
    kind: Kind
    urls: Callable[[Cluster], Sequence[str]]
    every: bool = False


@dataclass(frozen=True)
class Fetch:
    """Hosts that download from a source."""

    source: Source
    on: On


@dataclass(frozen=True)
class Call:
    """Hosts that connect to TCP ports of others; `ssh` stands for the port of their sshd."""

    by: On
    to: On
    ports: tuple[str, ...]


SSH = "ssh"


@dataclass(frozen=True)
class Login:
    """An account that is logged in to by key: from where, and its groups if it does not exist yet.

    Without `by` it is the controller that logs in.
    """

    user: Callable[[Cluster, Host], str]
    on: On
    by: Optional[On] = None
    groups: tuple[str, ...] = ()


@dataclass
class Requirements:
    """All that a section has declared to be looked at in a preflight."""

    probes: Optional[Callable[[Host, Cluster], Probes]] = None
    cluster_check: Optional[Callable[[Cluster, Facts], Findings]] = None
    facts: tuple[Fact[Any], ...] = ()
    fetches: list[Fetch] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    logins: list[Login] = field(default_factory=list)
