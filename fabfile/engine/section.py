"""A chapter of the runbook as a namespace of tasks.

A section file declares; nothing here or there connects to a host. `run.py` carries it out.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable, Optional, Union

import invoke

from .cluster import Cluster, Host
from .errors import MissingFact, RunbookError
from .placeholders import Placeholders
from .probes import Findings, Probe, Probes
from .secrets import Secret
from .step import Step, Steps
from .typed import Typed, typed

if TYPE_CHECKING:
    from .run import Run

On = Union[str, Callable[[Cluster], Sequence[Host]]]
Batches = Callable[[Sequence[Host], Cluster], list[list[Host]]]
Rolling = Callable[["Run", Sequence[Host]], Iterator[Sequence[Host]]]


def hosts_on(on: On, cluster: Cluster) -> list[Host]:
    """The hosts that a section, task or fact is for."""
    return cluster.group(on) if isinstance(on, str) else list(on(cluster))


def one_by_one(hosts: Sequence[Host], cluster: Cluster) -> list[list[Host]]:
    """Batches of one host, for what must not happen to two at the same time."""
    return [[host] for host in hosts]


@dataclass(frozen=True)
class Fact:
    """Something that hosts know and a task needs, gathered before the task is rendered.

    `command` gets the cluster and the host that is asked, and is run as root; `parse` turns what it
    prints into the value.
    `absent` is the sentence for the user if a host has no such thing. `used_by`: the hosts whose
    steps ask for it, if not all; a run without them does not gather it. `thorough`: it takes long,
    and a status does without it. `timed`: `parse` also gets the controller's time just before and
    just after it was asked.
    """

    name: str
    on: On
    command: Callable[[Cluster, Host], str]
    parse: Callable[..., Any]
    absent: str
    used_by: On = "all"
    thorough: bool = False
    timed: bool = False


class Facts:
    """The facts that a task asked for.

    `gone`: hosts that nobody sees any more, whatever others remember of them.
    """

    def __init__(
        self,
        values: Optional[dict[Fact, dict[str, Any]]] = None,
        gone: frozenset[str] = frozenset(),
    ) -> None:
        self._values = values or {}
        self.gone = gone

    def without(self, gone: frozenset[str]) -> Facts:
        """The same, where these hosts are gone."""
        return Facts(self._values, gone)

    def asked(self, fact: Fact) -> bool:
        """Whether anybody was asked; a status leaves some facts out."""
        return fact in self._values

    def known(self, fact: Fact) -> dict[str, Any]:
        """The fact of every host that has it, by the host's name."""
        return self._values.get(fact, {})

    def of(self, fact: Fact, host: Host) -> Any:
        """The fact of one host; MissingFact if it has none."""
        try:
            return self._values[fact][host.name]
        except KeyError:
            raise MissingFact(f"{fact.name} of {host.name} is not known: {fact.absent}") from None


NOTHING_KNOWN = Facts()
"""No host was asked."""

Commands = list[tuple[str, str]]
"""Titles and commands, as they are typed."""

Taken = Union[Step, Callable[[Host], Union[Step, Steps]]]
"""A step, or what makes a step or several of a host."""


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
    """Part of a procedure: what the user has to agree to before it goes on."""

    text: str


Procedure = Iterator[Union[Stage, Question]]


def stage(
    title: str,
    hosts: Union[Host, Sequence[Host]],
    *steps: Taken,
) -> Stage:
    """Steps that some hosts take together, before the procedure goes on to its next stage.

    What differs from host to host is a function of the host.
    """
    return Stage(title, (hosts,) if isinstance(hosts, Host) else tuple(hosts), steps)


StepFunction = Callable[..., Steps]
ProbeFunction = Callable[[Host, Cluster], Probes]
VerdictFunction = Callable[[Cluster, Facts], Findings]
TableFunction = Callable[[Cluster, Facts], "list[dict[str, Any]]"]


