"""The installations of Airflow on a server: which there are, which is in use, and which should be.

Each is a directory of its own, named by Airflow's version and a digest of its lock and its Python,
such as /opt/airflow/2.9.0-3f2a9c01. It is never changed while services may run from it. Units and
settings name the directory itself; two links of root's say which is in use, and which was before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Optional

from runbook.declare.answers import Time, one
from runbook.declare.facts import Fact, Facts
from runbook.declare.step import Step, Steps
from runbook.declare.steps import command
from runbook.declare.templates import script
from runbook.errors import RunbookError
from runbook.inventory.cluster import Cluster, Host
from runbook.inventory.entry import named

from .. import python_build
from ..shared.airflow import hosts
from ..shared.versions import Versions
from . import pins

OPT = "/opt/airflow"
CURRENT = f"{OPT}/current"
PREVIOUS = f"{OPT}/previous"
ENVIRONMENT = "/etc/airflow/airflow.env"

Name = Annotated[
    str, named("installation: `2.9.0-3f2a9c01`", r"[0-9]+(?:\.[0-9]+){2,3}(?:-[0-9a-f]{8})?")
]


def made_from(cluster: Cluster) -> str:
    """The content of its mark: the lock and the Python that it is made from."""
    text = pins.text(cluster) + python_build.made_from(cluster) + python_build.home(cluster)
    return f"{cluster[Versions].airflow} {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def wanted(cluster: Cluster) -> str:
    """The name of the installation that hosts.yaml describes; RunbookError without its lock."""
    version, _, digest = made_from(cluster).partition(" ")
    return f"{version}-{digest[:8]}"


def folder(name: str) -> str:
    """Where an installation is, on every server."""
    return f"{OPT}/{name}"


def version_of(name: str) -> str:
    """The version of Airflow in an installation."""
    return name.partition("-")[0]


@dataclass(frozen=True)
class Installations:
    """What is installed on a server: names, and for each that is there when it was made.

    `in_use` is the one that settings and units name, `before` the one before the last switch, and
    `runs` are those that services run from: the same, unless they wait for a restart.
    """

    in_use: str = ""
    before: str = ""
    there: Mapping[str, int] = field(default_factory=dict)
    runs: tuple[str, ...] = ()

    @property
    def newest_first(self) -> list[str]:
        """All that are there."""
        return sorted(self.there, key=lambda name: (-self.there[name], name))


def parse(text: str) -> Installations:
    """Parse the answer of INSTALLATIONS."""
    single, there, runs = {"in-use": "", "before": ""}, {}, []
    for line in text.splitlines():
        kind, *words = line.split()
        if kind == "there":
            name, made = words
            there[one(name, Name)] = one(made, Time)
        elif kind == "runs":
            runs.append(one(words[0], Name))
        elif kind in single:
            single[kind] = one(words[0], Name) if words else ""
        else:
            raise ValueError(line)
    return Installations(single["in-use"], single["before"], there, tuple(runs))


INSTALLATIONS = Fact(
    "the installations of Airflow",
    on=hosts,
    command=lambda cluster, host: script("airflow/installations.sh", opt=OPT, env=ENVIRONMENT),
    parse=parse,
    absent="it does not answer",
)


def known(host: Host, facts: Facts) -> Installations:
    """What is known of a server's installations."""
    return facts.known(INSTALLATIONS).get(host.name, Installations())


def of(host: Host, cluster: Cluster, facts: Facts) -> str:
    """The installation that a server goes on to use: only airflow.switch changes it.

    Where none of this version is in use yet, it is the one that hosts.yaml describes. MissingFact
    if the server was asked and did not say what it uses.
    """
    here = asked(host, facts)
    if here.in_use in here.there and version_of(here.in_use) == cluster[Versions].airflow:
        return here.in_use
    return wanted(cluster)


def used(host: Host, cluster: Cluster, facts: Facts) -> str:
    """The installation that a server uses, of whichever version.

    Where none is in use yet, it is the one that hosts.yaml describes. MissingFact as for `of`.
    """
    return asked(host, facts).in_use or wanted(cluster)


def asked(host: Host, facts: Facts) -> Installations:
    """What a server has said of its installations; nothing, where no server was asked."""
    return facts.of(INSTALLATIONS, host) if facts.asked(INSTALLATIONS) else Installations()


def wanted_if_known(cluster: Cluster) -> Optional[str]:
    """The name of the installation of hosts.yaml; None if its lock is missing or bad."""
    try:
        return wanted(cluster)
    except RunbookError:
        return None


def linked(name: str, former: str = "") -> Steps:
    """The links to the installation in use and to the one before it, for people and scripts."""
    if former and former != name:
        yield _link(PREVIOUS, former)
    yield _link(CURRENT, name)


def _link(path: str, name: str) -> Step:
    place, _, own = path.rpartition("/")
    return command(
        f"{path} leads to {name}",
        f"ln -sfn {name} {place}/.{own} && mv -fT {place}/.{own} {path}",
        unless=f"[[ $(readlink {path}) == {name} ]]",
    )


def python(name: str) -> str:
    """The interpreter of an installation."""
    return f"{folder(name)}/bin/python"


def name_in_use() -> str:
    """Words of shell: the installation that this server's settings name; empty without settings."""
    return f"$(sed -n 's|^PATH={OPT}/\\([^/]*\\)/bin:.*|\\1|p' {ENVIRONMENT} 2>/dev/null || :)"
