"""The kinds of task that a section may have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, Optional, Union

import msgspec

from runbook.declare.by_hand import Typed, typed
from runbook.declare.facts import NOTHING_KNOWN, Fact, Facts, On
from runbook.declare.placeholders import Placeholders
from runbook.declare.step import Step, Steps
from runbook.errors import MissingFact
from runbook.inventory.cluster import Cluster, Host

if TYPE_CHECKING:
    from runbook.declare.section import Section
    from runbook.execute.run import Run

Batches = Callable[[Sequence[Host], Cluster], list[list[Host]]]
Rolling = Callable[["Run", Sequence[Host]], Iterator[Sequence[Host]]]

Commands = list[tuple[str, str]]
"""Titles and commands, as they are typed."""

Taken = Union[Step, Callable[[Host], Union[Step, Steps]]]
"""A step, or a function of the host that returns one or several."""


def one_by_one(hosts: Sequence[Host], cluster: Cluster) -> list[list[Host]]:
    """Batches of one host, for what must not happen to two at the same time."""
    return [[host] for host in hosts]


@dataclass(frozen=True)
class Stage:
    """Part of a procedure: steps for some hosts at the same time."""

    title: str
    hosts: tuple[Host, ...]
    steps: tuple[Taken, ...]

    def of(self, host: Host) -> list[Step]:
        """The steps for one of its hosts."""
        given = [step if isinstance(step, Step) else step(host) for step in self.steps]
        return [step for one in given for step in ([one] if isinstance(one, Step) else one)]


@dataclass(frozen=True)
class Question:
    """Part of a procedure: what the user has to confirm before it continues."""

    text: str


@dataclass(frozen=True)
class Asked:
    """Part of a procedure: facts that are gathered again, because stages have changed them.

    The procedure finds the new values in the same `facts`; in a plan, they are as before.
    """

    facts: tuple[Fact[Any], ...]


Procedure = Iterator[Union[Stage, Question, Asked]]


def asked_again(*facts: Fact[Any]) -> Asked:
    """Gather these facts again before the procedure goes on."""
    return Asked(facts)


def stage(
    title: str,
    hosts: Union[Host, Sequence[Host]],
    *steps: Taken,
) -> Stage:
    """Steps that some hosts carry out together before the next stage of a procedure.

    A step that differs from host to host is given as a function of the host.
    """
    return Stage(title, (hosts,) if isinstance(hosts, Host) else tuple(hosts), steps)


class Work(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """What every kind of task has. `alone`: not part of the section as a whole."""

    name: str
    doc: str
    on: On
    alone: bool = False
    help: Mapping[str, str] = {}
    """A line for each option."""

    @property
    def summary(self) -> str:
        """The first line of its documentation."""
        return self.doc.strip().partition("\n")[0]

    @property
    def short(self) -> str:
        """Its name within the section."""
        return self.name.rpartition(".")[2]


class StepTask(Work, frozen=True, kw_only=True, eq=False):
    """A task that brings hosts into a state, step by step.

    With `by`, other hosts carry out the steps on behalf of the task's hosts. `rolling` yields the
    hosts batch by batch, and is resumed after each batch that succeeded: then it may wait, or raise
    a RunbookError to end the task.
    """

    function: Callable[..., Steps]
    needs: tuple[Fact[Any], ...] = ()
    batches: Optional[Batches] = None
    bootstrap: bool = False
    by: Optional[Callable[[Cluster], Sequence[Host]]] = None
    rolling: Optional[Rolling] = None

    def taken_by(self, hosts: Sequence[Host], cluster: Cluster) -> list[Host]:
        """The hosts that carry out the steps: `hosts`, unless others do so on their behalf."""
        return list(self.by(cluster) if self.by and hosts else hosts)

    def steps(self, host: Host, cluster: Cluster, facts: Facts, hosts: Sequence[Host]) -> Steps:
        """The steps of `host`, in order; `hosts` are all hosts that the task is for now."""
        arguments = (host, cluster, facts) if self.needs else (host, cluster)
        return self.function(*arguments, hosts) if self.by else self.function(*arguments)

    def typed(
        self, host: Host, cluster: Cluster, hosts: Sequence[Host], facts: Facts = NOTHING_KNOWN
    ) -> list[Typed]:
        """The steps for a person who types them; MissingFact if they depend on an answer."""
        return typed(self.steps(host, cluster, facts, hosts))

    def commands(self, hosts: Sequence[Host], cluster: Cluster) -> dict[str, Commands]:
        """Host: title and commands of each step, with placeholders for passwords."""
        placeholders = Placeholders()
        marked = cluster.with_vault(placeholders)

        def of(host: Host) -> Commands:
            try:
                steps = self.typed(host, marked, hosts)
            except MissingFact as error:
                return [(f"unknown without asking a host: {error}", "")]
            return [(step.title, placeholders.shown(step.commands)) for step in steps]

        return {host.name: of(host) for host in self.taken_by(hosts, cluster)}


class ControllerTask(Work, frozen=True, kw_only=True, eq=False):
    """A task that works on the controller: it gets the run, the hosts and its options."""

    function: Callable[..., None]


class ProcedureTask(Work, frozen=True, kw_only=True, eq=False):
    """A task in stages: some hosts first, then others, depending on the current facts."""

    function: Callable[..., Procedure]
    needs: tuple[Fact[Any], ...] = ()
    alone: bool = True


class TableTask(Work, frozen=True, kw_only=True, eq=False):
    """A task that shows facts about hosts as a table, and changes nothing."""

    function: Callable[[Cluster, Facts], list[dict[str, Any]]]
    needs: tuple[Fact[Any], ...] = ()
    alone: bool = True


class CheckTask(Work, frozen=True, kw_only=True, eq=False):
    """All steps of a section, tested but not carried out, and the section's probes."""

    section: Section
    alone: bool = True

    def commands(self, hosts: Sequence[Host], cluster: Cluster) -> dict[str, Commands]:
        """Host: title and command of each probe, with placeholders for passwords."""
        placeholders = Placeholders()
        marked = cluster.with_vault(placeholders)
        return {
            host.name: [
                (one.title, placeholders.shown(one.command))
                for one in self.section.questions(host, marked)
            ]
            for host in hosts
        }


class WholeSection(Work, frozen=True, kw_only=True, eq=False):
    """A section's name alone: its tasks in order."""

    section: Section
