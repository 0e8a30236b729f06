"""docs/cluster.svg: the cluster of hosts.yaml as `inv cluster.report` draws it, without answers."""

from __future__ import annotations

from dataclasses import replace

from fabfile.operator.status.drawing import drawing
from fabfile.operator.status.look import with_status
from fabfile.operator.status.picture import Picture, Server
from runbook.declare.contents import Contents
from runbook.declare.facts import NOTHING_KNOWN
from runbook.declare.templates import PROJECT, render
from runbook.execute.survey import Survey


def picture(contents: Contents) -> str:
    """The file."""
    cluster = contents.load(PROJECT / "hosts.yaml")
    marks = [one.marks(cluster, NOTHING_KNOWN) for one in with_status(contents) if one.marks]
    servers = [Server(host, "up") for host in cluster.hosts.values()]
    planned = Picture(cluster, Survey(NOTHING_KNOWN), 0, 0, servers=servers, marks=marks)
    drawn = drawing(planned)
    drawn.vips = [replace(box, state="up") for box in drawn.vips]
    return render("operator/topology.svg.j2", {"drawn": drawn})
