"""One look at the whole cluster: ask all hosts, ask others about silent ones, judge."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from runbook.declare.contents import Contents
from runbook.declare.facts import Facts
from runbook.declare.probes import Cause, Finding
from runbook.declare.section import Section
from runbook.errors import AccessError
from runbook.execute.survey import Survey, cluster_checks, survey, used
from runbook.inventory.cluster import Cluster

from ...shared.vitals import VITALS, apart
from .picture import (
    STATES,
    Part,
    Picture,
    Problem,
    Server,
    gone,
    level_of,
    problems,
    redundancy,
    silences,
)
from .reachability import Reachability, reachabilities

if TYPE_CHECKING:
    from runbook.execute.run import Run


def look(run: Run, thorough: bool = False) -> Picture:
    """The current state of the cluster. `thorough`: also probes that take long, as in checks."""
    began, when = time.monotonic(), time.time()
    found = survey(run, with_status(run.contents), thorough)
    missing = [name for name, why in found.silent.items() if not isinstance(why, AccessError)]
    seen = reachabilities(run, missing)
    return drawn(run.contents, run.cluster, found, seen, when, time.monotonic() - began)


def with_status(contents: Contents) -> list[Section]:
    """The sections that a status has a line for."""
    return [section for section in contents.sections if section.line]


def drawn(
    contents: Contents,
    cluster: Cluster,
    found: Survey,
    seen: dict[str, Reachability],
    when: float,
    seconds: float,
) -> Picture:
    """The picture of what was found; a pure function."""
    silent = silences(cluster, found, seen)
    facts = found.facts.without(gone(silent))
    sections = with_status(contents)
    findings = [*found.findings, *cluster_checks(cluster, sections, facts)]
    found = replace(found, facts=facts, findings=findings)
    wrong = problems(findings, silent, cluster, {one.name: one.label for one in sections})
    parts = [
        part(section, cluster, facts, findings, wrong, set(silent))
        for section in used(sections, cluster)
    ]
    marks = [section.marks(cluster, facts) for section in sections if section.marks]
    hosts = servers(cluster, found, silent)
    return Picture(cluster, found, when, seconds, parts, wrong, hosts, marks)


def part(
    section: Section,
    cluster: Cluster,
    facts: Facts,
    findings: Sequence[Finding],
    wrong: Sequence[Problem],
    silent: set[str],
) -> Part:
    """A section's line: its level, its current state, its redundancy."""
    own = [one for one in findings if one.section == section.name]
    line = section.line(cluster, facts, own) if section.line else ""
    return Part(section.label, level_of(section.label, own, wrong, silent), line, redundancy(own))


def servers(cluster: Cluster, found: Survey, silent: dict[str, tuple[Cause, str]]) -> list[Server]:
    """Every host: whether it is up, and its load, memory and disks."""
    clocks = apart(found.facts)
    told = []
    for host in cluster.hosts.values():
        kind, why = silent.get(host.name, (None, ""))
        state = STATES[kind] if kind else "up"
        vitals = found.facts.known(VITALS).get(host.name)
        told.append(Server(host, state, why, vitals, clocks.get(host.name)))
    return told
