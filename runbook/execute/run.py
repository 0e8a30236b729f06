"""One call of `fab` or `inv`: its hosts, over one connection each, and the results of its tasks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, Callable, Optional, TypeVar

from fabric.config import Config

from runbook.declare.contents import Contents
from runbook.declare.facts import Fact, Facts, On, hosts_on
from runbook.declare.section import Section
from runbook.declare.work import Work
from runbook.errors import (
    FAILED,
    UNREACHABLE,
    DistrustedAnswer,
    RunbookError,
    SettingsError,
    UnreachableError,
    UsageError,
)
from runbook.execute.journal import Journal
from runbook.execute.survey import answered
from runbook.inventory.cluster import Cluster, Host
from runbook.output.prompt import confirmed
from runbook.output.report import Report
from runbook.results import DO, PLAN, HostResult, Mode, Status
from runbook.secrets.vault import Passwords

T = TypeVar("T")


@dataclass(frozen=True)
class Options:
    """The options of the command line that apply to the whole run."""

    hosts: str = ""
    plan: bool = False
    dry: bool = False
    yes: bool = False
    accept_host_keys: bool = False
    keep_going: bool = False

    @property
    def mode(self) -> Mode:
        """do or plan."""
        return PLAN if self.plan else DO


@dataclass
class Run:
    """What tasks share: connections, facts, results. `report` shows them, and decides nothing."""

    contents: Contents
    cluster: Cluster
    options: Options
    report: Report
    config: Config
    journal: Journal
    passwords: Passwords
    results: list[HostResult] = field(default_factory=list)
    task: str = ""
    mode: Mode = DO
    _connections: Any = None
    _facts: dict[Fact[Any], dict[str, Any]] = field(default_factory=dict)
    _lost: dict[str, str] = field(default_factory=dict)
    _distrusted: dict[str, str] = field(default_factory=dict)
    _noted: dict[str, set[str]] = field(default_factory=dict)

    def close(self) -> None:
        """Close the connections."""
        if self._connections:
            self._connections.close()

    @property
    def exit_code(self) -> int:
        """0, 1 if anything failed or is in error, else 3 if a host was unreachable."""
        codes = {result.exit_code for result in self.results}
        return next((code for code in (FAILED, UNREACHABLE) if code in codes), 0)

    @property
    def lost(self) -> dict[str, str]:
        """Hosts that were unreachable, and why."""
        return dict(self._lost)

    @property
    def connections(self) -> Any:
        """The run's connections; made at first use, in the main thread."""
        if self._connections is None:
            from runbook.ssh.transport import Connections

            hosts = list(self.cluster.hosts.values())
            self._connections = Connections(self.cluster, self.config, self.passwords, hosts)
        return self._connections

    def on(self, on: On) -> list[Host]:
        """The hosts that a section, task or fact is for."""
        return hosts_on(on, self.cluster)

    def hosts_for(self, work: Work, within: Optional[Section] = None) -> list[Host]:
        """The hosts of -H, or all hosts, that a task is for; UsageError for any other host."""
        allowed = self.on(work.on)
        if not allowed and within:
            return []
        if not allowed:
            raise UsageError(f"{work.name} applies to no host in {self.cluster.file.name}.")
        if not self.options.hosts:
            return allowed
        chosen = self.cluster.select(self.options.hosts)
        names = {host.name for host in allowed}
        outsiders = [host.name for host in chosen if host.name not in names]
        if outsiders and not within:
            raise UsageError(
                f"{work.name} does not apply to {', '.join(outsiders)}; "
                f"it applies to {', '.join(host.name for host in allowed)}."
            )
        return [host for host in chosen if host.name in names]

    def agreed(self, question: str = "Go on?") -> bool:
        """Whether the user says yes, here or with --yes; UsageError without a terminal."""
        if self.options.yes:
            return True
        self.report.close()
        return confirmed(question)

    def begin(self, task: str, doc: str, hosts: Sequence[Host], mode: Mode) -> None:
        """Report that a task starts on these hosts."""
        self.task, self.mode = task, mode
        self.report.task_begins(task, doc, hosts, mode)

    def lose(self, host: Host, error: UnreachableError) -> None:
        """Note that a host is unreachable; it is not tried again in this run."""
        self._lost[host.name] = str(error)

    def distrust(self, host: Host, error: DistrustedAnswer, tell: bool) -> None:
        """Note that a host's answers are not believed; nothing more is done on it in this run.

        `tell`: say so now, because no result of the task will.
        """
        self._distrusted[host.name] = str(error)
        if tell:
            result = self._of_distrusted(host)
            self.report.say(f"  [{host.name}] {result.status}: {result.sentence}")
            self.record(result)

    def noted(self, host: Host) -> set[str]:
        """Names of handlers that a plan would have left for later tasks on a host."""
        return self._noted.setdefault(host.name, set())

    def gather(
        self, facts: Iterable[Fact[Any]], hosts: Sequence[Host], results_of: Sequence[Host] = ()
    ) -> Facts:
        """Gather facts from all hosts at once; a host without an answer has no value.

        Neither has a host of which an answer cannot be one: it is refused. `results_of`: hosts
        whose results in the present task will say so.
        """
        from runbook.execute.conversation import ask as put

        wanted: dict[str, list[Fact[Any]]] = {}
        for fact in facts:
            if any(host in self.on(fact.used_by) for host in hosts):
                self._facts[fact] = {}
                for host in self.on(fact.on):
                    wanted.setdefault(host.name, []).append(fact)

        def ask(host: Host) -> None:
            if host.name in self._lost or host.name in self._distrusted:
                return
            try:
                self.connections.open(host)
                told = answered(
                    self.cluster,
                    host,
                    wanted[host.name],
                    lambda host, commands: put(self, host, commands),
                )
            except SettingsError:
                raise
            except RunbookError as error:
                if isinstance(error, UnreachableError):
                    self.lose(host, error)
                return
            if told.distrusted:
                first = next(iter(told.distrusted.values()))
                self.distrust(host, first, host not in results_of)
                return
            for fact, value in told.values.items():
                self._facts[fact][host.name] = value

        self.parallel([self.cluster.hosts[name] for name in wanted], ask)
        return Facts(self._facts)

    def each(
        self, hosts: Sequence[Host], function: Callable[[Host], HostResult]
    ) -> list[HostResult]:
        """The results of all hosts; one that was lost or distrusted earlier is not tried again."""

        def guarded(host: Host) -> HostResult:
            if host.name in self._lost:
                result = self._of_lost(host)
            elif host.name in self._distrusted:
                result = self._of_distrusted(host)
            else:
                result = function(host)
            self.conclude(result)
            return result

        return self.parallel(hosts, guarded)

    def _of_lost(self, host: Host) -> HostResult:
        why = self._lost[host.name]
        return HostResult(self.task, host.name, self.mode, Status.UNREACHABLE, why)

    def _of_distrusted(self, host: Host) -> HostResult:
        why = self._distrusted[host.name]
        return HostResult(self.task, host.name, self.mode, Status.REFUSED, why)

    def conclude(self, result: HostResult) -> None:
        """Keep a result, show it, and write it to the journal."""
        self.record(result)
        self.report.host_done(result)

    def record(self, result: HostResult) -> None:
        """Keep a result and write it to the journal, without showing it."""
        result.settle()
        self.results.append(result)
        about = {"task": result.task, "host": result.host, "mode": str(self.mode)}
        for part in result.parts:
            if part.status and part.status != Status.OK:
                seconds, status = round(part.seconds, 2), str(part.status)
                self.journal.write(**about, step=part.said, result=status, seconds=seconds)
        why = {"why": result.sentence} if result.sentence else {}
        seconds = round(result.seconds, 2)
        self.journal.write(**about, result=str(result.status), seconds=seconds, **why)

    def take_over(self, other: Run) -> None:
        """Add the results of a separate run to this one."""
        self.results += other.results
        self.report.take(other.report)

    def parallel(self, hosts: Sequence[Host], function: Callable[[Host], T]) -> list[T]:
        """`function` of every host, in the hosts' order, some of them at the same time."""
        if not hosts:
            return []
        # Made here, in the main thread: Fabric's configuration is not safe to clone in others.
        connections = self.connections
        pool = ThreadPoolExecutor(min(len(hosts), self.cluster.connection.parallel))
        futures = [pool.submit(function, host) for host in hosts]
        try:
            pending = set(futures)
            while pending:
                done, pending = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)
                self.passwords.answer()
                for future in done:
                    future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            self.passwords.give_up()
            connections.close()
            raise
        pool.shutdown(wait=False)
        return [future.result() for future in futures]
