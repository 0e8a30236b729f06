"""`inv cluster.check`, `.plan`, `.diff`: the state of the whole cluster, and what would change."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from invoke import Context, Exit, task

from runbook.errors import FAILED
from runbook.execute.session import in_sentences
from runbook.results import HostResult, Status

from .deploy import wanted
from .session import session

if TYPE_CHECKING:
    from runbook.execute.run import Run

NOT_COMPARED = {Status.UNKNOWN, Status.REFUSED, Status.FAILED, Status.UNREACHABLE}

LEVELS = ("ok", "warn", "differs", "unknown", "error", "unreachable")


@task(help={"json": "one JSON document instead of text"})
@in_sentences
def check(c: Context, json: bool = False) -> None:
    """Run the checks of all sections, and give one verdict.

    It uses one connection per host. Exit code 0 if everything is OK, 1 if anything is not, 3 if the
    only problem is an unreachable host.
    """
    from runbook.execute.run import Options
    from runbook.operate.checks import check as check_all
    from runbook.operate.checks import tally

    with session(Options(), json) as run:
        check_all(run)
        counted = tally(run.results)
        rows = [
            {"section": name, **{level: counted[name].get(level) for level in LEVELS}}
            for name in run.contents.names
            if name in counted
        ]
        run.report.say()
        run.report.table("check", rows)
        run.report.say(f"\n{overall(run.results)}")
        if json:
            run.report.recap(run.results, run.exit_code)
        code = run.exit_code
    if code:
        raise Exit(code=code)


def overall(results: Sequence[HostResult]) -> str:
    """One word for the whole cluster, and the reason."""
    from runbook.operate.checks import tally

    counted = sum(tally(results).values(), Counter[str]())
    broken = sum(result.status in {Status.FAILED, Status.REFUSED} for result in results)
    bad = {level: counted[level] for level in LEVELS[2:] if counted.get(level)}
    if broken:
        bad["failed"] = broken
    if bad:
        return f"ERROR: {', '.join(f'{number} {level}' for level, number in bad.items())}"
    if counted.get("warn"):
        return f"WARN: {counted['warn']} warning{'' if counted['warn'] == 1 else 's'}"
    return "OK"


@task(help={"json": "one JSON document instead of text"})
@in_sentences
def plan(c: Context, json: bool = False) -> None:
    """Show what cluster.deploy would change in all sections, and change nothing.

    What depends on something that does not exist yet is shown as unknown.
    """
    from runbook.execute.run import Options

    with session(Options(plan=True, keep_going=True), json) as run:
        planned(run)
        run.report.recap(run.results, run.exit_code)
        code = run.exit_code
    if code:
        raise Exit(code=code)


def planned(run: Run) -> None:
    """Plan every part of the runbook."""
    from runbook.operate.checks import perform_named

    shown = {part.name for part in run.contents.parts if part.planned}
    for name in wanted(run.contents, run.cluster, update=False):
        if name in shown:
            perform_named(run, name)


@task
@in_sentences
def diff(c: Context) -> None:
    """Print only diffs between the servers and what hosts.yaml asks for.

    Exit codes as for diff: 0 if nothing differs, 1 if something does. What could not be compared is
    named on standard error.
    """
    from runbook.execute.run import Options

    with session(Options(plan=True, keep_going=True), as_json=True) as run:
        planned(run)
        differing = differences(run.results)
        for line in differing:
            print(run.report.masked(line))
        for line in dict.fromkeys(not_compared(run.results)):
            print(run.report.masked(line), file=sys.stderr)
        code = run.exit_code or (FAILED if differing else 0)
    if code:
        raise Exit(code=code)


def differences(results: Sequence[HostResult]) -> list[str]:
    """A heading for each step that would change something, equal hosts together, and its diff."""
    groups: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for result in results:
        for part in result.parts:
            if part.status is Status.DIFFERS:
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
        if result.status in NOT_COMPARED
    ]
