"""One look at the whole cluster: ask, ask the neighbours, judge."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from ... import airflow, base, haproxy, nfs, postgres, rabbitmq, systemd
from ...engine.cluster import Cluster
from ...engine.errors import AccessError
from ...engine.probes import Cause
from ...engine.section import Section
from ...engine.survey import Survey, survey, together, used
from ...vitals import VITALS, apart
from .lines import LINES
from .picture import (
    STATES,
    Part,
    Picture,
    Server,
    gone,
    level_of,
    part_of,
    problems,
    redundancy,
    silences,
)
from .sightings import Sighting, sightings

if TYPE_CHECKING:
    from ...engine.run import Run

SECTIONS: tuple[Section, ...] = (
    base.section,
    postgres.section,
    rabbitmq.section,
    nfs.section,
    haproxy.section,
    airflow.section,
    systemd.section,
)


def look(run: Run, thorough: bool = False) -> Picture:
    """How the cluster is now. `thorough`: also what takes long, as the checks ask it."""
    began, when = time.monotonic(), time.time()
    found = survey(run, SECTIONS, thorough)
    missing = [name for name, why in found.silent.items() if not isinstance(why, AccessError)]
    seen = sightings(run, missing)
    return drawn(run.cluster, found, seen, when, time.monotonic() - began)


def drawn(
    cluster: Cluster, found: Survey, seen: dict[str, Sighting], when: float, seconds: float
) -> Picture:
    """The picture of what was found; pure."""
    silent = silences(cluster, found, seen)
    facts = found.facts.without(gone(silent))
    found = replace(found, facts=facts, judged=[*found.judged, *together(cluster, SECTIONS, facts)])
    wrong = problems(found.judged, silent, cluster)
    parts = [
        Part(
            part_of(section.name),
            level_of(section.name, found.judged, wrong, set(silent)),
            LINES[section.name](cluster, facts, found.judged),
            redundancy(section.name, found.judged),
        )
        for section in used(SECTIONS, cluster)
    ]
    return Picture(cluster, found, when, seconds, parts, wrong, servers(cluster, found, silent))


def servers(cluster: Cluster, found: Survey, silent: dict[str, tuple[Cause, str]]) -> list[Server]:
    """Every host: its state, and how it is."""
    clocks = apart(found.facts)
    told = []
    for host in cluster.hosts.values():
        kind, why = silent.get(host.name, (None, ""))
        state = STATES[kind] if kind else "up"
        vitals = found.facts.known(VITALS).get(host.name)
        told.append(Server(host, state, why, vitals, clocks.get(host.name)))
    return told
