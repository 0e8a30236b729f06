"""`inv runbook.log`, `runs` and `diff`: what was done."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invoke import Context, task

from runbook.errors import UsageError
from runbook.execute.session import in_sentences
from runbook.visible import in_json

if TYPE_CHECKING:
    from .entries import Entry, RunEntries

LAST = 20
COLUMNS = ("when", "run", "who", "mode", "task", "host", "result")

LOG_HELP = {
    "last": f"how many entries (default: {LAST}, or all of --run and --since)",
    "host": "only this host",
    "task": "only this task, or a section's tasks",
    "run": "only this run; the beginning of its id is enough",
    "failed": "only what failed, was refused, unreachable or in error",
    "since": "only later than: 90m, 2h, 3d, 14:30, 2026-11-22, '2026-11-22 14:30'",
    "json": "as JSON lines",
}


@task(help=LOG_HELP)
@in_sentences
def log(
    c: Context,
    last: int = 0,
    host: str = "",
    task: str = "",
    run: str = "",
    failed: bool = False,
    since: str = "",
    json: bool = False,
) -> None:
    """Show the journal: who did what on which host, when, and how it went."""
    from .entries import Filter, journal

    found = Filter(host, task, run, failed, since).of(journal(_state()))
    shown = found[-_count(last, not (run or since), len(found)) :] if found else []
    if json:
        for entry in shown:
            print(in_json(entry.data))
        return
    if not shown:
        print("The journal has no such entries.")
        return
    _table([_row(entry) for entry in shown], [*COLUMNS, "step, or why"])


def _count(last: int, limited: bool, all_of_them: int) -> int:
    if last < 0:
        raise UsageError("--last takes a number of entries, such as 20.")
    return last or (LAST if limited else all_of_them)


def _row(entry: Entry) -> list[str]:
    return [*map(entry.text, COLUMNS), entry.text("step") or entry.text("why")]


@task(help={"last": f"how many runs (default: {LAST})", "json": "as JSON lines"})
@in_sentences
def runs(c: Context, last: int = LAST, json: bool = False) -> None:
    """List the runs in the journal: who, when, what, on how many hosts, how it went."""
    from .entries import journal
    from .entries import runs as put_together

    if last < 1:
        raise UsageError("--last takes a number of runs, such as 20.")
    rows = [_about(run) for run in put_together(journal(_state()))][-last:]
    if json:
        for row in rows:
            print(in_json(row))
        return
    for row in rows:
        row["run"] = row["run"] or "(no id)"
        row["tasks"] = _shortened(row["tasks"])
    _table([list(row.values()) for row in rows], list(rows[0]) if rows else [])


def _about(run: RunEntries) -> dict[str, Any]:
    from .entries import WRONG

    first = run.entries[0]
    return {
        "run": run.id,
        "when": first.text("when"),
        "who": first.text("who"),
        "mode": " ".join(run.modes),
        "tasks": run.tasks,
        "hosts": len(run.hosts),
        "changed": run.count("changed", "ran"),
        "differs": run.count("differs"),
        "wrong": run.count(*WRONG),
        "seconds": round(run.seconds, 1),
    }


def _shortened(tasks: list[str]) -> str:
    if len(tasks) <= 2:
        return " ".join(tasks)
    return f"{tasks[0]} … {tasks[-1]} ({len(tasks)})"


DIFF_HELP = {
    "a": "a run, by its id or the beginning of it (default: the one before b with the same tasks)",
    "b": "another run (default: the last one)",
    "json": "as one JSON document",
}


@task(positional=["a", "b"], help=DIFF_HELP)
@in_sentences
def diff(c: Context, a: str = "", b: str = "", json: bool = False) -> None:
    """Show what two runs did differently: tasks, hosts, steps, results, seconds."""
    from .difference import differences
    from .entries import journal

    first, second = _pair(journal(_state()), a, b)
    found = differences(first, second)
    if json:
        document = {
            "a": first.id,
            "b": second.id,
            "differences": [asdict(one) for one in found],
        }
        print(in_json(document, indent=2))
        return
    for name, run in (("a", first), ("b", second)):
        about = _about(run)
        print(f"{name}: {run.id}, {about['when']}, {about['who']}, {_shortened(run.tasks)}")
    if not found:
        print("The two runs did the same.")
        return
    print()
    _table(
        [[one.task, _hosts(one.hosts), one.step, one.a, one.b] for one in found],
        ["task", "hosts", "step", "a", "b"],
    )


def _pair(entries: list[Entry], a: str, b: str) -> tuple[RunEntries, RunEntries]:
    from .entries import found_run
    from .entries import runs as put_together

    known = {run.id: run for run in put_together(entries) if run.id}
    if len(known) < 2:
        raise UsageError("The journal does not have two runs to compare yet.")
    last = known[found_run(b, entries)] if b else list(known.values())[-1]
    if a:
        return known[found_run(a, entries)], last
    earlier = list(known.values())[: list(known).index(last.id)]
    alike = [one for one in earlier if (one.tasks, one.modes) == (last.tasks, last.modes)]
    if not alike:
        raise UsageError(
            f"No run before {last.id} had the same tasks. Name two runs; see inv runbook.runs"
        )
    return alike[-1], last


def _hosts(names: tuple[str, ...]) -> str:
    if len(names) <= 4:
        return ", ".join(names)
    return f"{', '.join(names[:3])} and {len(names) - 3} more"


def _state() -> Path:
    from ..session import configured

    return configured().state


def _table(rows: list[list[Any]], headers: list[str]) -> None:
    from tabulate import tabulate

    print(tabulate(rows, headers=headers, floatfmt=".1f", disable_numparse=[0, 1]))
