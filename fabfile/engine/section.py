"""A chapter of the runbook as a namespace of tasks.

A section file declares; nothing here or there connects to a host. `run.py` carries it out.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Callable, Optional, Union

import invoke

from .cluster import Cluster, Host
from .errors import MissingFact, RunbookError
from .probes import Probes
from .steps import Steps

On = Union[str, Callable[[Cluster], Sequence[Host]]]
Batches = Callable[[Sequence[Host], Cluster], list[list[Host]]]


@dataclass(frozen=True)
class Fact:
    """Something that hosts know and a task needs, gathered before the task is rendered.

    `command` gets the cluster and is run as root; `parse` turns what it prints into the value.
    `absent` is the sentence for the user if a host has no such thing. `used_by`: the hosts whose
    steps ask for it, if not all; a run without them does not gather it.
    """

    name: str
    on: On
    command: Callable[[Cluster], str]
    parse: Callable[[str], Any]
    absent: str
    used_by: On = "all"


class Facts:
    """The facts that a task asked for."""

    def __init__(self, values: Optional[dict[Fact, dict[str, Any]]] = None) -> None:
        self._values = values or {}

    def of(self, fact: Fact, host: Host) -> Any:
        """The fact of one host; MissingFact if it has none."""
        try:
            return self._values[fact][host.name]
        except KeyError:
            raise MissingFact(f"{fact.name} of {host.name} is not known: {fact.absent}") from None


StepFunction = Callable[..., Steps]
ProbeFunction = Callable[[Host, Cluster], Probes]


@dataclass(frozen=True)
class StepTask:
    """A task that brings hosts into a state, step by step."""

    name: str
    doc: str
    function: StepFunction
    on: On
    needs: tuple[Fact, ...] = ()
    batches: Optional[Batches] = None
    bootstrap: bool = False
    alone: bool = False

    def steps(self, host: Host, cluster: Cluster, facts: Facts) -> Steps:
        """The steps for one host, in order."""
        return self.function(host, cluster, facts) if self.needs else self.function(host, cluster)


@dataclass(frozen=True)
class ControllerTask:
    """A task that works on the controller: it gets the run, the hosts and its options."""

    name: str
    doc: str
    function: Callable[..., None]
    on: On
    alone: bool = False


@dataclass(frozen=True)
class CheckTask:
    """All steps of a section, judged but not carried out, and the section's probes."""

    name: str
    doc: str
    section: Section
    on: On
    alone: bool = True


@dataclass(frozen=True)
class WholeSection:
    """A section's name alone: its tasks in order."""

    name: str
    doc: str
    section: Section
    on: On


Work = Union[StepTask, ControllerTask, CheckTask, WholeSection]


class SectionTask(invoke.Task):
    """What Invoke lists and parses; the executor hands its `work` to a run."""

    def __init__(self, work: Work, name: str, **options: Any) -> None:
        super().__init__(_body(work), name=name, **options)
        self.work = work


def _body(work: Work) -> Callable[..., None]:
    def body(context: Any, **options: Any) -> None:
        raise RunbookError(
            f"{work.name} runs on hosts; use the fab that make setup puts into .venv/bin."
        )

    parameters = [inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    if isinstance(work, ControllerTask):
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
    """A chapter: its name, the hosts it is for, its place in the runbook, and one line about it."""

    name: str
    on: On
    runbook: str
    about: str
    work: list[Work] = field(default_factory=list)
    probes: Optional[ProbeFunction] = None

    def task(
        self,
        function: Optional[StepFunction] = None,
        *,
        on: Optional[On] = None,
        needs: Sequence[Fact] = (),
        batches: Optional[Batches] = None,
        bootstrap: bool = False,
        alone: bool = False,
    ) -> Any:
        """Declare a function (host, cluster[, facts]) that yields steps as a task of this section.

        `on`: its hosts, if not the section's. `needs`: facts, then given as third argument.
        `batches`: which hosts may be worked on at the same time. `bootstrap`: may enter new hosts
        with a password. `alone`: not part of the section as a whole.
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
                )
            )
            return function

        return declare(function) if function else declare

    def on_controller(self, function: Callable[..., None]) -> Callable[..., None]:
        """Declare a function (run, hosts, *, options) that works on the controller as a task."""
        self.work.append(
            ControllerTask(
                self._task_name(function), inspect.getdoc(function) or "", function, self.on
            )
        )
        return function

    def check(self, function: ProbeFunction) -> ProbeFunction:
        """Declare a function (host, cluster) that yields probes as this section's check."""
        self.probes = function
        return function

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
        about = f"{self.about}\n\nRuns this section's tasks in order: step {self.runbook}."
        whole = WholeSection(self.name, about, self, self.on)
        collection.add_task(SectionTask(whole, "all"), default=True)
        doc = f"Say what differs from what `{self.name}` wants, and change nothing."
        check = CheckTask(
            f"{self.name}.check",
            (inspect.getdoc(self.probes) if self.probes else None) or doc,
            self,
            self.on,
        )
        collection.add_task(SectionTask(check, "check"))
        return collection

    def _task_name(self, function: Callable[..., Any]) -> str:
        return f"{self.name}.{function.__name__.replace('_', '-')}"
