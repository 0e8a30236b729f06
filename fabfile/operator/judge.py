"""`inv cluster.check`, `.plan`, `.diff`: how the whole stands, and what would change."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from invoke import Context, Exit, task

from ..engine.errors import FAILED
from ..engine.results import HostResult
from ..engine.session import in_sentences, session
from .deploy import wanted
from .sections import CHECKS, names, perform, tally
from .sections import check as check_all

if TYPE_CHECKING:
    from ..engine.run import Run

NOT_PLANNED = {CHECKS, "airflow.smoke", "python-build.start"}
"""Parts of the runbook that change nothing, or nothing that another part does not."""

LEVELS = ("ok", "warn", "differs", "unknown", "error", "unreachable")


@task(help={"json": "one JSON document instead of text"})
@in_sentences
def check(c: Context, json: bool = False) -> None:
    """Run every section's check over one connection per host; one verdict.

    Exit code 0 if all is as it should be, 1 if anything is not, 3 if only a host was unreachable.
    """
    from ..engine.run import Options

    with session(Options(), json) as run:
        check_all(run)
        counted = tally(run.report.results)
        rows = [
            {"section": name, **{level: counted[name].get(level) for level in LEVELS}}
            for name in names()
            if name in counted
        ]
        run.report.say()
        run.report.table("check", rows)
        run.report.say(f"\n{verdict(run.report.results)}")
        if json:
            run.report.recap(run.exit_code)
        code = run.exit_code
    if code:
        raise Exit(code=code)


def verdict(results: Sequence[HostResult]) -> str:
    """One word for the whole, and why."""
    counted: dict[str, int] = {}
    for levels in tally(results).values():
        for level, number in levels.items():
            counted[level] = counted.get(level, 0) + number
    broken = sum(result.status in {"failed", "refused"} for result in results)
    bad = {level: counted[level] for level in LEVELS[2:] if counted.get(level)}
    if broken:
        bad["failed"] = broken
    if bad:
        return f"ERROR: {', '.join(f'{number} {level}' for level, number in bad.items())}"
    if counted.get("warn"):
        return f"WARN: nothing is wrong, {counted['warn']} to know about"
    return "OK"


@task(help={"json": "one JSON document instead of text"})
@in_sentences
def plan(c: Context, json: bool = False) -> None:
    """Show what cluster.deploy would change in all sections, and change nothing.

    What depends on something that is not there yet is unknown, and said so.
    """
    from ..engine.run import Options

    with session(Options(plan=True, keep_going=True), json) as run:
        planned(run)
        run.report.recap(run.exit_code)
        code = run.exit_code
    if code:
        raise Exit(code=code)


def planned(run: Run) -> None:
    """Every part of the runbook, as a plan."""
    for name in wanted(run.cluster, update=False):
        if name not in NOT_PLANNED:
            perform(run, name)


@task
@in_sentences
def diff(c: Context) -> None:
    """Print what differs now from what hosts.yaml wants, as diffs, and nothing else.

    Exit code 0 if nothing differs, 1 if something does, as of diff. What could not be compared is
    named on standard error.
    """
    from ..engine.run import Options

    with session(Options(plan=True, keep_going=True), as_json=True) as run:
        planned(run)
        differing = differences(run.report.results)
        for line in differing:
            print(run.report.masked(line))
        for line in dict.fromkeys(not_compared(run.report.results)):
            print(run.report.masked(line), file=sys.stderr)
        code = run.exit_code or (FAILED if differing else 0)
    if code:
        raise Exit(code=code)


def differences(results: Sequence[HostResult]) -> list[str]:
    """A heading for each step that would change something, hosts alike together, and its diff."""
    groups: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for result in results:
        for part in result.parts:
            if part.status == "differs":
                hosts = groups.setdefault((part.title, tuple(part.output)), [])
                if result.host not in hosts:
                    hosts.append(result.host)
    return [
        line
        for (title, output), hosts in groups.items()
        for line in (f"# {','.join(hosts)}: {title}", *output)
    ]


def not_compared(results: Sequence[HostResult]) -> list[str]:
    """Sentences for what is unknown, refused or unreachable."""
    return [
        f"{result.host}: {result.sentence or result.status} ({result.task})"
        for result in results
        if result.status in {"unknown", "refused", "failed", "unreachable"}
    ]
