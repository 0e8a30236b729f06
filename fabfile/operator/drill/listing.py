"""The drills as a list, and what one would do now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from runbook.declare.drills import OK_AGAIN, Deed, Drill, Operation, Outage
from runbook.declare.facts import NOTHING_KNOWN
from runbook.declare.step import Steps
from runbook.errors import RunbookError
from runbook.inventory.cluster import Cluster

from .known import exposed, single_points
from .known import loads as all_loads
from .loads import place
from .site import Site

if TYPE_CHECKING:
    from runbook.execute.run import Run


def listed(drills: Sequence[Drill], cluster: Cluster) -> list[dict[str, Any]]:
    """Each drill, for programs."""
    return [
        {
            "name": drill.name,
            "sentence": drill.sentence,
            "where": "anywhere" if drill.soft else "in a lab",
            "fault": fault(drill),
            "measure": list(drill.measure),
            "mark": {
                "seconds": drill.mark.seconds,
                "lost": drill.mark.lost,
                "retried": drill.mark.retried,
            },
            "exposed": exposed_now(drill, cluster),
            "trade": drill.trade,
        }
        for drill in drills
    ]


def exposed_now(drill: Drill, cluster: Cluster) -> list[str]:
    """What has no second server, for drills whose servers do not depend on the present state."""
    if drill.target.needs:
        return []
    return exposed(drill, drill.target.hosts(cluster, NOTHING_KNOWN), cluster)


def fault(drill: Drill) -> str:
    """The kind of fault, in a word or two."""
    if isinstance(drill.fault, Outage):
        return drill.fault.kind
    if isinstance(drill.fault, Operation):
        return f"fab {drill.fault.task}"
    return "commands"


def mark(drill: Drill) -> str:
    """What a drill may cost, in words."""
    since = " until the status is OK" if OK_AGAIN in drill.measure else ""
    said = [] if drill.mark.seconds is None else [f"{drill.mark.seconds:g} s{since}"]
    said += [] if drill.mark.lost is None else [f"{drill.mark.lost} lost"]
    said += [] if drill.mark.retried is None else [f"{drill.mark.retried} retried"]
    return ", ".join(said)


def text(drills: Sequence[Drill], cluster: Cluster) -> str:
    """A table, and what has no second server."""
    from tabulate import tabulate

    rows = [
        {
            "drill": drill.name,
            "where": "anywhere" if drill.soft else "in a lab",
            "mark": mark(drill),
            "what happens": drill.sentence,
        }
        for drill in drills
    ]
    table = str(tabulate(rows, headers="keys"))
    notes = [f"  {one}" for one in single_points(cluster)]
    if not notes:
        return table
    head = "hosts.yaml has no second server for these roles:"
    return "\n".join([table, "", head, *notes])


def plan(run: Run, drills: Sequence[Drill]) -> str:
    """What these drills would do now: whom they strike, and how, and where the loads would run."""
    site = Site(run)
    return "\n\n".join(_planned(drill, site, run) for drill in drills)


def _planned(drill: Drill, site: Site, run: Run) -> str:
    cluster = run.cluster
    lines = [f"{drill.name}: {drill.sentence}"]
    try:
        struck = drill.target.hosts(cluster, site.facts(drill.target.needs))
    except RunbookError as error:
        return "\n".join([*lines, f"  unknown: {error}"])
    lines.append(f"  strikes: {', '.join(host.name for host in struck)}, by {fault(drill)}")
    if isinstance(drill.fault, Deed):
        lines += _commands("then", drill.fault.strike(struck[0], cluster))
        lines += _commands("heal", drill.fault.undo(struck[0], cluster))
    for load in all_loads(run.contents, cluster):
        host = place(load, struck, cluster)
        lines.append(f"  load: {load.about}{f', from {host.name}' if host else ': nowhere'}")
    lines += [f"  expected outage: {said}" for said in exposed(drill, struck, cluster)]
    return "\n".join([*lines, f"  mark: {mark(drill)}"])


def _commands(word: str, steps: Steps) -> list[str]:
    return [
        f"  {word}: {line}" for step in steps for line in step.shown.splitlines() if line.strip()
    ]
