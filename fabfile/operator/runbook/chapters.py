"""The runbook as a text: chapters, what to type on which servers, and how to verify the result."""

from __future__ import annotations

import inspect
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Callable, Optional, TypeVar

from runbook.declare.by_hand import Look, Typed, alone, asked
from runbook.declare.facts import NOTHING_KNOWN, Fact, Facts, hosts_on
from runbook.declare.placeholders import Placeholders
from runbook.declare.section import Section
from runbook.declare.work import ControllerTask, ProcedureTask, StepTask, TableTask
from runbook.errors import FAILED, RunbookError, UsageError
from runbook.inventory.cluster import Cluster, Host
from runbook.inventory.entry import perhaps

Gather = Callable[[Iterable[Fact[Any]], Sequence[Host]], Facts]
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Lookup:
    """What has to be known about servers first, and the command that shows it there.

    Without a command, the chapter has named it before.
    """

    name: str
    hosts: tuple[str, ...]
    command: str = ""


@dataclass(frozen=True)
class Passage:
    """What is typed on servers that are alike; or why that is not known yet."""

    hosts: tuple[str, ...]
    steps: tuple[Typed, ...]
    unknown: str = ""


@dataclass(frozen=True)
class Part:
    """A task: its purpose, the order of its servers, what has to be known, what to type."""

    name: str
    doc: str
    notes: tuple[str, ...] = ()
    lookups: tuple[Lookup, ...] = ()
    passages: tuple[Passage, ...] = ()


@dataclass(frozen=True)
class Checks:
    """Checks of servers that are alike."""

    hosts: tuple[str, ...]
    looks: tuple[Look, ...]


@dataclass(frozen=True)
class ByName:
    """A task that is not part of the chapter's order."""

    name: str
    doc: str


@dataclass(frozen=True)
class Needed:
    """A password to fill in: its placeholder, its key in secrets.yaml, what it is for."""

    placeholder: str
    key: str
    about: str


@dataclass(frozen=True)
class Chapter:
    """A section of the runbook; `refused` if the inventory lacks what it needs."""

    name: str
    place: str
    about: str
    secrets: tuple[Needed, ...]
    parts: tuple[Part, ...]
    checks: tuple[Checks, ...]
    cluster_check: str
    lookups: tuple[Lookup, ...]
    by_name: tuple[ByName, ...]
    refused: str = ""


DEPENDS = (
    "The commands depend on these answers. Any commands below are for servers where this is "
    "not set up yet."
)


