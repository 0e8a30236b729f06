"""The probes of several sections' checks, on all hosts at once, without testing steps."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Callable

from runbook.declare.facts import Fact, Facts, hosts_on
from runbook.declare.probes import (
    ERROR,
    OK,
    UNKNOWN,
    Answer,
    Finding,
    Probe,
    Verdict,
    probe,
)
from runbook.declare.section import Section
from runbook.errors import DistrustedAnswer, RunbookError, SettingsError, UnreachableError
from runbook.inventory.cluster import Cluster, Host
from runbook.results import CHECK
from runbook.script import Script, compile_script

if TYPE_CHECKING:
    from runbook.execute.run import Run

PATIENCE = 20
"""Seconds that a probe of a survey may take on a host that answers."""


@dataclass
class Survey:
    """The answers of all hosts; `silent`: why a host did not answer."""

    facts: Facts
    findings: list[Finding] = field(default_factory=list)
    silent: dict[str, RunbookError] = field(default_factory=dict)
    seconds: float = 0.0


Ask = Callable[[Host, Sequence[str]], list[Answer]]


@dataclass
class Told:
    """The facts of one host, and an error for each answer that cannot be one."""

    values: dict[Fact[Any], Any] = field(default_factory=dict)
    distrusted: dict[Fact[Any], DistrustedAnswer] = field(default_factory=dict)

    def add(self, host: Host, fact: Fact[Any], answer: Answer, *moment: float) -> None:
        """Add a fact as far as its answer is one."""
        try:
            value = fact.read(host.name, answer, *moment)
        except DistrustedAnswer as error:
            self.distrusted[fact] = error
            return
        if value is not None:
            self.values[fact] = value


def answered(cluster: Cluster, host: Host, facts: Sequence[Fact[Any]], ask: Ask) -> Told:
    """The facts of a host; timed ones are gathered separately, before the others."""
    told = timed(cluster, host, facts, ask)
    rest = [fact for fact in facts if not fact.timed]
    if rest:
        add_all(told, host, rest, ask(host, [fact.question(cluster, host) for fact in rest]))
    return told


def timed(cluster: Cluster, host: Host, facts: Sequence[Fact[Any]], ask: Ask) -> Told:
    """The timed facts, each gathered separately."""
    told = Told()
    for fact in facts:
        if fact.timed:
            before = time.time()
            for answer in ask(host, [fact.question(cluster, host)])[:1]:
                told.add(host, fact, answer, before, time.time())
    return told


def add_all(told: Told, host: Host, facts: Sequence[Fact[Any]], answers: Sequence[Answer]) -> None:
    """Add facts with their answers, in the same order."""
    for fact, answer in zip(facts, answers):
        told.add(host, fact, answer)


def plain(commands: Sequence[str]) -> list[Probe]:
    """Commands as probes whose answers are judged elsewhere."""
    return [probe("", command, lambda answer: Verdict(OK)) for command in commands]


def questions(run: Run, host: Host, asked: Sequence[Probe]) -> list[Answer]:
    """Run probes on a host, all at the same time; UnreachableError if it stops answering."""
    run.connections.open(host)
    return put(run, host, compile_script([], asked, CHECK, at_once=PATIENCE))


def put(run: Run, host: Host, script: Script) -> list[Answer]:
    """Run a script over a host's open connection; returns the answer to each part."""
    reader = run.connections.run(host, script, lambda reader: None, prompt=True)
    if not reader.complete:
        raise UnreachableError(f"the answer of {host.name} is incomplete; rerun.")
    return [Answer("\n".join(part.output), part.code) for part in reader.results]


def survey(run: Run, sections: Sequence[Section], thorough: bool = False) -> Survey:
    """Run the probes of these sections' checks on all hosts, each host in one go.

    Without `thorough`, those that take long are left out. Checks of several hosts together are in
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
        for fact, value in told.values.items():
            values[fact][host.name] = value
        section = {fact: one.name for one in sections for fact in one.cluster_check_needs}
        for fact, doubt in told.distrusted.items():
            findings.append(doubtful(host, section[fact], doubt))
        return findings

    for findings in run.parallel(list(cluster.hosts.values()), ask):
        found.findings += findings
    found.seconds = time.monotonic() - began
    return found


def _put(
    run: Run, host: Host, facts: Sequence[Fact[Any]], probes: Sequence[tuple[str, Probe]]
) -> tuple[Told, list[Finding]]:
    """Put all questions to one host; returns its facts and its findings."""

    def ask(host: Host, commands: Sequence[str]) -> list[Answer]:
        return questions(run, host, plain(commands))

    told = timed(run.cluster, host, facts, ask)
    rest = [fact for fact in facts if not fact.timed]
    commands = plain([fact.question(run.cluster, host) for fact in rest])
    answers = questions(run, host, [*commands, *(question for _, question in probes)])
    add_all(told, host, rest, answers)
    findings = [
        question.finding(answer, section, host.name)
        for (section, question), answer in zip(probes, answers[len(rest) :])
    ]
    return told, findings


def doubtful(host: Host, section: str, error: DistrustedAnswer) -> Finding:
    """The finding on an answer that cannot be one."""
    verdict = Verdict(ERROR, str(error))
    title = "its answers are as expected"
    return Finding(title, verdict, about=(host.name,), section=section, host=host.name)


def probes_for(
    host: Host, cluster: Cluster, sections: Sequence[Section], thorough: bool
) -> list[tuple[str, Probe]]:
    """The probes for this host, with their sections' names."""
    return [
        (section.name, question)
        for section in sections
        if section.probes and host in hosts_on(section.whole or section.on, cluster)
        for question in section.probes(host, cluster)
        if thorough or not question.thorough
    ]


def used(sections: Sequence[Section], cluster: Cluster) -> list[Section]:
    """The sections that have hosts in this inventory."""
    return [section for section in sections if hosts_on(section.on, cluster)]


def cluster_checks(
    cluster: Cluster, sections: Sequence[Section], facts: Facts
) -> Iterator[Finding]:
    """The findings that concern several hosts together."""
    for section in used(sections, cluster):
        if not section.check_cluster:
            continue
        try:
            for one in section.check_cluster(cluster, facts):
                yield replace(one, section=section.name)
        except RunbookError as error:
            yield Finding(section.name, Verdict(UNKNOWN, str(error)), section=section.name)
