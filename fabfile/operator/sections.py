"""The runbook's sections as one thing: by name, and all their checks at the same time."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Callable, Optional

from ..engine.errors import RunbookError
from ..engine.results import TOGETHER, HostResult
from ..engine.script import CHECK

if TYPE_CHECKING:
    from ..engine.cluster import Cluster
    from ..engine.run import Run
    from ..engine.section import Work

CHECKS = "checks"
"""Stands for the checks of all sections."""

PATIENCE = 180
"""Seconds that a cluster gets to become what its checks want: heartbeats, replicas, copies."""


def work(name: str) -> Work:
    """A section, or a task of one, as `fab` would be told: postgres, airflow.smoke."""
    from .. import SECTIONS

    first, _, rest = name.partition(".")
    [section] = [one for one in SECTIONS if one.name == first]
    collection = section.collection()
    found: Work = collection[rest or collection.default].work
    return found


def names() -> list[str]:
    """The sections, in the runbook's order."""
    from .. import SECTIONS

    return [section.name for section in SECTIONS]


def has_hosts(name: str, cluster: Cluster) -> bool:
    """Whether any host of the inventory has to do with it."""
    if name == CHECKS:
        return True
    on = work(name).on
    return bool(cluster.group(on) if isinstance(on, str) else on(cluster))


def perform(run: Run, name: str, **options: Any) -> bool:
    """Carry it out; False if something went wrong."""
    return run.perform(work(name), options)


def refused(run: Run, task: str, error: RunbookError) -> None:
    """The task's end, in the report, for what concerns no single host."""
    run.report.say(f"  {error}")
    mode = CHECK if task.endswith(".check") else run.options.mode
    run.report.results.append(HostResult(task, TOGETHER, mode, "refused", str(error)))


def check(run: Run, sections: Optional[Sequence[str]] = None) -> None:
    """The checks of some sections, or of all, at the same time; told one after the other."""
    from ..engine.beside import at_the_same_time

    chosen = [
        name for name in names() if has_hosts(name, run.cluster) and name in (sections or names())
    ]
    told: dict[str, io.StringIO] = {name: io.StringIO() for name in chosen}

    def job(name: str) -> Any:
        def judge(own: Run) -> bool:
            try:
                perform(own, f"{name}.check")
            except RunbookError as error:
                refused(own, f"{name}.check", error)
            return True

        return judge

    if len(chosen) == 1:
        job(chosen[0])(run)
        return
    at_the_same_time(
        run,
        {name: job(name) for name in chosen},
        reports=lambda name: run.report.beside(told[name], later=True),
    )
    for name in chosen:
        if told[name].getvalue():
            run.report.say(told[name].getvalue().rstrip())


def green(results: Sequence[HostResult]) -> bool:
    """Nothing is in error, differs, or could not be asked."""
    return not any(result.exit_code for result in results)


def settled(
    run: Run,
    sections: Optional[Sequence[str]] = None,
    patience: int = PATIENCE,
    until: Callable[[Sequence[HostResult]], bool] = green,
) -> bool:
    """Wait until these sections' checks find nothing wrong; what they still find is told."""
    from ..engine.beside import Turns, beside

    deadline, waited = time.monotonic() + patience, ""
    while True:
        text = io.StringIO()
        turns = Turns(run.connections, run.cluster.hosts)
        own = beside(run, turns, run.report.beside(text, later=True), forget=True)
        check(own, sections)
        fine = until(own.report.results)
        if fine or time.monotonic() > deadline:
            run.report.take(own.report)
            run.report.say(nothing_wrong(own.report.results) if fine else text.getvalue().rstrip())
            return fine
        if waiting_for(own.report.results) != waited:
            waited = waiting_for(own.report.results)
            run.report.say(f"  {waited}")
        time.sleep(2)


def nothing_wrong(results: Sequence[HostResult]) -> str:
    """One line for checks that are fine, and one for each thing that they warn of."""
    counted = tally(results)
    fine = sum(levels.get("ok", 0) for levels in counted.values())
    warnings = sum(levels.get("warn", 0) for levels in counted.values())
    what = f"the checks of {next(iter(counted))}" if len(counted) == 1 else "all checks"
    known = f", {warnings} to know about:" if warnings else ""
    lines = [f"  {what} find nothing wrong: {fine} ok{known}"]
    warned: dict[str, list[str]] = {}
    for result in results:
        for part in result.parts:
            if part.status == "warn":
                warned.setdefault(part.title, []).append(result.host)
    for title, hosts in warned.items():
        who = ",".join(hosts) if len(hosts) < 4 else f"{len(hosts)} hosts"
        lines.append(f"  [{who}] warning: {title}")
    return "\n".join(lines)


def waiting_for(results: Sequence[HostResult]) -> str:
    """What is not fine yet, in few words."""
    parts = [
        part.title
        for result in results
        for part in result.parts
        if part.status in {"error", "unknown", "differs", "failed"}
    ]
    unreachable = [result.host for result in results if result.status == "unreachable"]
    if unreachable:
        return f"waiting for {', '.join(dict.fromkeys(unreachable))}"
    return f"waiting: {'; '.join(dict.fromkeys(parts))}"[:120]


def tally(results: Sequence[HostResult]) -> dict[str, dict[str, int]]:
    """How many findings of each level each section has."""
    counted: dict[str, dict[str, int]] = {}
    for result in results:
        if result.mode != CHECK:
            continue
        levels = counted.setdefault(result.task.partition(".")[0], {})
        if result.status == "unreachable":
            levels["unreachable"] = levels.get("unreachable", 0) + 1
        for part in result.parts:
            levels[part.status] = levels.get(part.status, 0) + 1
    return counted
