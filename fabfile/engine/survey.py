"""What the checks of several sections ask, put to all hosts at once: no steps, no waiting."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable, Optional

from .cluster import Cluster, Host
from .errors import RunbookError, SettingsError, UnreachableError
from .probes import OK, UNKNOWN, Answer, Cause, Probe, Verdict, probe
from .results import TOGETHER
from .script import CHECK, compile_script
from .section import Fact, Facts, Section, hosts_on

if TYPE_CHECKING:
    from .run import Run

PATIENCE = 20
"""Seconds that a question of a survey gets, from a host that answers at all."""


@dataclass(frozen=True)
class Judged:
    """One question, and how its answer was judged. `host` is `cluster` where it took several."""

    section: str
    host: str
    title: str
    verdict: Verdict
    fix: str = ""
    cause: Optional[Cause] = None
    about: tuple[str, ...] = ()


@dataclass
class Survey:
    """What all hosts said; `silent`: why a host could not be asked."""

    facts: Facts
    judged: list[Judged] = field(default_factory=list)
    silent: dict[str, RunbookError] = field(default_factory=dict)
    seconds: float = 0.0


Ask = Callable[[Host, Sequence[str]], list[Answer]]


def answered(cluster: Cluster, host: Host, facts: Sequence[Fact], ask: Ask) -> dict[Fact, Any]:
    """The facts that a host has; what is timed is asked by itself, before the others."""
    found = timed(cluster, host, facts, ask)
    rest = [fact for fact in facts if not fact.timed]
    if rest:
        found.update(known(rest, ask(host, [fact.command(cluster, host) for fact in rest])))
    return found


def timed(cluster: Cluster, host: Host, facts: Sequence[Fact], ask: Ask) -> dict[Fact, Any]:
    """The facts whose moment counts, each asked by itself."""
    found: dict[Fact, Any] = {}
    for fact in facts:
        if fact.timed:
            before = time.time()
            answers = ask(host, [fact.command(cluster, host)])
            found.update(known([fact], answers, before, time.time()))
    return found


def known(facts: Sequence[Fact], answers: Sequence[Answer], *moment: float) -> dict[Fact, Any]:
    """The facts that can be read from the answers; what is not understood is not known."""
    found: dict[Fact, Any] = {}
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
    script = compile_script([], asked, CHECK, at_once=PATIENCE)
    reader = run.connections.run(host, script, lambda reader: None, prompt=True)
    if not reader.finished:
        raise UnreachableError(f"{host.name} ended its answer early.")
    return [Answer("\n".join(part.output), part.code) for part in reader.results]


def survey(run: Run, sections: Sequence[Section], thorough: bool = False) -> Survey:
    """Ask all hosts what the checks of these sections ask, each host in one go.

    Without `thorough`, what takes long is left out. `together` judges what takes several hosts.
    """
    began = time.monotonic()
    cluster = run.cluster
    sections = used(sections, cluster)
    needs = [
        fact
        for fact in dict.fromkeys(fact for section in sections for fact in section.verdict_needs)
        if thorough or not fact.thorough
    ]
    values: dict[Fact, dict[str, Any]] = {fact: {} for fact in needs}
    found = Survey(Facts(values))

    def ask(host: Host) -> list[Judged]:
        own = [fact for fact in needs if host in hosts_on(fact.on, cluster)]
        probes = probes_for(host, cluster, sections, thorough)
        if not own and not probes:
            return []
        try:
            told, judged = _put(run, host, own, probes)
        except SettingsError:
            raise
        except RunbookError as error:
            run.connections.drop(host)
            found.silent[host.name] = error
            return []
        for fact, value in told.items():
            values[fact][host.name] = value
        return judged

    for judged in run.parallel(list(cluster.hosts.values()), ask):
        found.judged += judged
    found.seconds = time.monotonic() - began
    return found


def _put(
    run: Run, host: Host, facts: Sequence[Fact], probes: Sequence[tuple[str, Probe]]
) -> tuple[dict[Fact, Any], list[Judged]]:
    """All questions to one host: what it knows, and what its answers are worth."""

    def ask(host: Host, commands: Sequence[str]) -> list[Answer]:
        return questions(run, host, plain(commands))

    told = timed(run.cluster, host, facts, ask)
    rest = [fact for fact in facts if not fact.timed]
    commands = plain([fact.command(run.cluster, host) for fact in rest])
    answers = questions(run, host, [*commands, *(question for _, question in probes)])
    told.update(known(rest, answers))
    judged = [
        Judged(
            section,
            host.name,
            question.title,
            question.verdict(answer),
            question.fix,
            question.cause,
            (host.name,),
        )
        for (section, question), answer in zip(probes, answers[len(rest) :])
    ]
    return told, judged


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


def together(cluster: Cluster, sections: Sequence[Section], facts: Facts) -> Iterator[Judged]:
    """What takes the answers of several hosts."""
    for section in used(sections, cluster):
        if not section.verdict_function:
            continue
        try:
            for one in section.verdict_function(cluster, facts):
                yield Judged(
                    section.name, TOGETHER, one.title, one.verdict, one.fix, one.cause, one.about
                )
        except RunbookError as error:
            yield Judged(section.name, TOGETHER, section.name, Verdict(UNKNOWN, str(error)))