@dataclass(frozen=True)
class StepTask:
    """A task that brings hosts into a state, step by step.

    With `by`, other hosts take the steps, on behalf of those that the task is for. `rolling` hands
    out the hosts batch by batch, and gets its turn after each batch that is fine: there it waits,
    or raises a RunbookError that ends the task.
    """

    name: str
    doc: str
    function: StepFunction
    on: On
    needs: tuple[Fact, ...] = ()
    batches: Optional[Batches] = None
    bootstrap: bool = False
    alone: bool = False
    by: Optional[Callable[[Cluster], Sequence[Host]]] = None
    rolling: Optional[Rolling] = None

    def taken_by(self, hosts: Sequence[Host], cluster: Cluster) -> list[Host]:
        """Who takes the steps for these hosts: they themselves, if nobody does on their behalf."""
        return list(self.by(cluster) if self.by and hosts else hosts)

    def steps(self, host: Host, cluster: Cluster, facts: Facts, hosts: Sequence[Host]) -> Steps:
        """The steps that `host` takes, in order; `hosts` are all that the task is for now."""
        arguments = (host, cluster, facts) if self.needs else (host, cluster)
        return self.function(*arguments, hosts) if self.by else self.function(*arguments)

    def typed(
        self, host: Host, cluster: Cluster, hosts: Sequence[Host], facts: Facts = NOTHING_KNOWN
    ) -> list[Typed]:
        """The steps for a person who types them; MissingFact if they hang on an answer."""
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


@dataclass(frozen=True)
class ControllerTask:
    """A task that works on the controller: it gets the run, the hosts and its options."""

    name: str
    doc: str
    function: Callable[..., None]
    on: On
    alone: bool = False
    help: Mapping[str, str] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class ProcedureTask:
    """A task in stages: some hosts first, then others, as the facts of the moment ask for."""

    name: str
    doc: str
    function: Callable[..., Procedure]
    on: On
    needs: tuple[Fact, ...] = ()
    alone: bool = True
    help: Mapping[str, str] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class TableTask:
    """A task that shows what hosts say, and changes nothing."""

    name: str
    doc: str
    function: TableFunction
    on: On
    needs: tuple[Fact, ...] = ()
    alone: bool = True


@dataclass(frozen=True)
class CheckTask:
    """All steps of a section, judged but not carried out, and the section's probes."""

    name: str
    doc: str
    section: Section
    on: On
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


@dataclass(frozen=True)
class WholeSection:
    """A section's name alone: its tasks in order."""

    name: str
    doc: str
    section: Section
    on: On


Work = Union[StepTask, ControllerTask, ProcedureTask, TableTask, CheckTask, WholeSection]


class SectionTask(invoke.Task):
    """What Invoke lists and parses; the executor hands its `work` to a run."""

    def __init__(self, work: Work, name: str, **options: Any) -> None:
        help_texts = {
            option.replace("_", "-"): text for option, text in getattr(work, "help", {}).items()
        }
        super().__init__(_body(work), name=name, help=help_texts, **options)
        self.work = work


