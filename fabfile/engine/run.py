"""One call of `fab`: its tasks, on its hosts, over one connection each."""

from __future__ import annotations

import random
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
    MissingFact,
    RunbookError,
    SettingsError,
    UnreachableError,
    UsageError,
)
from .journal import Journal
from .probes import ERROR, OK, UNKNOWN, WARN, Answer, Probe, Verdict, probe
from .report import Report
from .results import BROKEN, HostResult
from .script import CHECK, DO, PLAN, Reader, StepResult, compile_script
from .secrets import Passwords
from .section import (
    CheckTask,
    ControllerTask,
    Fact,
    Facts,
    On,
    Section,
    StepTask,
    WholeSection,
    Work,
)
from .steps import Step

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
        if not allowed:
            raise UsageError(f"{work.name}: no host of {self.cluster.file.name} has that role.")
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
        if self.options.dry:
            self._show(work, hosts)
            return True
        if isinstance(work, CheckTask):
            self._check(work, hosts)
            return True
        if isinstance(work, StepTask):
            return self._carry_out(work, hosts)
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

    def _show(self, work: Work, hosts: list[Host]) -> None:
        if isinstance(work, CheckTask):
            shown = {host.name: self._commands(self._probes(work, host)) for host in hosts}
        elif isinstance(work, StepTask):
            shown = {host.name: self._typed(work, host) for host in hosts}
        else:
            raise TypeError(work)
        self.report.commands(work.name, work.doc, shown)

    def _typed(self, work: StepTask, host: Host) -> list[tuple[str, str]]:
        try:
            steps = list(work.steps(host, self.cluster, Facts()))
        except MissingFact as error:
            return [(f"unknown without asking a host: {error}", "")]
        handlers = {handler.name: handler for step in steps for handler in step.notify}
        return [
            *((step.title, step.shown) for step in steps),
            *((handler.title, handler.apply) for handler in handlers.values() if handler.apply),
        ]

    def _commands(self, probes: Iterable[Probe]) -> list[tuple[str, str]]:
        return [(question.title, question.command) for question in probes]

    def _carry_out(self, work: StepTask, hosts: list[Host]) -> bool:
        self.report.task_begins(work.name, work.doc, hosts, self.options.mode)
        facts = self._gather(work.needs, hosts)
        batches = work.batches(hosts, self.cluster) if work.batches else [hosts]
        going = True
        for batch in batches:
            results = self.each(batch, lambda host: self._bring(work, host, facts))
            going = all(result.fine for result in results)
            if not going:
                break  # even with --keep-going: the next batch is of the same clusters
        self.report.task_ends()
        return going or self.options.keep_going

    def _bring(self, work: StepTask, host: Host, facts: Facts) -> HostResult:
        result = HostResult(work.name, host.name, self.options.mode)
        try:
            steps = list(work.steps(host, self.cluster, facts))
        except MissingFact as error:
            result.status = "unknown" if self.options.plan else "refused"
            result.sentence = str(error)
            return result
        return self._converse(result, host, steps, [], self.options.mode, work.bootstrap)

    def _check(self, work: CheckTask, hosts: list[Host]) -> None:
        self.report.task_begins(work.name, work.doc, hosts, CHECK)
        needs = [fact for task in work.section.step_tasks() for fact in task.needs]
        facts = self._gather(dict.fromkeys(needs), hosts)
        self.each(hosts, lambda host: self._judge(work, host, facts))
        self.report.task_ends()

    def _judge(self, work: CheckTask, host: Host, facts: Facts) -> HostResult:
        result = HostResult(work.name, host.name, CHECK)
        steps: list[Step] = []
        for task in work.section.step_tasks():
            if host not in self._on(task.on):
                continue
            try:
                steps += task.steps(host, self.cluster, facts)
            except MissingFact as error:
                result.add(StepResult(task.name, "", UNKNOWN, output=[str(error)]))
        return self._converse(result, host, steps, list(self._probes(work, host)), CHECK)

    def _probes(self, work: CheckTask, host: Host) -> Iterable[Probe]:
        return work.section.probes(host, self.cluster) if work.section.probes else ()

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
        elif not reader.finished and not result.count(*BROKEN):
            result.status = "failed"
            step = f" at: {reader.current.title}" if reader.current else ""
            result.sentence = f"{host.name}: the script ended early{step}. Rerunning is safe."
        result.seconds = time.monotonic() - began
        return result

    def _note(self, host: Host, reader: Reader, steps: list[Step]) -> None:
        noted = self._noted.setdefault(host.name, set())
        for part in reader.results:
            if part.status == "differs" and part.index < len(steps):
                handlers = steps[part.index].notify
                noted.update(handler.name for handler in handlers if not handler.apply)

    def _give_verdict(self, part: StepResult, question: Probe) -> None:
        verdict = _verdict(question, Answer("\n".join(part.output), part.code))
        part.status = {OK: "ok", WARN: "warn", ERROR: "error", UNKNOWN: "unknown"}[verdict.level]
        if verdict.sentence:
            part.title += f": {verdict.sentence}"
        part.output = [f"mend it with: {question.fix}"] if question.fix else []

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
                answer = self._ask(host, SETTLED)
            except RunbookError:  # refused logins too: as long as it boots, only root gets in
                continue
            if answer and answer.words and answer.words[0] != old:
                part.status, part.output = "changed", []
                result.add(part)
                if "degraded" in answer.text:
                    title = "a unit failed since the reboot: look at systemctl --failed"
                    result.add(StepResult(title, "", "warn"))
                return
        part.status = "failed"
        result.add(part)
        result.sentence = f"{host.name} did not come back within {REBOOT_PATIENCE} s of its reboot."

    def _ask(self, host: Host, command: str) -> Optional[Answer]:
        """One question over the host's open connection."""
        script = compile_script([], [probe("", command, lambda answer: Verdict(OK))], CHECK)
        reader = self.connections.run(host, script, lambda reader: None)
        if not reader.finished or not reader.results:
            return None
        return Answer("\n".join(reader.results[0].output), reader.results[0].code)

    def _gather(self, facts: Iterable[Fact], hosts: Sequence[Host]) -> Facts:
        """Ask the hosts that know; one without an answer has no such fact."""
        for fact in facts:
            if not any(host in self._on(fact.used_by) for host in hosts):
                continue
            self._facts[fact] = {}

            def ask(host: Host, fact: Fact = fact) -> None:
                if host.name in self._lost:
                    return
                try:
                    self.connections.open(host)
                    answer = self._ask(host, fact.command(self.cluster))
                except SettingsError:
                    raise
                except RunbookError as error:
                    if isinstance(error, UnreachableError):
                        self._lost[host.name] = str(error)
                    return
                if answer and answer.code == 0 and answer.text.strip():
                    self._facts[fact][host.name] = fact.parse(answer.text)

            self.parallel(self._on(fact.on), ask)
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
            result.settle()
            self.report.host_done(result)
            for part in result.parts:
                if part.status != "ok":
                    self.journal.write(
                        task=result.task,
                        host=host.name,
                        mode=self.report.mode,
                        step=part.title,
                        result=part.status,
                        seconds=round(part.seconds, 2),
                    )
            self.journal.write(
                task=result.task,
                host=host.name,
                mode=self.report.mode,
                result=result.status,
                seconds=round(result.seconds, 2),
                **({"why": result.sentence} if result.sentence else {}),
            )
            return result

        return self.parallel(hosts, guarded)

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
        return self.cluster.group(on) if isinstance(on, str) else list(on(self.cluster))

    def ad_hoc(self, command: str) -> None:
        """Run a command as the login user on every host of -H, side by side."""
        hosts = self.cluster.select(self.options.hosts)
        if self.options.dry:
            self.report.commands("command", "", {host.name: [("", command)] for host in hosts})
            return
        self.report.task_begins("command", command, hosts, DO)

        def one(host: Host) -> HostResult:
            result = HostResult("command", host.name, DO)
            began = time.monotonic()
            part = StepResult(command, command)
            try:
                self.connections.open(host)
                part.code, part.output = self.connections.command(host, command)
            except SettingsError:
                raise
            except RunbookError as error:
                unreachable = isinstance(error, UnreachableError)
                result.status = "unreachable" if unreachable else "failed"
                result.sentence = str(error)
                return result
            part.seconds = result.seconds = time.monotonic() - began
            part.status = "failed" if part.code else "ran"
            result.add(part)
            return result

        self.each(hosts, one)
        self.report.task_ends()


def _verdict(question: Probe, answer: Answer) -> Verdict:
    try:
        return question.judge(answer)
    except (ValueError, IndexError, KeyError):
        return Verdict(UNKNOWN, f"not understood: {answer.text.strip()[:120] or 'no answer'}")
