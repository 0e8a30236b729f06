"""What the checks of several sections ask, put to all hosts at once: no steps, no waiting."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Callable

from runbook.declare.facts import Fact, Facts, hosts_on
from runbook.declare.probes import OK, UNKNOWN, Answer, Finding, Probe, Verdict, probe
from runbook.declare.section import Section
from runbook.errors import RunbookError, SettingsError, UnreachableError
from runbook.inventory.cluster import Cluster, Host
from runbook.results import CHECK
from runbook.script import Script, compile_script

if TYPE_CHECKING:
    from runbook.execute.run import Run

PATIENCE = 20
"""Seconds that a question of a survey gets, from a host that answers at all."""


@dataclass
class Survey:
    """What all hosts said; `silent`: why a host could not be asked."""

    facts: Facts
    findings: list[Finding] = field(default_factory=list)
    silent: dict[str, RunbookError] = field(default_factory=dict)
    seconds: float = 0.0


Ask = Callable[[Host, Sequence[str]], list[Answer]]


def answered(
    cluster: Cluster, host: Host, facts: Sequence[Fact[Any]], ask: Ask
) -> dict[Fact[Any], Any]:
    """The facts that a host has; what is timed is asked by itself, before the others."""
    found = timed(cluster, host, facts, ask)
    rest = [fact for fact in facts if not fact.timed]
    if rest:
        found.update(known(rest, ask(host, [fact.command(cluster, host) for fact in rest])))
    return found


def timed(
    cluster: Cluster, host: Host, facts: Sequence[Fact[Any]], ask: Ask
) -> dict[Fact[Any], Any]:
    """The facts whose moment counts, each asked by itself."""
    found: dict[Fact[Any], Any] = {}
    for fact in facts:
        if fact.timed:
            before = time.time()
            answers = ask(host, [fact.command(cluster, host)])
            found.update(known([fact], answers, before, time.time()))
    return found


def known(
    facts: Sequence[Fact[Any]], answers: Sequence[Answer], *moment: float
) -> dict[Fact[Any], Any]:
    """The facts that can be read from the answers; what is not understood is not known."""
    found: dict[Fact[Any], Any] = {}
    for fact, answer in zip(facts, answers):
        if answer.code == 0 and answer.text.strip():
            with suppress(ValueError, KeyError, IndexError):
                found[fact] = fact.parse(answer.text, *moment)
    return found


def plain(commands: Sequence[str]) -> list[Probe]:
    """Commands as questions whose answers somebody else judges."""
    return [probe("", command, lambda answer: Verdict(OK)) for command in commands]


def questions(run: Run, host: Host, asked: Sequence[Probe]) -> list[Answer]:
    """Put questions to a host, all at the same time; UnreachableError if it falls silent."""
    run.connections.open(host)
    return put(run, host, compile_script([], asked, CHECK, at_once=PATIENCE))


def put(run: Run, host: Host, script: Script) -> list[Answer]:
    """What a host answers to each part of a script, over its open connection."""
    reader = run.connections.run(host, script, lambda reader: None, prompt=True)
    if not reader.finished:
        raise UnreachableError(f"the answer of {host.name} is incomplete; rerun.")
    return [Answer("\n".join(part.output), part.code) for part in reader.results]


def survey(run: Run, sections: Sequence[Section], thorough: bool = False) -> Survey:
    """Ask all hosts what the checks of these sections ask, each host in one go.

    Without `thorough`, what takes long is left out. What takes several hosts is for
    `cluster_checks`.
    """
    began = time.monotonic()
    cluster = run.cluster
    sections = used(sections, cluster)
    needs = [
        fact
        for fact in dict.fromkeys(
            fact for section in sections for fact in section.cluster_check_needs
        )
        if thorough or not fact.thorough
    ]
    values: dict[Fact[Any], dict[str, Any]] = {fact: {} for fact in needs}
    found = Survey(Facts(values))

    def ask(host: Host) -> list[Finding]:
        own = [fact for fact in needs if host in hosts_on(fact.on, cluster)]
        probes = probes_for(host, cluster, sections, thorough)
        if not own and not probes:
            return []
        try:
            told, findings = _put(run, host, own, probes)
        except SettingsError:
            raise
        except RunbookError as error:
            run.connections.drop(host)
            found.silent[host.name] = error
            return []
        for fact, value in told.items():
            values[fact][host.name] = value
        return findings

    for findings in run.parallel(list(cluster.hosts.values()), ask):
        found.findings += findings
    found.seconds = time.monotonic() - began
    return found


def _put(
    run: Run, host: Host, facts: Sequence[Fact[Any]], probes: Sequence[tuple[str, Probe]]
) -> tuple[dict[Fact[Any], Any], list[Finding]]:
    """All questions to one host: what it knows, and what its answers are worth."""

    def ask(host: Host, commands: Sequence[str]) -> list[Answer]:
        return questions(run, host, plain(commands))

    told = timed(run.cluster, host, facts, ask)
    rest = [fact for fact in facts if not fact.timed]
    commands = plain([fact.command(run.cluster, host) for fact in rest])
    answers = questions(run, host, [*commands, *(question for _, question in probes)])
    told.update(known(rest, answers))
    findings = [
        question.finding(answer, section, host.name)
        for (section, question), answer in zip(probes, answers[len(rest) :])
    ]
    return told, findings


def probes_for(
    host: Host, cluster: Cluster, sections: Sequence[Section], thorough: bool
) -> list[tuple[str, Probe]]:
    """The questions of the checks that are for this host, with their sections' names."""
    return [
        (section.name, question)
        for section in sections
        if section.probes and host in hosts_on(section.whole or section.on, cluster)
        for question in section.probes(host, cluster)
        if thorough or not question.thorough
    ]


def used(sections: Sequence[Section], cluster: Cluster) -> list[Section]:
    """The sections that some host is for."""
    return [section for section in sections if hosts_on(section.on, cluster)]


def cluster_checks(
    cluster: Cluster, sections: Sequence[Section], facts: Facts
) -> Iterator[Finding]:
    """What takes the answers of several hosts."""
    for section in used(sections, cluster):
        if not section.check_cluster:
            continue
        try:
            for one in section.check_cluster(cluster, facts):
                yield replace(one, section=section.name)
        except RunbookError as error:
            yield Finding(section.name, Verdict(UNKNOWN, str(error)), section=section.name)