def _body(work: Work) -> Callable[..., None]:
    def body(context: Any, **options: Any) -> None:
        raise RunbookError(
            f"{work.name} runs on hosts; use the fab that make setup puts into .venv/bin."
        )

    parameters = [inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    if isinstance(work, (ControllerTask, ProcedureTask)):
        parameters += [
            parameter
            for parameter in inspect.signature(work.function).parameters.values()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        ]
    body.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    body.__doc__ = work.doc
    body.__name__ = work.name.rpartition(".")[2]
    return body


@dataclass
class Section:
    """A chapter: its name, the hosts it is for, its place in the runbook, and one line about it.

    `whole`: all hosts that any of its tasks is for, if those are more.
    """

    name: str
    on: On
    runbook: str
    about: str
    whole: Optional[On] = None
    work: list[Work] = field(default_factory=list)
    probes: Optional[ProbeFunction] = None
    verdict_function: Optional[VerdictFunction] = None
    verdict_needs: tuple[Fact, ...] = ()
    secrets: list[Secret] = field(default_factory=list)

    def secret(
        self,
        name: str,
        about: str,
        length: int = 32,
        passing: bool = False,
        family: bool = False,
    ) -> Secret:
        """Declare a password that this section needs, or several whose names begin with `name`."""
        self.secrets.append(Secret(name, about, length, passing, family))
        return self.secrets[-1]

    def task(
        self,
        function: Optional[StepFunction] = None,
        *,
        on: Optional[On] = None,
        needs: Sequence[Fact] = (),
        batches: Optional[Batches] = None,
        bootstrap: bool = False,
        alone: bool = False,
        by: Optional[Callable[[Cluster], Sequence[Host]]] = None,
        rolling: Optional[Rolling] = None,
    ) -> Any:
        """Declare a function (host, cluster[, facts]) that yields steps as a task of this section.

        `on`: its hosts, if not the section's. `needs`: facts, then given as third argument.
        `batches`: which hosts may be worked on at the same time. `bootstrap`: may enter new hosts
        with a password. `alone`: not part of the section as a whole. `by`: hosts that take
        the steps on behalf of those; the function then gets the latter as its last argument.
        `rolling`: a function (run, hosts) that hands out the hosts batch by batch.
        """

        def declare(function: StepFunction) -> StepFunction:
            self.work.append(
                StepTask(
                    self._task_name(function),
                    inspect.getdoc(function) or "",
                    function,
                    on or self.on,
                    tuple(needs),
                    batches,
                    bootstrap,
                    alone,
                    by,
                    rolling,
                )
            )
            return function

        return declare(function) if function else declare

    def on_controller(
        self,
        function: Optional[Callable[..., None]] = None,
        *,
        on: Optional[On] = None,
        help: Optional[Mapping[str, str]] = None,
    ) -> Any:
        """Declare a function (run, hosts, *, options) that works on the controller as a task.

        `help` has a line for each option.
        """

        def declare(function: Callable[..., None]) -> Callable[..., None]:
            doc = inspect.getdoc(function) or ""
            name = self._task_name(function)
            task = ControllerTask(name, doc, function, on or self.on, help=help or {})
            self.work.append(task)
            return function

        return declare(function) if function else declare

    def check(self, function: ProbeFunction) -> ProbeFunction:
        """Declare a function (host, cluster) that yields probes as this section's check."""
        self.probes = function
        return function

    def verdict(self, needs: Sequence[Fact]) -> Callable[[VerdictFunction], VerdictFunction]:
        """Declare a function (cluster, facts) that judges all hosts together, for `check`."""

        def declare(function: VerdictFunction) -> VerdictFunction:
            self.verdict_function, self.verdict_needs = function, tuple(needs)
            return function

        return declare

    def procedure(
        self,
        needs: Sequence[Fact],
        on: Optional[On] = None,
        help: Optional[Mapping[str, str]] = None,
    ) -> Callable[[Callable[..., Procedure]], Callable[..., Procedure]]:
        """Declare a function (hosts, cluster, facts, *, options) that yields stages; by name only.

        It raises a RunbookError to refuse, with the sentence for the user. `help` has a line for
        each option.
        """

        def declare(function: Callable[..., Procedure]) -> Callable[..., Procedure]:
            doc = inspect.getdoc(function) or ""
            name = self._task_name(function)
            task = ProcedureTask(name, doc, function, on or self.on, tuple(needs), help=help or {})
            self.work.append(task)
            return function

        return declare

    def table(self, needs: Sequence[Fact]) -> Callable[[TableFunction], TableFunction]:
        """Declare a function (cluster, facts) that returns the rows of a table to show."""

        def declare(function: TableFunction) -> TableFunction:
            doc = inspect.getdoc(function) or ""
            name = self._task_name(function)
            self.work.append(TableTask(name, doc, function, self.on, tuple(needs)))
            return function

        return declare

    def questions(self, host: Host, cluster: Cluster) -> Iterable[Probe]:
        """The probes of this section's check for one host."""
        return self.probes(host, cluster) if self.probes else ()

    def step_tasks(self) -> list[StepTask]:
        """The tasks whose steps `check` judges: all but those that stand alone."""
        return [work for work in self.work if isinstance(work, StepTask) and not work.alone]

    def in_order(self) -> list[Work]:
        """What the section's name alone runs."""
        return [work for work in self.work if not getattr(work, "alone", False)]

    def collection(self) -> invoke.Collection:
        """The section as an Invoke namespace."""
        collection = invoke.Collection(self.name)
        for work in self.work:
            collection.add_task(SectionTask(work, work.name.rpartition(".")[2].replace("_", "-")))
        about = f"{self.about}\n\nRuns this section's tasks in order (runbook: {self.runbook})."
        whole = WholeSection(self.name, about, self, self.whole or self.on)
        collection.add_task(SectionTask(whole, "all"), default=True)
        doc = f"Say what differs from what `{self.name}` wants, and change nothing."
        check = CheckTask(
            f"{self.name}.check",
            (inspect.getdoc(self.probes) if self.probes else None) or doc,
            self,
            self.whole or self.on,
        )
        collection.add_task(SectionTask(check, "check"))
        return collection

    def _task_name(self, function: Callable[..., Any]) -> str:
        return f"{self.name}.{function.__name__.replace('_', '-')}"
