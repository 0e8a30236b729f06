"""What the user sees: progress while it runs, one line for what matters, a recap at the end."""

from __future__ import annotations

import getpass
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any, Callable, Optional, TextIO

from runbook.inventory.cluster import Host
from runbook.output.document import by_host, document
from runbook.output.terminal import drawable
from runbook.results import BROKEN, CHECK, DO, PLAN, HostResult, Mode, Status, StepResult, gravest
from runbook.secrets.mask import Mask
from runbook.visible import in_json, visible

LAST_LINES = 12
"""Lines of a failed command's output that the report repeats."""

PATIENCE = 5
"""Seconds after which a task without a terminal says which hosts have finished."""

COUNTED = {
    DO: ("changed", (Status.CHANGED,)),
    PLAN: ("would change", (Status.DIFFERS,)),
    CHECK: ("not fine", (Status.DIFFERS, Status.ERROR, Status.WARN)),
}
"""For each mode: what the recap counts of its tasks, and the heading above it."""

COMMAND = "command"
"""The task name of `fab -H … -- command`."""


UNREMARKABLE = {Status.OK, Status.RAN, Status.CHANGED, Status.DIFFERS}
"""Statuses that the recap does not name."""


class Report:
    """Plain lines, prefixed with their hosts; on a terminal also a live line per host at work."""

    def __init__(
        self,
        mask: Mask,
        as_json: bool = False,
        order: Sequence[str] = (),
        stream: Optional[TextIO] = None,
    ) -> None:
        self._task = ""
        self._mode = DO
        self._mask = mask
        self._as_json = as_json
        self._order = {host: position for position, host in enumerate(order)}
        self.stream = stream or sys.stdout
        self._lock = threading.Lock()
        self._began = self._task_began = time.monotonic()
        self._of_task: list[HostResult] = []
        self._messages: list[str] = []
        self._tables: dict[str, list[dict[str, Any]]] = {}
        self._live: Any = None
        self._patience: float = PATIENCE
        self._at_work: dict[str, str] = {}

    def separate(self, stream: TextIO, later: bool = False) -> Report:
        """A report of tasks that run at the same time as others, on a stream of its own.

        `later`: its output is read after the run, so that it shows no progress.
        """
        report = Report(self._mask, self._as_json, list(self._order), stream)
        report._patience = float("inf") if later else PATIENCE
        return report

    def take(self, other: Report) -> None:
        """Add the messages and tables of another report to this one."""
        self._messages += other._messages
        self._tables.update(other._tables)

    def say(self, text: str = "") -> None:
        """A line for the user; with --json it goes to `messages`."""
        text = self._mask(text)
        if self._as_json:
            self._messages.append(text)
        else:
            print(visible(text), file=self.stream, flush=True)

    def masked(self, value: Any) -> Any:
        """`value` without secrets, for those who print it themselves."""
        return self._mask.all(value)

    def task_begins(self, name: str, doc: str, hosts: Sequence[Host], mode: Mode) -> None:
        """Show that a task starts on these hosts."""
        self._task, self._mode = name, mode
        self._of_task = []
        self._task_began = time.monotonic()
        on = hosts[0].name if len(hosts) == 1 else f"{len(hosts)} hosts"
        self.say(f"{'plan of ' if mode == PLAN else ''}{name} on {on}: {_first_line(doc)}")

    def progress(self, host: Host, step: str, done: int, total: int) -> None:
        """Show which step a host is at."""
        if self._as_json or not self.stream.isatty():
            return
        with self._lock:
            self._at_work[host.name] = f"{done}/{total} {step}"
            self._show_progress()

    def host_done(self, result: HostResult) -> None:
        """Show that a host has finished the task, whether it succeeded or not."""
        with self._lock:
            self._of_task.append(result)
            self._at_work.pop(result.host, None)
            if self._live:
                self._show_progress()
            elif self._takes_long() and self._task != COMMAND and not result.cluster_wide:
                self.say(f"  [{result.host}] {result.status} after {result.seconds:.0f} s")

    def _takes_long(self) -> bool:
        return time.monotonic() - self._task_began > self._patience

    def close(self) -> None:
        """Release the terminal, and forget which hosts were at work."""
        self._at_work.clear()
        if self._live:
            self._live.stop()
            self._live = None

    def ask(self, question: str) -> str:
        """Ask for a password on the terminal, without echo; no progress is shown meanwhile."""
        with self._lock:
            self.close()
            return getpass.getpass(question)

    def task_ends(self) -> None:
        """Show that all hosts have finished the task."""
        self.close()
        self._of_task.sort(key=self._position)
        if self._task == COMMAND:
            for result in self._of_task:
                self._command_output(result)
        else:
            self._findings()
        if self._of_task:
            seconds = time.monotonic() - self._task_began
            self.say(f"  {self._tally(self._of_task)} · {seconds:.1f} s")

    def commands(self, name: str, doc: str, shown: dict[str, list[tuple[str, str]]]) -> None:
        """Show the commands of a task as a person would type them as root, equal hosts together."""
        groups: dict[str, list[str]] = {}
        for host, commands in shown.items():
            lines = [f"# {title}\n{command}".strip() for title, command in commands]
            groups.setdefault("\n\n".join(lines), []).append(host)
        about = f": {_first_line(doc)}" if doc else ""
        for text, hosts in groups.items():
            self.say(f"## {name} on {', '.join(hosts)}{about}")
            self.say(f"{text or '# nothing to do'}\n")

    def table(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Show rows with the same keys; with --json they go to `tables`."""
        if self._as_json:
            self._tables[name] = rows
            return
        from tabulate import tabulate

        self.say(tabulate(rows, headers="keys"))

    def recap(self, results: Sequence[HostResult], exit_code: int) -> None:
        """Show failures in full, and a line per host."""
        if self._as_json:
            self._print_json(results, exit_code)
            return
        ran = sorted((result for result in results if result.task != COMMAND), key=self._position)
        if not ran:
            return
        self.failures(ran)
        from tabulate import tabulate

        modes = [mode for mode in COUNTED if any(result.mode == mode for result in ran)]
        rows = [_recap_row(host, results, modes) for host, results in by_host(ran).items()]
        self.say()
        headings = [COUNTED[mode][0] for mode in modes]
        headers = ["host", "ok", *headings, "failed", "seconds", ""]
        self.say(tabulate(rows, headers=headers, floatfmt=".1f"))
        seconds = time.monotonic() - self._began
        self.say(f"\n{self._tally(ran)} · {seconds:.1f} s in all")

    def _findings(self) -> None:
        """Show everything but ok, each only once if it is the same on several hosts."""
        groups: dict[tuple[Optional[Status], str, tuple[str, ...]], list[str]] = {}
        for result in self._of_task:
            for part in result.parts:
                if part.status == Status.OK and not result.cluster_wide:
                    continue
                quiet = part.status is Status.CHANGED or part.status in BROKEN
                lines = () if quiet else tuple(part.lines)
                groups.setdefault((part.status, part.said, lines), []).append(result.host)
            if result.sentence:
                groups.setdefault((result.status, result.sentence, ()), []).append(result.host)
        asked = [result for result in self._of_task if not result.cluster_wide]
        for (status, said, lines), hosts in groups.items():
            everywhere = len(hosts) > 1 and len(hosts) == len(asked)
            who = f"all {len(hosts)} hosts" if everywhere else ",".join(hosts)
            self.say(f"  [{who}] {self._word(status)}: {said}")
            for line in lines:
                self.say(f"      {line}")

    def _word(self, status: Optional[Status]) -> str:
        if status is Status.DIFFERS:
            return {PLAN: "would change", CHECK: "differs"}.get(
                self._mode, "not in the wanted state"
            )
        words = {Status.NO_EFFECT: "failed", Status.WARN: "warning", None: "unknown"}
        return words.get(status, str(status))

    def output_of(self, host: Host) -> Optional[Callable[[list[str]], None]]:
        """Prints lines of a host at once; None with --json, where all comes at the end."""
        if self._as_json:
            return None
        return lambda lines: self._print_lines(host.name, lines)

    def _print_lines(self, host: str, lines: Sequence[str]) -> None:
        if lines:
            self.say("\n".join(f"[{host}] {line}" for line in lines))

    def _command_output(self, result: HostResult) -> None:
        for part in result.parts:
            self._print_lines(result.host, part.output)
            if part.code:
                self.say(f"[{result.host}] exit code {part.code}")
        if result.sentence:
            self.say(f"[{result.host}] {result.status}: {result.sentence}")

    def failures(self, results: list[HostResult]) -> None:
        """Show failures in full, each only once if it is the same on several hosts."""
        groups: dict[Any, list[tuple[HostResult, StepResult]]] = {}
        for result in results:
            for part in result.parts:
                if part.status in BROKEN:
                    key = (result.task, part.title, part.status, part.code, tuple(part.output))
                    groups.setdefault(key, []).append((result, part))
        for failed in groups.values():
            result, part = failed[0]
            self._failure(",".join(one.host for one, _ in failed), result, part)

    def _failure(self, hosts: str, result: HostResult, part: StepResult) -> None:
        task = result.task
        self.say(f"\n{hosts} failed in {task} at: {part.title}")
        for line in part.command.splitlines()[:LAST_LINES]:
            self.say(f"    $ {line}")
        if part.status is Status.NO_EFFECT:
            self.say("  the commands succeeded, but the host is still not in the wanted state.")
        elif part.code in {124, 137}:
            self.say(f"  timed out after {part.seconds:.0f} s.")
        else:
            self.say(f"  exit code {part.code}")
        for line in _without_tracebacks(part.output)[-LAST_LINES:]:
            self.say(f"    {line}")
        for hint in _hints(part.output):
            self.say(f"  {hint}")
        self.say(f"  then rerun: {result.rerun or f'fab -H {hosts} {task}'}")

    def _tally(self, results: list[HostResult]) -> str:
        statuses = [gravest(result.status for result in own) for own in by_host(results).values()]
        return ", ".join(
            f"{statuses.count(status)} {self._word(status)}"
            for status in reversed(Status)
            if status in statuses
        )

    def _position(self, result: HostResult) -> int:
        return self._order.get(result.host, len(self._order))

    def _print_json(self, results: Sequence[HostResult], exit_code: int) -> None:
        told = document(results, self._tables, self._messages, exit_code)
        print(in_json(self._mask.all(told), indent=2), file=self.stream)

    def _show_progress(self) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        if not self._live:
            console = Console(file=drawable(self.stream))
            self._live = Live("", console=console, transient=True, refresh_per_second=8)
            self._live.start()
        lines = [f"  {host:<12} {step}" for host, step in sorted(self._at_work.items())]
        text = visible(self._mask("\n".join(lines)))
        self._live.update(Text(text, no_wrap=True, overflow="ellipsis", style="dim"))


def _first_line(doc: str) -> str:
    return next(iter(doc.strip().splitlines()), "")


def _recap_row(host: str, results: list[HostResult], modes: list[Mode]) -> list[Any]:
    status = gravest(result.status for result in results)
    return [
        host,
        sum(result.count(Status.OK) for result in results),
        *(
            sum(result.count(*COUNTED[mode][1]) for result in results if result.mode == mode)
            for mode in modes
        ),
        sum(result.count(*BROKEN) for result in results),
        sum(result.seconds for result in results),
        "" if status in UNREMARKABLE else str(status),
    ]


def _without_tracebacks(output: list[str]) -> list[str]:
    """A program's output, with Python tracebacks reduced to the exceptions that they end in."""
    kept, inside = [], False
    for line in output:
        if line.startswith("Traceback (most recent call last):"):
            inside = True
        elif not (inside and line.startswith(" ")):
            inside = False
            kept.append(line)
    return kept


def _hints(output: list[str]) -> Iterable[str]:
    text = "\n".join(output)
    if "No space left on device" in text:
        yield "a file system on that host is full: see df -h and df -i."
    if "Unable to find a match" in text or "No match for argument" in text:
        yield (
            "no repository of the host has a package of that name: "
            "check the spelling and dnf repolist."
        )
