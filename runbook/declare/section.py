"""A section of the runbook as a namespace of tasks.

Sections only declare what is to be done, and connect to no host. The engine carries it out.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable, Optional

import invoke

from runbook.declare.drills import Drill, Load, Precondition
from runbook.declare.facts import Fact, Facts, On
from runbook.declare.namespace import SectionTask
from runbook.declare.operated import LineFunction, MarksFunction, Operated
from runbook.declare.operations import Conflict, Evidence, Leaders, Part, Phase
from runbook.declare.probes import Cause, Findings, Probe, Probes
from runbook.declare.requirements import Requirements
from runbook.declare.step import Steps
from runbook.declare.work import (
    Batches,
    CheckTask,
    ControllerTask,
    Procedure,
    ProcedureTask,
    Rolling,
    StepTask,
    TableTask,
    WholeSection,
    Work,
)
from runbook.inventory.cluster import Cluster, Host
from runbook.inventory.schema import Opening, Role, Settings
from runbook.secrets.vault import Rule, Secret

if TYPE_CHECKING:
    from runbook.declare.contents import Contents

StepFunction = Callable[..., Steps]
ProbeFunction = Callable[[Host, Cluster], Probes]
ClusterCheck = Callable[[Cluster, Facts], Findings]
TableFunction = Callable[[Cluster, Facts], "list[dict[str, Any]]"]


@dataclass
class Section(Operated):
    """A section: its name, its hosts, its place in the runbook, and one line about it.

    `whole`: the hosts of all its tasks, if those are more. `roles`: the roles that this section
    serves. `settings`: its mapping in hosts.yaml, under `key` or its own name. `after`: what
    cluster.deploy carries out before it, if not the previous section. `parts`: tasks that
    cluster.deploy carries out separately. `part`: its name in a status, if that is a different
    one. `restarts`: units that new packages may restart. `accounts`: accounts of its services,
    which must not be used for logins. `conflict`: besides a common role, a reason why two hosts
    must not be down at the same time. `goes_on`: a host that cannot be reached does not keep the
    section's next tasks from the others; for sections whose tasks ask first who is missing.
    """

    name: str
    on: On
    runbook: str
    about: str
    whole: Optional[On] = None
    roles: tuple[Role, ...] = ()
    settings: Optional[type[Settings]] = None
    key: str = ""
    after: Optional[tuple[str, ...]] = None
    parts: tuple[Part, ...] = ()
    part: str = ""
    restarts: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    conflict: Optional[Conflict] = None
    goes_on: bool = False
    work: list[Work] = field(default_factory=list)
    secrets: list[Secret] = field(default_factory=list)
    ports: list[Opening] = field(default_factory=list)
    evidence: list[Evidence] = field(default_factory=list)
    causes: list[Cause] = field(default_factory=list)
    probes: Optional[ProbeFunction] = None
    check_cluster: Optional[ClusterCheck] = None
    cluster_check_needs: tuple[Fact[Any], ...] = ()
    line: Optional[LineFunction] = None
    marks: Optional[MarksFunction] = None
    leads: Optional[Leaders] = None
    start_phase: Optional[Phase] = None
    stop_phase: Optional[Phase] = None
    free_phase: Optional[Phase] = None
    drill_function: Optional[Callable[[Cluster], Iterable[Drill]]] = None
    drill_precondition: Optional[Precondition] = None
    loads: list[Load] = field(default_factory=list)
    requires: Requirements = field(default_factory=Requirements)

    def __post_init__(self) -> None:
        """Reject anything that is not a role at once."""
        _known(self.on, self.name)
        _known(self.everywhere, self.name)

    @property
    def label(self) -> str:
        """Its name in a status."""
        return self.part or self.name

    @property
    def everywhere(self) -> On:
        """The hosts of all its tasks."""
        return self.whole or self.on

    def secret(
        self,
        name: str,
        about: str,
        length: int = 32,
        passing: bool = False,
        family: bool = False,
        rule: Optional[Rule] = None,
    ) -> Secret:
        """Declare a password that this section needs, or several whose names begin with `name`."""
        return self.keeps(Secret(name, about, length, passing, family, rule))

    def keeps(self, secret: Secret) -> Secret:
        """Declare a secret that is defined elsewhere."""
        self.secrets.append(secret)
        return secret

    def task(
        self,
        function: Optional[StepFunction] = None,
        *,
        on: Optional[On] = None,
        needs: Sequence[Fact[Any]] = (),
        batches: Optional[Batches] = None,
        bootstrap: bool = False,
        alone: bool = False,
        by: Optional[Callable[[Cluster], Sequence[Host]]] = None,
        rolling: Optional[Rolling] = None,
    ) -> Any:
        """Declare a function (host, cluster[, facts]) that yields steps as a task of this section.

        `on`: its hosts, if not the section's. `needs`: facts, passed as the third argument.
        `batches`: which hosts may be worked on at the same time. `bootstrap`: may log in to new
        hosts with a password. `alone`: not part of the section as a whole. `by`: hosts that carry
        out the steps on behalf of the task's hosts, which are then passed as the last argument.
        `rolling`: a function (run, hosts) that yields the hosts batch by batch.
        """

        def declare(function: StepFunction) -> StepFunction:
            task = StepTask(
                **self._about(function, on),
                function=function,
                needs=tuple(needs),
                batches=batches,
                bootstrap=bootstrap,
                alone=alone,
                by=by,
                rolling=rolling,
            )
            self.work.append(task)
            return function

        return declare(function) if function else declare

    def on_controller(
        self,
        function: Optional[Callable[..., None]] = None,
        *,
        on: Optional[On] = None,
        help: Optional[Mapping[str, str]] = None,
        alone: bool = False,
    ) -> Any:
        """Declare a function (run, hosts, *, options) as a task that runs on the controller.

        `help` has a line for each option. `alone`: not part of the section as a whole.
        """

        def declare(function: Callable[..., None]) -> Callable[..., None]:
            about = self._about(function, on)
            task = ControllerTask(**about, function=function, help=help or {}, alone=alone)
            self.work.append(task)
            return function

        return declare(function) if function else declare

    def check(self, function: ProbeFunction) -> ProbeFunction:
        """Declare a function (host, cluster) that yields probes as this section's check."""
        self.probes = function
        return function

    def cluster_check(self, needs: Sequence[Fact[Any]]) -> Callable[[ClusterCheck], ClusterCheck]:
        """Declare a function (cluster, facts) that checks all hosts together, for `check`."""

        def declare(function: ClusterCheck) -> ClusterCheck:
            self.check_cluster, self.cluster_check_needs = function, tuple(needs)
            return function

        return declare

    def procedure(
        self,
        needs: Sequence[Fact[Any]],
        on: Optional[On] = None,
        help: Optional[Mapping[str, str]] = None,
    ) -> Callable[[Callable[..., Procedure]], Callable[..., Procedure]]:
        """Declare a function (hosts, cluster, facts, *, options) that yields stages, run by name.

        It raises a RunbookError to refuse, with the sentence for the user. `help` has a line for
        each option.
        """

        def declare(function: Callable[..., Procedure]) -> Callable[..., Procedure]:
            about = self._about(function, on)
            task = ProcedureTask(**about, function=function, needs=tuple(needs), help=help or {})
            self.work.append(task)
            return function

        return declare

    def table(self, needs: Sequence[Fact[Any]]) -> Callable[[TableFunction], TableFunction]:
        """Declare a function (cluster, facts) that returns the rows of a table to show."""

        def declare(function: TableFunction) -> TableFunction:
            task = TableTask(**self._about(function, None), function=function, needs=tuple(needs))
            self.work.append(task)
            return function

        return declare

    def order(self, *functions: Callable[..., Any]) -> None:
        """State the order of the tasks, by their functions; each has to be named once."""
        given = {
            self._about(function, None)["name"]: place for place, function in enumerate(functions)
        }
        declared = {work.name for work in self.work}
        if given.keys() != declared or len(given) != len(functions):
            wrong = ", ".join(sorted(given.keys() ^ declared)) or "a task is named twice"
            raise ValueError(f"the order of {self.name} and its tasks differ: {wrong}")
        self.work.sort(key=lambda work: given[work.name])

    def questions(self, host: Host, cluster: Cluster) -> Iterable[Probe]:
        """The probes of this section's check for one host."""
        return self.probes(host, cluster) if self.probes else ()

    def step_tasks(self) -> list[StepTask]:
        """The tasks whose steps `check` tests: all but those that are run by name only."""
        return [work for work in self.work if isinstance(work, StepTask) and not work.alone]

    def in_order(self) -> list[Work]:
        """What the section's name alone runs."""
        return [work for work in self.work if not work.alone]

    def check_task(self) -> CheckTask:
        """What `SECTION.check` runs."""
        doc = f"Check the section `{self.name}`, and change nothing."
        return CheckTask(
            name=f"{self.name}.check",
            doc=(inspect.getdoc(self.probes) if self.probes else None) or doc,
            section=self,
            on=self.everywhere,
        )

    def whole_task(self) -> WholeSection:
        """What the section's name alone runs."""
        return WholeSection(
            name=self.name,
            doc=f"{self.about}\n\nRuns this section's tasks in order (runbook: {self.runbook}).",
            section=self,
            on=self.everywhere,
        )

    def find(self, name: str) -> Work:
        """A task by its name within the section: check, install; the whole section if empty."""
        if not name:
            return self.whole_task()
        if name == "check":
            return self.check_task()
        return next(work for work in self.work if work.short == name)

    def collection(self, contents: Contents) -> invoke.Collection:
        """The section as an Invoke namespace."""
        collection = invoke.Collection(self.name)
        for work in (*self.work, self.check_task()):
            collection.add_task(SectionTask(work, contents, work.short))
        collection.add_task(SectionTask(self.whole_task(), contents, "all"), default=True)
        return collection

    def _about(self, function: Callable[..., Any], on: Optional[On]) -> dict[str, Any]:
        name = self._task_name(function)
        if on:
            _known(on, name)
        return {"name": name, "doc": inspect.getdoc(function) or "", "on": on or self.on}

    def _task_name(self, function: Callable[..., Any]) -> str:
        return f"{self.name}.{function.__name__.replace('_', '-')}"


def _known(on: On, name: str) -> None:
    """Reject a role that is given as plain text, which would silently match no host."""
    if on != "all" and isinstance(on, str) and not isinstance(on, Role):
        raise TypeError(f"{name} is for {on!r}, which is neither 'all', a Role nor a function")
