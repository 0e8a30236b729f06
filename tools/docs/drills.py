"""The tables of docs/drills.md: the drills of the shipped hosts.yaml, and the loads."""

from __future__ import annotations

from fabfile.operator.drill.known import known, loads, single_points
from fabfile.operator.drill.listing import mark
from runbook.declare.contents import Contents
from runbook.declare.templates import PROJECT

from .markdown import code, table


def drills(contents: Contents) -> str:
    """A row for each drill; those of single hosts are put together."""
    cluster = contents.load(PROJECT / "hosts.yaml")
    rows = []
    for drill in known(contents, cluster):
        host = next((name for name in cluster.hosts if drill.name.endswith(f"-{name}")), "")
        name = f"{drill.name[: -len(host)]}HOST" if host else drill.name
        said = drill.sentence.replace(host, "HOST") if host else drill.sentence
        where = "anywhere" if drill.soft else "in a lab"
        measured = ", ".join(drill.measure)
        row = (code(name), said, where, measured, mark(drill), drill.trade or "–")
        if row not in rows:
            rows.append(row)
    head = ("drill", "what happens", "where", "timed by", "mark", "what decides about the figure")
    return table(head, rows)


def clients(contents: Contents) -> str:
    """A row for each load."""
    cluster = contents.load(PROJECT / "hosts.yaml")
    rows = [
        (code(load.name), load.about, ", ".join(host.name for host in load.on(cluster)))
        for load in loads(contents, cluster)
    ]
    return table(("load", "what it wants", "from one of"), rows)


def alone(contents: Contents) -> str:
    """What the shipped hosts.yaml has no second server for."""
    cluster = contents.load(PROJECT / "hosts.yaml")
    return "\n".join(f"- {said}" for said in single_points(cluster))
