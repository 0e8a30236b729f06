"""Figures of each database server: WAL that waits, connections, damaged pages, versions."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Optional

from runbook.declare.facts import Fact
from runbook.declare.templates import script
from runbook.inventory.cluster import Cluster, Host

from ..shared.roles import POSTGRES
from .archive import DROPPED
from .common import binaries, data, etcd_url, rest

VERIFIED = "/var/lib/airflow-runbook/postgres-verified"
"""The result of the last test restore on a server."""

PROGRAMS = ("PostgreSQL", "Patroni", "etcd")


@dataclass(frozen=True)
class Figures:
    """One server; None for what PostgreSQL would have to say if it does not answer.

    `waiting`, `oldest`: WAL files that wait for the archive, and for how many seconds the oldest
    one does. `dropped`: when WAL was last given up, in seconds since 1970. `age`: transactions
    since the oldest row that vacuum has not frozen yet; `freezes` is the age at which it has to.
    `watchdog`: armed, idle or none. `snapshot`: when etcd was last copied. `verified`: whether the
    last test restore there was a success, and when.
    """

    waiting: int
    oldest: int
    watchdog: str
    archiving: Optional[bool] = None
    connections: Optional[int] = None
    allowed: int = 0
    corrupt: Optional[int] = None
    age: Optional[int] = None
    freezes: int = 0
    dropped: Optional[int] = None
    snapshot: Optional[int] = None
    verified: Optional[tuple[bool, int]] = None
    runs: dict[str, str] = field(default_factory=dict)
    installed: dict[str, str] = field(default_factory=dict)

    @property
    def outdated(self) -> dict[str, tuple[str, str]]:
        """Programs that run in another version than the installed one: both versions."""
        return {
            name: (self.runs[name], self.installed[name])
            for name in PROGRAMS
            if name in self.runs
            and name in self.installed
            and self.runs[name] != self.installed[name]
        }


def parse(text: str) -> Figures:
    """Parse the answer of FIGURES: lines of a word and its values."""
    said: dict[str, list[str]] = {}
    versions: dict[str, dict[str, str]] = {"runs": {}, "installed": {}}
    for line in text.splitlines():
        word, *values = line.split()
        if word in versions:
            versions[word][values[0]] = _version(" ".join(values[1:]))
        else:
            said[word] = values
    numbers = {
        word: [int(value) for value in values]
        for word, values in said.items()
        if word in ("waiting", "connections", "corrupt", "age", "dropped")
    }
    archiving = said.get("archiving")
    return Figures(
        waiting=numbers["waiting"][0],
        oldest=numbers["waiting"][1],
        watchdog=said["watchdog"][0],
        archiving=archiving == ["works"] if archiving else None,
        connections=numbers["connections"][0] if "connections" in numbers else None,
        allowed=numbers.get("connections", [0, 0])[1],
        corrupt=numbers["corrupt"][0] if "corrupt" in numbers else None,
        age=numbers["age"][0] if "age" in numbers else None,
        freezes=numbers.get("age", [0, 0])[1],
        dropped=numbers["dropped"][0] if "dropped" in numbers else None,
        snapshot=int(said["snapshot"][0]) if "snapshot" in said else None,
        verified=_verified(said.get("verified")),
        runs=versions["runs"],
        installed=versions["installed"],
    )


def _verified(values: Optional[list[str]]) -> Optional[tuple[bool, int]]:
    """The last test restore: `ok 1700000000 35 120000`."""
    return (values[0] == "ok", int(values[1])) if values else None


def _version(text: str) -> str:
    """A version as a host prints it: `15.8 (Debian 15.8-0+deb12u1)`."""
    if not re.fullmatch(r"[0-9A-Za-z.()+~_ -]{1,80}", text):
        raise ValueError(text)
    return text


def versions(host: Host, cluster: Cluster) -> str:
    """Commands that print which versions run, and which are installed."""
    return f"""ask_patroni() {{ curl -s -m 3 {rest(host)}/patroni; }}
ask_etcd() {{ curl -s -m 3 {etcd_url(host.address)}/version; }}
{script("postgres/versions.sh", programs=binaries(cluster))}"""


def runs_installed(host: Host, cluster: Cluster, program: str) -> str:
    """A test: this program runs in the version that is installed."""
    return f"""(
{versions(host, cluster)}
) | awk -v program={program} '
  $2 == program {{ kind = $1; sub(/^[^ ]+ [^ ]+ /, ""); version[kind] = $0 }}
  END {{ exit version["runs"] != version["installed"] }}'"""


def numbers(cluster: Cluster) -> str:
    """Commands that print the figures, without versions."""
    return script("postgres/figures.sh", data=data(cluster), dropped=DROPPED, verified=VERIFIED)


FIGURES = Fact(
    "figures of the database server",
    on=POSTGRES,
    command=lambda cluster, host: f"{numbers(cluster)}\n{versions(host, cluster)}",
    parse=parse,
    absent="it does not answer",
)
