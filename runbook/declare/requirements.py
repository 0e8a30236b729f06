"""Requirements of a section on the servers before its first task; a preflight checks them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Callable, Optional

from runbook.declare.facts import Fact, Facts, On
from runbook.declare.probes import Findings, Probes
from runbook.inventory.cluster import Cluster, Host


class Kind(str, Enum):
    """The kind of a URL, which decides how a check requests it."""

    REPOSITORY = "repository"
    FILE = "file"
    INDEX = "index"

    __str__ = str.__str__


@dataclass(frozen=True)
class Source:
    """A setting with URLs of software, such as `sources.pgdg.common`.

    `urls`: its value or default. One of several URLs must answer; with `every`, all of them.
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
class Login:
    """An account for logins by key: `by` which hosts, and its groups if it does not exist yet.

    Without `by`, the controller logs in.
    """

    user: Callable[[Cluster, Host], str]
    on: On
    by: Optional[On] = None
    groups: tuple[str, ...] = ()


@dataclass
class Requirements:
    """Everything that a section declares for a preflight."""

    probes: Optional[Callable[[Host, Cluster], Probes]] = None
    cluster_check: Optional[Callable[[Cluster, Facts], Findings]] = None
    facts: tuple[Fact[Any], ...] = ()
    fetches: list[Fetch] = field(default_factory=list)
    logins: list[Login] = field(default_factory=list)
