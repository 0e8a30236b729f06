"""One call of `fab`: its tasks, on its hosts, over one connection each."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, Callable, Optional, TypeVar

from fabric.config import Config

from .cluster import Cluster, Host
from .errors import (
    FAILED,
    UNREACHABLE,
    USAGE,
    MissingFact,
    RunbookError,
    SettingsError,
    UnreachableError,
    UsageError,
)
from .journal import Journal
from .probes import OK, UNKNOWN, Answer, Probe, Verdict, probe
from .report import Report
from .results import BROKEN, TOGETHER, HostResult
from .script import CHECK, DO, PLAN, Reader, StepResult, compile_script
from .secrets import Passwords
from .section import (
    CheckTask,
    ControllerTask,
    Fact,
    Facts,
    On,
    ProcedureTask,
    Question,
    Section,
    Stage,
    StepTask,
    TableTask,
    WholeSection,
    Work,
    hosts_on,
)
from .step import Step
from .survey import answered

REBOOT_PATIENCE = 600
"""Seconds that a rebooting host gets to come back."""

# systemd 239 has no `is-system-running --wait`.
SETTLED = """cat /proc/sys/kernel/random/boot_id
for _ in {1..50}; do
  state=$(systemctl is-system-running)
  case $state in initializing | starting) sleep 1 ;; *) break ;; esac
done
echo "$state\""""

T = TypeVar("T")


@dataclass(frozen=True)
class Options:
    """What the command line said for the whole run."""

    hosts: str = ""
    plan: bool = False
    dry: bool = False
    yes: bool = False
    keep_going: bool = False

    @property
    def mode(self) -> str:
        """do or plan."""
        return PLAN if self.plan else DO