class Author:
    """Writes the chapters of one cluster, for some of its hosts.

    `gather` gets the facts that tasks need from the hosts; without it they are unknown.
    """

    def __init__(
        self, cluster: Cluster, hosts: Sequence[Host], gather: Optional[Gather] = None
    ) -> None:
        self._placeholders = Placeholders(cluster.vault if gather else None)
        self._cluster = cluster.with_vault(self._placeholders)
        self._hosts = hosts
        self._gather = gather
        self._looked_up: set[Fact[Any]] = set()

    def chapter(self, section: Section, task: str = "") -> Chapter:
        """A section, or one task of it."""
        self._looked_up.clear()
        work = [one for one in section.work if one.name == task] if task else section.in_order()
        parts = [part for one in work for part in self._part(one)]
        checks = () if task else tuple(self._checks(section))
        verdict = section.check_cluster if not task and self._concerned(section) else None
        needs = section.cluster_check_needs if verdict else ()
        lookups = tuple(self._lookups(needs))
        texts = [str(part) for part in (*parts, *checks, *lookups)]
        return Chapter(
            name=task or section.name,
            place=section.runbook,
            about=section.about,
            secrets=tuple(
                Needed(f"@{secret.name}@", secret.name, secret.about)
                for secret in self._placeholders.named_in("\n".join(texts))
            ),
            parts=tuple(parts),
            checks=checks,
            cluster_check=(inspect.getdoc(verdict) or "") if verdict else "",
            lookups=lookups,
            by_name=() if task else tuple(self._by_name(section)),
        )

    def _concerned(self, section: Section) -> bool:
        on = hosts_on(section.whole or section.on, self._cluster)
        return any(host in self._hosts for host in on)

    def _part(self, work: object) -> Iterator[Part]:
        if isinstance(work, StepTask):
            yield from self._by_hand(work)
        elif isinstance(work, ControllerTask):
            note = f"Runs on the controller: fab {work.name}"
            yield Part(work.name, work.doc, (note,))
        elif isinstance(work, (ProcedureTask, TableTask)):
            note = f"Depends on the current state of the servers: fab {work.name}"
            yield Part(work.name, work.doc, (note,))

    def _by_hand(self, work: StepTask) -> Iterator[Part]:
        on = hosts_on(work.on, self._cluster)
        takers = [host for host in work.taken_by(on, self._cluster) if host in self._hosts]
        if not takers:
            yield from self._elsewhere(work, on)
            return
        facts = self._gather(work.needs, takers) if self._gather else NOTHING_KNOWN
        written = {host.name: self._passage(work, host, on, facts) for host in takers}
        passages = [Passage(hosts, *same) for same, hosts in _alike(written)]
        notes = list(self._notes(work, takers, on))
        if work.needs and not self._gather:
            notes.append(DEPENDS)
        lookups = () if self._gather else tuple(self._lookups(work.needs))
        yield Part(work.name, work.doc, tuple(notes), lookups, tuple(passages))

    def _elsewhere(self, work: StepTask, on: Sequence[Host]) -> Iterator[Part]:
        """What other servers do on behalf of these hosts."""
        if work.by and any(host in self._hosts for host in on):
            deputies = ",".join(host.name for host in work.taken_by(on, self._cluster))
            note = f"Typed on {deputies}: inv runbook.show {work.name} --host {deputies}"
            yield Part(work.name, work.doc, (note,))

    def _passage(
        self, work: StepTask, host: Host, on: Sequence[Host], facts: Facts
    ) -> tuple[tuple[Typed, ...], str]:
        try:
            steps = work.typed(host, self._cluster, on, facts)
        except RunbookError as error:  # MissingFact, or what the present answers forbid
            return (), str(error)
        return tuple(self._marked(step) for step in steps), ""

    def _marked(self, step: Typed) -> Typed:
        shown = self._placeholders.shown
        return Typed(
            shown(step.title),
            shown(step.commands),
            shown(step.when),
            step.entails,
            tuple(self._look(look) for look in step.looks),
        )

    def _look(self, look: Look) -> Look:
        return Look(self._placeholders.shown(look.command), look.expected, look.title)

    def _notes(self, work: StepTask, takers: Sequence[Host], on: Sequence[Host]) -> Iterator[str]:
        batches = work.batches(takers, self._cluster) if work.batches else []
        if len(batches) > 1:
            order = ", then ".join(" and ".join(host.name for host in one) for one in batches)
            yield f"One after the other, each when the previous one is healthy: {order}."
        if work.by:
            yield f"On behalf of {', '.join(host.name for host in on)}."

    def _lookups(self, needs: Sequence[Fact[Any]]) -> Iterator[Lookup]:
        for fact in needs:
            on = hosts_on(fact.on, self._cluster)
            if fact in self._looked_up:
                yield Lookup(fact.name, tuple(host.name for host in on))
                continue
            self._looked_up.add(fact)
            shown = self._placeholders.shown
            commands = {host.name: shown(fact.command(self._cluster, host)) for host in on}
            for command, hosts in _alike(commands):
                yield Lookup(fact.name, hosts, alone(command))

    def _checks(self, section: Section) -> Iterator[Checks]:
        on = hosts_on(section.whole or section.on, self._cluster)
        questions = {
            host.name: tuple(map(self._look, asked(section.questions(host, self._cluster))))
            for host in on
            if host in self._hosts
        }
        for looks, hosts in _alike(questions):
            if looks:
                yield Checks(hosts, looks)

    def _by_name(self, section: Section) -> Iterator[ByName]:
        for work in section.work:
            if getattr(work, "alone", False):
                yield ByName(work.name, work.doc.partition("\n")[0])


def wanted(sections: Sequence[Section], name: str) -> list[tuple[Section, str]]:
    """The sections of a name, and the task if it is one's; all sections without a name."""
    if not name:
        return [(section, "") for section in sections]
    for section in sections:
        if section.name == name:
            return [(section, "")]
        if any(work.name == name for work in section.work):
            return [(section, name)]
    tasks = [work.name for section in sections for work in section.work]
    known = [section.name for section in sections]
    close = perhaps(name, [*known, *tasks])
    raise UsageError(f"The runbook has no section {name}{close}; available: {', '.join(known)}.")


def written(
    author: Author, sections: Sequence[Section], name: str, hosts: Sequence[Host]
) -> list[Chapter]:
    """The chapters of a name that have something for these hosts; UsageError if none has."""
    chapters = []
    for section, task in wanted(sections, name):
        try:
            chapters.append(author.chapter(section, task))
        except RunbookError as error:
            if name or error.exit_code != FAILED:
                raise
            chapters.append(_refused(section, str(error)))
    some = [chapter for chapter in chapters if chapter.parts or chapter.checks or chapter.refused]
    if not some:
        names = ", ".join(host.name for host in hosts)
        raise UsageError(f"{name} has no commands for {names}.")
    return some


def _refused(section: Section, why: str) -> Chapter:
    about = section.about
    return Chapter(section.name, section.runbook, about, (), (), (), "", (), (), why)


def _alike(by_host: dict[str, Key]) -> list[tuple[Key, tuple[str, ...]]]:
    groups: dict[Key, list[str]] = {}
    for host, content in by_host.items():
        groups.setdefault(content, []).append(host)
    return [(content, tuple(hosts)) for content, hosts in groups.items()]
