"""Show the findings of a preflight: a table, a matrix, results for --json and the journal."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from runbook.declare.probes import CLUSTER_WIDE, ERROR, OK, UNKNOWN, WARN, Finding
from runbook.errors import UnreachableError
from runbook.results import CHECK, HostResult, Status, StepResult

from . import reach
from .ask import Asked

if TYPE_CHECKING:
    from runbook.execute.run import Run

WORDS = {ERROR: "error", WARN: "warning", UNKNOWN: "unknown"}
"""Levels in the table, the most severe first."""

WIDTHS = {"level": 8, "servers": 14, "what": 40, "way out": 40}


def tell(run: Run, asked: Asked) -> None:
    """Show the table and the matrix; refuse the task if anything would stop the work."""
    rows = list(grouped(asked.findings, len(asked.hosts)))
    if rows:
        run.report.table("preflight", [folded(row) for row in rows])
    show_paths(run, asked)
    run.report.say(f"  {summary(asked.findings)}")
    record(run, asked)
    errors = sum(one.level is ERROR and one.host not in asked.silent for one in asked.findings)
    if errors and not run.options.keep_going:
        sentence = (
            f"{errors} error{'' if errors == 1 else 's'} would stop the work; nothing was changed. "
            "Follow the way out of each, then rerun. To continue regardless: "
            "inv cluster.deploy --ignore-preflight, or fab --keep-going."
        )
        run.report.say(f"  {sentence}")
        run.record(HostResult(run.task, CLUSTER_WIDE, CHECK, Status.REFUSED, sentence))


def show_paths(run: Run, asked: Asked) -> None:
    """Show the matrix, unless all paths are open."""
    matrix = reach.matrix(asked.reach, asked.tried)
    if matrix:
        run.report.say()
        run.report.table("paths", matrix)
        run.report.say("  .: open   ?: unknown until base.firewall opens the port   5432: blocked")


def grouped(findings: Iterable[Finding], hosts: int) -> Iterator[dict[str, str]]:
    """A row for each problem, with all hosts that have it; errors first."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for level, word in WORDS.items():
        for one in findings:
            if one.level is level:
                what = f"{one.title}: {one.verdict.sentence}"
                names = groups.setdefault((word, what, one.fix), [])
                names += [name for name in [one.host] if name not in names]
    for (word, what, fix), names in groups.items():
        everywhere = len(names) == hosts > 1
        servers = f"all {hosts}" if everywhere else ", ".join(names)
        yield {"level": word, "servers": servers, "what": what, "way out": fix}


def folded(row: dict[str, str]) -> dict[str, Any]:
    """A row with its columns wrapped to fit the screen."""
    return {
        key: "\n".join(textwrap.wrap(text, WIDTHS[key], break_on_hyphens=False))
        for key, text in row.items()
    }


def summary(findings: Sequence[Finding]) -> str:
    """The number of findings of each level."""
    counted = Counter(one.level for one in findings)
    words = {ERROR: "errors", WARN: "warnings", UNKNOWN: "unknown", OK: "ok"}
    return ", ".join(f"{counted[level]} {word}" for level, word in words.items())


def record(run: Run, asked: Asked) -> None:
    """Record the findings as results of their hosts: for --json, exit code and journal."""
    for name in [*(host.name for host in asked.hosts), CLUSTER_WIDE]:
        result = HostResult(run.task, name, CHECK)
        for finding in asked.findings:
            if finding.host == name:
                result.add(StepResult(finding.title, "").judged(finding))
        error = asked.silent.get(name)
        if error:
            result.status = Status.FAILED
            result.sentence = str(error)
        if isinstance(error, UnreachableError):
            result.status = Status.UNREACHABLE
        if result.parts:
            run.record(result)
