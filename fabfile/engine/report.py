"""What the user sees: progress while it runs, one line for what matters, a recap at the end."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any, Callable, TextIO

from .inventory import Host
from .results import FAILED_PARTS, HostResult
from .script import CHECK, DO, PLAN, StepResult
from .secrets import Mask

PATIENCE = 5
"""Seconds after which a task without a terminal says which hosts have finished."""

LAST_LINES = 12
"""Lines of a failed command's output that the report repeats."""

WORDS = {
    "changed": "changed",
    "differs": "would change",
    "failed": "FAILED",
    "unconvinced": "FAILED",
    "warn": "warning",
    "unknown": "unknown",
    "ran": "ran",
}


class Report:
    """Plain lines, prefixed with the host; on a terminal also a live line per host at work."""

    def __init__(self, mask: Mask, as_json: bool = False, stream: TextIO | None = None) -> None:
        self.results: list[HostResult] = []
        self.order: list[str] = []
        self.task = ""
        self.mode = DO
        self.as_json = as_json
        self._mask = mask
        self._stream = stream or sys.stdout
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._task_began = self._began
        self._of_task: list[HostResult] = []
        self._messages: list[str] = []
        self._live: Any = None
        self._at_work: dict[str, str] = {}

    def say(self, text: str = "") -> None:
        """A line for the user; with --json it goes to `messages`."""
        text = self._mask(text)
        if self.as_json:
            self._messages.append(text)
        elif self._live:
            self._live.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=self._stream, flush=True)

    def task_begins(self, name: str, doc: str, hosts: Sequence[Host], mode: str) -> None:
        """A task starts on these hosts."""
        self.task, self.mode = name, mode
        self._of_task = []
        self._task_began = time.monotonic()
        verb = {PLAN: "plan of ", CHECK: "", DO: ""}[mode]
        about = doc.strip().splitlines()[0] if doc.strip() else ""
        on = hosts[0].name if len(hosts) == 1 else f"{len(hosts)} hosts"
        self.say(f"{verb}{name} on {on}: {about}")
        if not self.as_json and self._stream.isatty():
            self._start_live()

    def progress(self, host: Host, step: str, done: int, total: int) -> None:
        """A host is at a step."""
        if not self._live:
            return
        with self._lock:
            self._at_work[host.name] = f"{done}/{total} {step}"
            self._live.update(self._live_text())

    def host_done(self, result: HostResult) -> None:
        """A host has finished the task, one way or another."""
        with self._lock:
            self.results.append(result)
            self._of_task.append(result)
            self._at_work.pop(result.host, None)
            if self._live:
                self._live.update(self._live_text())
            if result.task == "command":
                self._ad_hoc(result)
            elif not self._live and time.monotonic() - self._task_began > PATIENCE:
                self.say(f"  [{result.host}] {result.status} after {result.seconds:.0f} s")

    def task_ends(self) -> None:
        """All hosts have finished the task."""
        if self._live:
            self._live.update("")
            self._live.stop()
            self._live = None
        self._of_task.sort(key=lambda result: self._position(result.host))
        if self.task != "command":
            for results in _alike(self._of_task):
                self._parts(self._names(results), results[0])
        seconds = time.monotonic() - self._task_began
        tally = ", ".join(self._tally(self._of_task))
        if tally:
            self.say(f"  {tally} · {seconds:.1f} s")

    def commands(self, name: str, doc: str, shown: dict[str, list[tuple[str, str]]]) -> None:
        """The commands of a task, as a person would type them as root; alike hosts together."""
        groups: dict[str, list[str]] = {}
        for host, commands in shown.items():
            lines = [f"# {title}\n{command}".strip() for title, command in commands]
            groups.setdefault("\n\n".join(lines), []).append(host)
        about = doc.strip().splitlines()[0] if doc.strip() else ""
        for text, hosts in groups.items():
            self.say(f"## {name} on {', '.join(hosts)}" + (f": {about}" if about else ""))
            self.say(f"{text or '# nothing to do'}\n")

    def recap(self, exit_code: int) -> None:
        """Failures in full, a line per host, and what to type next."""
        if self.as_json:
            self._print_json(exit_code)
            return
        self._failures()
        ran = [result for result in self.results if result.task != "command"]
        if not ran:
            return
        from tabulate import tabulate

        rows = [_recap_row(host, results) for host, results in self._in_order(ran)]
        planned = all(result.mode != DO for result in ran)
        columns = ["host", "ok", "would change" if planned else "changed", "failed", "seconds", ""]
        if any(result.mode == CHECK for result in ran) and planned:
            columns[2] = "differs"
        self.say()
        self.say(tabulate(rows, headers=columns, floatfmt=".1f"))
        seconds = time.monotonic() - self._began
        self.say(f"\n{', '.join(self._tally(ran, hosts_only=True))} · {seconds:.1f} s in all")

    def _parts(self, who: str, result: HostResult) -> None:
        for part in result.parts:
            if part.status in {"ok", "answer"}:
                continue
            word = WORDS.get(part.status, part.status)
            if self.mode == CHECK and part.status == "differs":
                word = "differs"
            elif self.mode == DO and part.status == "differs":
                word = "not as wanted"
            self.say(f"  [{who}] {word}: {part.title}")
            if part.status in {"differs", "warn", "unknown"}:
                for line in part.output:
                    self.say(f"      {line}")
        if result.sentence:
            self.say(f"  [{who}] {result.status}: {result.sentence}")

    def _ad_hoc(self, result: HostResult) -> None:
        for part in result.parts:
            for line in part.output:
                self.say(f"[{result.host}] {line}")
            if part.code:
                self.say(f"[{result.host}] exit code {part.code}")
        if result.sentence:
            self.say(f"[{result.host}] {result.status}: {result.sentence}")

    def _failures(self) -> None:
        failed = [
            result
            for result in self.results
            if result.count(*FAILED_PARTS) and result.task != "command"
        ]
        for results in _alike(failed):
            for part in results[0].parts:
                if part.status in FAILED_PARTS:
                    self._failure(results, part)

    def _failure(self, results: list[HostResult], part: StepResult) -> None:
        hosts = ",".join(sorted((result.host for result in results), key=self._position))
        task = results[0].task
        self.say(f"\n{hosts} failed in {task} at: {part.title}")
        for line in part.command.splitlines()[:LAST_LINES]:
            self.say(f"    $ {line}")
        if part.status == "unconvinced":
            self.say("  the commands succeeded, and yet the host is not as wanted afterwards.")
        elif part.code in {124, 137}:
            self.say(f"  it was ended after {part.seconds:.0f} s without a result.")
        else:
            self.say(f"  exit code {part.code}")
        for line in part.output[-LAST_LINES:]:
            self.say(f"    {line}")
        for hint in _hints(part.output):
            self.say(f"  {hint}")
        self.say(f"  when mended: fab -H {hosts} {task}")

    def _in_order(self, results: list[HostResult]) -> list[tuple[str, list[HostResult]]]:
        return sorted(_by_host(results).items(), key=lambda item: self._position(item[0]))

    def _position(self, host: str) -> int:
        return self.order.index(host) if host in self.order else len(self.order)

    def _names(self, results: list[HostResult]) -> str:
        if len(results) > 1 and len(results) == len(self._of_task):
            return f"all {len(results)} hosts"
        return ",".join(result.host for result in results)

    def _tally(self, results: list[HostResult], hosts_only: bool = False) -> list[str]:
        groups = [_worst(own) for own in _by_host(results).values()]
        order = ["ok", "ran", "changed", "differs", "warn", "unknown", "refused", "failed"]
        order.append("unreachable")
        words = {**WORDS, "differs": "differ" if self.mode == CHECK else "would change"}
        words["failed"] = "failed"
        return [
            f"{groups.count(status)} {words.get(status, status)}"
            for status in order
            if status in groups
        ]

    def _print_json(self, exit_code: int) -> None:
        tasks: dict[str, Any] = {}
        for result in self.results:
            entry = tasks.setdefault(result.task, {"mode": result.mode, "hosts": {}})
            entry["hosts"][result.host] = {
                "status": result.status,
                "seconds": round(result.seconds, 2),
                **({"why": result.sentence} if result.sentence else {}),
                "steps": [
                    {
                        "title": part.title,
                        "status": part.status,
                        "seconds": round(part.seconds, 2),
                        **({"code": part.code} if part.code else {}),
                        **({"output": part.output} if part.output else {}),
                    }
                    for part in result.parts
                ],
            }
        document = {
            "tasks": tasks,
            "hosts": {host: _worst(results) for host, results in _by_host(self.results).items()},
            **({"messages": self._messages} if self._messages else {}),
            "exit": exit_code,
        }
        text = json.dumps(_masked(document, self._mask), indent=2, ensure_ascii=False)
        print(text, file=self._stream)

    def _start_live(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._at_work = {}
        console = Console(file=self._stream)
        self._live = Live("", console=console, transient=True, refresh_per_second=8)
        self._live.start()

    def _live_text(self) -> Any:
        from rich.text import Text

        lines = [f"  {host:<12} {step}" for host, step in sorted(self._at_work.items())]
        return Text(self._mask("\n".join(lines)), no_wrap=True, overflow="ellipsis", style="dim")


def _masked(value: Any, mask: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, list):
        return [_masked(item, mask) for item in value]
    if isinstance(value, dict):
        return {key: _masked(item, mask) for key, item in value.items()}
    return value


def _by_host(results: Iterable[HostResult]) -> dict[str, list[HostResult]]:
    grouped: dict[str, list[HostResult]] = {}
    for result in results:
        grouped.setdefault(result.host, []).append(result)
    return grouped


def _worst(results: list[HostResult]) -> str:
    order = ["unreachable", "failed", "refused", "unknown", "differs", "warn", "changed", "ran"]
    statuses = {result.status for result in results}
    return next((status for status in order if status in statuses), "ok")


def _alike(results: list[HostResult]) -> list[list[HostResult]]:
    """Results that read the same, together."""
    groups: dict[Any, list[HostResult]] = {}
    for result in results:
        parts = tuple(
            (part.title, part.status, () if part.status == "changed" else tuple(part.output))
            for part in result.parts
            if part.status != "ok"
        )
        groups.setdefault((result.task, parts, result.status, result.sentence), []).append(result)
    return list(groups.values())


def _recap_row(host: str, results: list[HostResult]) -> list[Any]:
    status = _worst(results)
    failed = sum(result.count(*FAILED_PARTS) for result in results)
    return [
        host,
        sum(result.count("ok") for result in results),
        sum(result.count("changed", "differs") for result in results),
        failed,
        sum(result.seconds for result in results),
        status if status in {"unreachable", "refused", "failed", "unknown", "warn"} else "",
    ]


def _hints(output: list[str]) -> Iterable[str]:
    text = "\n".join(output)
    if "No space left on device" in text:
        yield "a file system on that host is full: look at df -h and df -i there."
    if "Unable to find a match" in text or "No match for argument" in text:
        yield "its repositories have no package of that name: check the spelling and dnf repolist."
