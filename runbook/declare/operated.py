"""How a section declares its part in operating the whole cluster."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Callable, Optional, TypeVar

from runbook.declare.drills import Drill, Load, Precondition
from runbook.declare.facts import Fact, Facts, On
from runbook.declare.operations import Evidence, Leaders, Marks, Phase
from runbook.declare.probes import Cause, Finding
from runbook.declare.requirements import Fetch, Login, Requirements, Source
from runbook.inventory.cluster import Cluster, Host
from runbook.inventory.schema import Caller, Opening, Port

LineFunction = Callable[[Cluster, Facts, Sequence[Finding]], str]
MarksFunction = Callable[[Cluster, Facts], Marks]

F = TypeVar("F", bound=Callable[..., Any])


class Operated:
    """What a section declares for the tasks that operate the whole cluster."""

    name: str
    on: On
    ports: list[Opening]
    evidence: list[Evidence]
    causes: list[Cause]
    line: Optional[LineFunction]
    marks: Optional[MarksFunction]
    leads: Optional[Leaders]
    loads: list[Load]
    drill_function: Optional[Callable[[Cluster], Iterable[Drill]]]
    drill_precondition: Optional[Precondition]
    requires: Requirements

    def cause(self, code: str, impact: str) -> Cause:
        """Declare a code that this section's findings may have, and its impact."""
        self.causes.append(Cause(code, impact))
        return self.causes[-1]

    def may_find(self, *causes: Cause) -> None:
        """Declare codes that this section shares with others."""
        self.causes.extend(causes)

    def port(self, number: str, purpose: str, *callers: Caller, on: Optional[On] = None) -> None:
        """Declare a port that the section's hosts, or those of `on`, open to these callers.

        It is for ports that do not belong to a role; SSH stands for the port of sshd.
        """
        self.ports.append(Opening(on or self.on, Port(number, purpose, callers)))

    def preflight(self, function: F) -> F:
        """Declare a function (host, cluster) that yields probes for a preflight."""
        self.requires.probes = function
        return function

    def cluster_preflight(self, needs: Sequence[Fact[Any]]) -> Callable[[F], F]:
        """Declare a function (cluster, facts) that compares hosts in a preflight."""

        def declare(function: F) -> F:
            self.requires.cluster_check, self.requires.facts = function, tuple(needs)
            return function

        return declare

    def fetches(self, source: Source, on: Optional[On] = None) -> None:
        """Declare that the section's hosts, or those of `on`, download from a source."""
        self.requires.fetches.append(Fetch(source, on or self.on))

    def login(
        self,
        user: Callable[[Cluster, Host], str],
        on: Optional[On] = None,
        by: Optional[On] = None,
        groups: Sequence[str] = (),
    ) -> None:
        """Declare an account as which the controller, or the hosts of `by`, log in by key."""
        self.requires.logins.append(Login(user, on or self.on, by, tuple(groups)))

    def collect(
        self,
        on: Optional[On] = None,
        *,
        units: Sequence[str] = (),
        files: Sequence[str] = (),
        logs: Sequence[str] = (),
        commands: Sequence[str] = (),
    ) -> None:
        """Declare what `inv cluster.support` collects from the section's hosts, or from `on`."""
        self.evidence.append(
            Evidence(on or self.on, tuple(units), tuple(files), tuple(logs), tuple(commands))
        )

    def status_line(self, function: LineFunction) -> LineFunction:
        """Declare a function (cluster, facts, findings) that returns the line for a status."""
        self.line = function
        return function

    def drawn(self, function: MarksFunction) -> MarksFunction:
        """Declare a function (cluster, facts) that adds words and arrows to the drawing."""
        self.marks = function
        return function

    def leaders(self, needs: Sequence[Fact[Any]]) -> Callable[[F], F]:
        """Declare a function (cluster, facts) that names the hosts which lead now."""

        def declare(function: F) -> F:
            self.leads = Leaders(function, tuple(needs))
            return function

        return declare

    def drills(self, function: F) -> F:
        """Declare a function (cluster) that yields the section's drills: what may fail, and how."""
        self.drill_function = function
        return function

    def load(self, load: Load) -> Load:
        """Declare a client of the cluster that measures what drills cost."""
        self.loads.append(load)
        return load

    def before_hard_drills(self, needs: Sequence[Fact[Any]]) -> Callable[[F], F]:
        """Declare a function (cluster, facts) that yields reasons why none may be carried out."""

        def declare(function: F) -> F:
            self.drill_precondition = Precondition(function, tuple(needs))
            return function

        return declare

    def start(self, needs: Sequence[Fact[Any]] = (), after: Sequence[str] = ()) -> Callable[[F], F]:
        """Declare a function (hosts, cluster, facts) that yields stages for cluster.start.

        cluster.stop goes through the sections in reverse order.
        """
        return self._phase("start_phase", needs, after)

    def stop(self, needs: Sequence[Fact[Any]] = ()) -> Callable[[F], F]:
        """Declare a function (hosts, cluster, facts) that yields stages for cluster.stop."""
        return self._phase("stop_phase", needs)

    def free(
        self,
        needs: Sequence[Fact[Any]] = (),
        after: Sequence[str] = (),
        reboot_only: bool = False,
    ) -> Callable[[F], F]:
        """Declare a function (hosts, cluster, facts) that yields stages before hosts go down.

        They hand over what these hosts lead, or wait until the others do not need them.
        """
        return self._phase("free_phase", needs, after, reboot_only)

    def _phase(
        self,
        attribute: str,
        needs: Sequence[Fact[Any]],
        after: Sequence[str] = (),
        reboot_only: bool = False,
    ) -> Callable[[F], F]:
        def declare(function: F) -> F:
            phase = Phase(self.name, function, tuple(needs), tuple(after), reboot_only)
            setattr(self, attribute, phase)
            return function

        return declare
