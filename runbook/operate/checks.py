"""The checks of several sections at the same time, and waiting until they find nothing wrong."""

from __future__ import annotations

import io
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, Callable, Optional

from runbook.declare.contents import Contents
from runbook.declare.facts import hosts_on
from runbook.declare.operations import CHECKS
from runbook.declare.probes import CLUSTER_WIDE
from runbook.errors import RunbookError
from runbook.execute.concurrent import Job, SharedConnections, run_concurrently, separate_run
from runbook.execute.run import Run
from runbook.execute.tasks import perform
from runbook.inventory.cluster import Cluster
from runbook.results import CHECK, HostResult, Status

PATIENCE = 180
"""Seconds to wait until checks find nothing wrong: heartbeats, replicas, copies."""

NOT_FINE = {Status.ERROR, Status.UNKNOWN, Status.DIFFERS, Status.FAILED}


def has_hosts(contents: Contents, cluster: Cluster, name: str) -> bool:
    """Whether a section, or a task of one, has a host in the inventory."""
    return name == CHECKS or bool(hosts_on(contents.find(name).on, cluster))


def perform_named(run: Run, name: str, **options: Any) -> bool:
    """Carry out a section, or a task of one; False if something went wrong."""
    return perform(run, run.contents.find(name), options)


def refused(run: Run, task: str, error: RunbookError) -> None:
    """Add to the results that a task was refused for a reason that concerns no single host."""
    run.report.say(f"  {error}")
    mode = CHECK if task.endswith(".check") else run.options.mode
    run.results.append(HostResult(task, CLUSTER_WIDE, mode, Status.REFUSED, str(error)))


def check(run: Run, sections: Optional[Sequence[str]] = None) -> None:
    """Run the checks of some sections, or of all, at the same time; report them one by one."""
    names = sections or run.contents.names
    chosen = [
        name
        for name in run.contents.names
        if name in names and has_hosts(run.contents, run.cluster, name)
    ]
    told: dict[str, io.StringIO] = {name: io.StringIO() for name in chosen}
    jobs = {name: _check_of(name) for name in chosen}
    if len(chosen) == 1:
        jobs[chosen[0]](run)
        return
    run_concurrently(run, jobs, reports=lambda name: run.report.separate(told[name], later=True))
    for name in chosen:
        if told[name].getvalue():
            run.report.say(told[name].getvalue().rstrip())


def _check_of(section: str) -> Job:
    def job(own: Run) -> bool:
        try:
            perform_named(own, f"{section}.check")
        except RunbookError as error:
            refused(own, f"{section}.check", error)
        return True

    return job


def green(results: Sequence[HostResult]) -> bool:
    """Whether no result is in error, differs or is unreachable."""
    return not any(result.exit_code for result in results)


def settled(
    run: Run,
    sections: Optional[Sequence[str]] = None,
    patience: int = PATIENCE,
    until: Callable[[Sequence[HostResult]], bool] = green,
) -> bool:
    """Wait until these sections' checks find nothing wrong; reports what they still find."""
    deadline, waited = time.monotonic() + patience, ""
    while True:
        text = io.StringIO()
        shared = SharedConnections(run.connections, run.cluster.hosts)
        own = separate_run(run, shared, run.report.separate(text, later=True), fresh=True)
        check(own, sections)
        fine = until(own.results)
        if fine or time.monotonic() > deadline:
            run.take_over(own)
            run.report.say(nothing_wrong(own.results) if fine else text.getvalue().rstrip())
            return fine
        if waiting_for(own.results) != waited:
            waited = waiting_for(own.results)
            run.report.say(f"  {waited}")
        time.sleep(2)


def nothing_wrong(results: Sequence[HostResult]) -> str:
    """One line for checks that found no errors, and one for each warning."""
    counted = tally(results)
    fine = sum(levels["ok"] for levels in counted.values())
    warnings = sum(levels["warn"] for levels in counted.values())
    what = f"the checks of {next(iter(counted))}" if len(counted) == 1 else "all checks"
    known = f", {warnings} warning{'' if warnings == 1 else 's'}:" if warnings else ""
    lines = [f"  {what} found no errors: {fine} ok{known}"]
    warned: dict[str, list[str]] = {}
    for result in results:
        for part in result.parts:
            if part.status is Status.WARN:
                warned.setdefault(part.said, []).append(result.host)
    for said, hosts in warned.items():
        who = ",".join(hosts) if len(hosts) < 4 else f"{len(hosts)} hosts"
        lines.append(f"  [{who}] warning: {said}")
    return "\n".join(lines)


def waiting_for(results: Sequence[HostResult]) -> str:
    """What is not OK yet, in a few words."""
    parts = [part.said for result in results for part in result.parts if part.status in NOT_FINE]
    unreachable = [result.host for result in results if result.status is Status.UNREACHABLE]
    if unreachable:
        return f"waiting for {', '.join(dict.fromkeys(unreachable))}"
    return f"waiting: {'; '.join(dict.fromkeys(parts))}"[:120]


def tally(results: Sequence[HostResult]) -> dict[str, Counter[str]]:
    """How many results of each status the checks of each section have."""
    counted: dict[str, Counter[str]] = {}
    for result in results:
        if result.mode != CHECK:
            continue
        statuses = counted.setdefault(result.section, Counter())
        if result.status is Status.UNREACHABLE:
            statuses["unreachable"] += 1
        statuses.update(str(part.status) for part in result.parts)
    return counted