@dataclass
class Run:
    """Carries out tasks and remembers what the hosts said."""

    cluster: Cluster
    options: Options
    report: Report
    config: Config
    journal: Journal
    passwords: Passwords
    _connections: Any = None
    _facts: dict[Fact, dict[str, Any]] = field(default_factory=dict)
    _lost: dict[str, str] = field(default_factory=dict)
    _noted: dict[str, set[str]] = field(default_factory=dict)

    def close(self) -> None:
        """Close the connections."""
        if self._connections:
            self._connections.close()

    @property
    def exit_code(self) -> int:
        """0, 1 if anything failed or is in error, else 3 if a host was unreachable."""
        codes = {result.exit_code for result in self.report.results}
        return next((code for code in (FAILED, UNREACHABLE) if code in codes), 0)

    @property
    def lost(self) -> dict[str, str]:
        """Hosts that were unreachable, and how."""
        return dict(self._lost)

    @property
    def connections(self) -> Any:
        """The run's connections; made at first use, in the main thread."""
        if self._connections is None:
            from .transport import Connections

            hosts = list(self.cluster.hosts.values())
            self._connections = Connections(self.cluster, self.config, self.passwords, hosts)
        return self._connections

    def hosts_for(self, work: Work, within: Optional[Section] = None) -> list[Host]:
        """The hosts of -H that a task is for, or all that it is for; UsageError for an outsider."""
        allowed = self._on(work.on)
        if not allowed and within:
            return []
        if not allowed:
            raise UsageError(f"{work.name} is for no host of {self.cluster.file.name}.")
        if not self.options.hosts:
            return allowed
        chosen = self.cluster.select(self.options.hosts)
        names = {host.name for host in allowed}
        outsiders = [host.name for host in chosen if host.name not in names]
        if outsiders and not within:
            raise UsageError(
                f"{work.name} is not for {', '.join(outsiders)}; "
                f"it is for {', '.join(host.name for host in allowed)}."
            )
        return [host for host in chosen if host.name in names]

    def perform(self, work: Work, options: dict[str, Any]) -> bool:
        """Carry out one task; False if the next one should not start."""
        hosts = self.hosts_for(work)
        if not isinstance(work, WholeSection):
            return self._perform(work, hosts, options)
        for part in work.section.in_order():
            part_hosts = self.hosts_for(part, within=work.section)
            if part_hosts and not self._perform(part, part_hosts, {}):
                return False
        return True

    def _perform(self, work: Work, hosts: list[Host], options: dict[str, Any]) -> bool:
        if isinstance(work, ControllerTask):
            return self._on_controller(work, hosts, options)
        if isinstance(work, ProcedureTask):
            return self._proceed(work, hosts, options)
        if isinstance(work, TableTask):
            return self._tabulate(work)
        if self.options.dry:
            self._show(work, hosts)
            return True
        if isinstance(work, CheckTask):
            self._check(work, hosts)
            return True
        if isinstance(work, StepTask):
            batches = work.rolling(self, hosts) if work.rolling else [hosts]
            fine = all(self._carry_out(work, list(batch)) for batch in batches)
            return fine or self.options.keep_going
        raise TypeError(work)

    def _on_controller(
        self, work: ControllerTask, hosts: list[Host], options: dict[str, Any]
    ) -> bool:
        if self.options.dry:
            self.report.say(f"# {work.name} runs on this machine: {work.doc.splitlines()[0]}")
            return True
        before = len(self.report.results)
        self.report.task_begins(work.name, work.doc, hosts, self.options.mode)
        work.function(self, hosts, **options)
        self.report.task_ends()
        return self.options.keep_going or all(
            result.fine for result in self.report.results[before:]
        )

    def _proceed(self, work: ProcedureTask, hosts: list[Host], options: dict[str, Any]) -> bool:
        """Stage after stage; the first one that is not fine is the last."""
        if self.options.dry:
            self.report.say(f"# {work.name} depends on what the hosts say; look at --plan")
            return True
        facts = self.gather(work.needs, hosts)
        for part in work.function(hosts, self.cluster, facts, **options):
            if isinstance(part, Question):
                self.report.say(part.text)
                if self.options.plan or self.agreed():
                    continue
                raise RunbookError("Nothing was done.")
            self.report.task_begins(work.name, part.title, part.hosts, self.options.mode)
            results = self.each(part.hosts, self._taking(work, part))
            self.report.task_ends()
            if not all(result.fine for result in results):
                return False
        return True

    def _taking(self, work: ProcedureTask, part: Stage) -> Callable[[Host], HostResult]:
        def take(host: Host) -> HostResult:
            result = HostResult(work.name, host.name, self.options.mode, again="the same again")
            return self._converse(result, host, part.of(host), [], self.options.mode)

        return take

    def agreed(self) -> bool:
        """Whether the user says yes, here or with --yes."""
        if self.options.yes:
            return True
        if not sys.stdin.isatty():
            raise UsageError("Nobody is there to answer: run it on a terminal, or say --yes.")
        self.report.close()
        return input("Go on? [yes/no] ") == "yes"

    def _tabulate(self, work: TableTask) -> bool:
        if self.options.dry:
            self.report.say(f"# {work.name} changes nothing")
            return True
        facts = self.gather(work.needs, self._on(work.on))
        self.report.table(work.name, work.function(self.cluster, facts))
        for name in sorted(self._lost):
            self.each([self.cluster.hosts[name]], lambda host: HostResult(work.name, host.name, DO))
        return True

    def _show(self, work: Work, hosts: list[Host]) -> None:
        if not isinstance(work, (StepTask, CheckTask)):
            raise TypeError(work)
        shown = work.commands(hosts, self.cluster)
        self.report.commands(work.name, work.doc, shown)

    def _carry_out(self, work: StepTask, hosts: list[Host]) -> bool:
        takers = work.taken_by(hosts, self.cluster)
        self.report.task_begins(work.name, work.doc, takers, self.options.mode)
        facts = self.gather(work.needs, takers)
        batches = work.batches(takers, self.cluster) if work.batches else [takers]
        going = True
        for batch in batches:
            results = self.each(batch, lambda host: self._bring(work, host, facts, hosts))
            going = all(result.fine for result in results)
            if not going:
                break  # even with --keep-going: the next batch is of the same clusters
        self.report.task_ends()
        return going

    def _bring(self, work: StepTask, host: Host, facts: Facts, hosts: Sequence[Host]) -> HostResult:
        result = HostResult(work.name, host.name, self.options.mode)
        result.again = "the same again" if work.by else ""
        try:
            steps = list(work.steps(host, self.cluster, facts, hosts))
        except RunbookError as error:
            result.status = self._without_steps(error)
            result.sentence = str(error)
            return result
        return self._converse(result, host, steps, [], self.options.mode, work.bootstrap)

    def _without_steps(self, error: RunbookError) -> str:
        """The status of a host that a task has no steps for; what concerns the run is raised."""
        if error.exit_code == USAGE:
            raise error
        missing = isinstance(error, MissingFact)
        return (
            UNKNOWN if missing and (self.options.plan or self.report.mode == CHECK) else "refused"
        )

    def _check(self, work: CheckTask, hosts: list[Host]) -> None:
        section = work.section
        self.report.task_begins(work.name, work.doc, hosts, CHECK)
        needs = [fact for task in section.step_tasks() for fact in task.needs]
        facts = self.gather(dict.fromkeys([*needs, *section.verdict_needs]), hosts)
        self.each(hosts, lambda host: self._judge(work, host, facts))
        if section.verdict_function:
            verdict = HostResult(work.name, TOGETHER, CHECK)
            for finding in section.verdict_function(self.cluster, facts):
                verdict.add(StepResult(finding.title, "").judged(finding.verdict, finding.fix))
            self.conclude(verdict)
        self.report.task_ends()

    def _judge(self, work: CheckTask, host: Host, facts: Facts) -> HostResult:
        result = HostResult(work.name, host.name, CHECK)
        steps: list[Step] = []
        for task in work.section.step_tasks():
            on = self._on(task.on)
            if host not in task.taken_by(on, self.cluster):
                continue
            try:
                steps += task.steps(host, self.cluster, facts, on)
            except RunbookError as error:
                status = self._without_steps(error)
                result.add(StepResult(task.name, "", status, output=[str(error)]))
        once = list(dict.fromkeys(steps))  # tasks may share a step
        questions = list(work.section.questions(host, self.cluster))
        return self._converse(result, host, once, questions, CHECK)

    def take(
        self, task: str, host: Host, steps: list[Step], mode: str, bootstrap: bool = False
    ) -> HostResult:
        """Some steps of a task on one host, outside of the task as a whole."""
        return self._converse(HostResult(task, host.name, mode), host, steps, [], mode, bootstrap)

    def _converse(
        self,
        result: HostResult,
        host: Host,
        steps: list[Step],
        probes: list[Probe],
        mode: str,
        bootstrap: bool = False,
    ) -> HostResult:
        """One script, one answer; what went wrong ends up in the result."""
        if mode == DO:
            self._keep_secrets()
        script = compile_script(
            steps, probes, mode, self.journal.who, self._noted.get(host.name, ())
        )
        offset = len(script.parts) - len(probes)
        began = time.monotonic()

        def progress(reader: Reader) -> None:
            title = reader.current.title if reader.current else ""
            self.report.progress(host, title, len(reader.results), len(script.parts))

        try:
            self.connections.open(host, bootstrap)
            reader = self.connections.run(host, script, progress)
        except SettingsError:
            raise
        except RunbookError as error:
            result.status = "unreachable" if isinstance(error, UnreachableError) else "failed"
            result.sentence = str(error)
            if isinstance(error, UnreachableError):
                self._lost[host.name] = str(error)
            return result
        finally:
            result.seconds = time.monotonic() - began
        for part in reader.results:
            if part.index >= offset:
                self._give_verdict(part, probes[part.index - offset])
            elif part.status == "changed" and any(step.tells for step in steps[part.index :][:1]):
                part.status = "ran"  # what is behind the steps are their handlers
            result.add(part)
        if mode == PLAN:
            self._note(host, reader, steps)
        if reader.rebooting and reader.current:
            self._await_reboot(result, host, reader.current)
        elif reader.holder is not None:
            result.status = "refused"
            result.sentence = (
                f"{host.name}: another run is at work there, by {reader.holder}; "
                "wait for it, or end it, then rerun."
            )
        elif not reader.finished and not result.count("refused", *BROKEN):
            result.status = "failed"
            step = f" at: {reader.current.title}" if reader.current else ""
            result.sentence = f"{host.name}: the script ended early{step}. Rerunning is safe."
        result.seconds = time.monotonic() - began
        return result

    def _keep_secrets(self) -> None:
        """What was made up is on disk before a host may have learnt it."""
        names = self.cluster.vault.keep()
        if names:
            self.report.say(f"  made up and kept in {self.cluster.vault.file}: {', '.join(names)}")

    def _note(self, host: Host, reader: Reader, steps: list[Step]) -> None:
        noted = self._noted.setdefault(host.name, set())
        for part in reader.results:
            if part.status == "differs" and part.index < len(steps):
                step = steps[part.index]
                noted.update(handler.name for handler in step.notify if not handler.apply)
                noted.difference_update(handler.name for handler in step.clears)

    def _give_verdict(self, part: StepResult, question: Probe) -> None:
        verdict = question.verdict(Answer("\n".join(part.output), part.code))
        part.judged(verdict, question.fix)

    def _await_reboot(self, result: HostResult, host: Host, part: StepResult) -> None:
        """Wait until the host answers with another boot id and has settled."""
        old = part.output[0] if part.output else ""
        deadline = time.monotonic() + REBOOT_PATIENCE
        while time.monotonic() < deadline:
            self.report.progress(host, "rebooting", 0, 1)
            self.connections.drop(host)
            time.sleep(0.5 + random.random() / 2)
            try:
                self.connections.open(host)
                answer = next(iter(self._ask(host, [SETTLED])), Answer(""))
            except RunbookError:  # refused logins too: as long as it boots, only root gets in
                continue
            if answer.words and answer.words[0] != old:
                part.status, part.output = "changed", []
                result.add(part)
                if "degraded" in answer.text:
                    title = "a unit failed since the reboot: look at systemctl --failed"
                    result.add(StepResult(title, "", "warn"))
                return
        part.status = "failed"
        result.add(part)
        result.sentence = f"{host.name} did not come back within {REBOOT_PATIENCE} s of its reboot."

    def _ask(self, host: Host, commands: Sequence[str]) -> list[Answer]:
        """Questions over the host's open connection; as many answers as it gave."""
        probes = [probe("", command, lambda answer: Verdict(OK)) for command in commands]
        reader = self.connections.run(host, compile_script([], probes, CHECK), lambda reader: None)
        return [Answer("\n".join(part.output), part.code) for part in reader.results]

    def gather(self, facts: Iterable[Fact], hosts: Sequence[Host]) -> Facts:
        """Ask the hosts that know, all in one go; one without an answer has no such fact."""
        wanted: dict[str, list[Fact]] = {}
        for fact in facts:
            if any(host in self._on(fact.used_by) for host in hosts):
                self._facts[fact] = {}
                for host in self._on(fact.on):
                    wanted.setdefault(host.name, []).append(fact)

        def ask(host: Host) -> None:
            if host.name in self._lost:
                return
            try:
                self.connections.open(host)
                found = answered(self.cluster, host, wanted[host.name], self._ask)
            except SettingsError:
                raise
            except RunbookError as error:
                if isinstance(error, UnreachableError):
                    self._lost[host.name] = str(error)
                return
            for fact, value in found.items():
                self._facts[fact][host.name] = value

        self.parallel([self.cluster.hosts[name] for name in wanted], ask)
        return Facts(self._facts)

    def each(
        self, hosts: Sequence[Host], function: Callable[[Host], HostResult]
    ) -> list[HostResult]:
        """Results of all hosts; one that was lost earlier in this run is not tried again."""

        def guarded(host: Host) -> HostResult:
            result = (
                HostResult(
                    self.report.task,
                    host.name,
                    self.report.mode,
                    "unreachable",
                    self._lost[host.name],
                )
                if host.name in self._lost
                else function(host)
            )
            self.conclude(result)
            return result

        return self.parallel(hosts, guarded)

    def conclude(self, result: HostResult) -> None:
        """Into the report, and into the journal."""
        result.settle()
        self.report.host_done(result)
        about = {"task": result.task, "host": result.host, "mode": self.report.mode}
        for part in result.parts:
            if part.status != "ok":
                seconds = round(part.seconds, 2)
                self.journal.write(**about, step=part.title, result=part.status, seconds=seconds)
        why = {"why": result.sentence} if result.sentence else {}
        seconds = round(result.seconds, 2)
        self.journal.write(**about, result=result.status, seconds=seconds, **why)

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

    def _on(self, on: On) -> list[Host]:
        return hosts_on(on, self.cluster)
