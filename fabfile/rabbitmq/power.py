"""How the message queue starts and stops with the whole cluster, and how it frees a server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from runbook.declare.facts import Facts
from runbook.declare.steps import action, command, service, stopped
from runbook.declare.work import Procedure, stage
from runbook.inventory.cluster import Cluster, Host, among

from .cluster import all_run, enough_replicas
from .common import SERVICE, members, section


@section.start(after=["nfs"])
def start(hosts: Sequence[Host], cluster: Cluster, facts: Facts) -> Procedure:
    """Start the node that stopped last, then all of them: each waits for the others."""
    nodes = among(members(cluster), hosts)
    if not nodes:
        return
    first = command(
        f"{SERVICE} is starting",
        f"systemctl start --no-block {SERVICE}",
        unless=f"[[ ! $(systemctl is-active {SERVICE}) =~ ^(inactive|failed)$ ]]",
    )
    yield stage(f"RabbitMQ starts on {nodes[0].name}", nodes[0], first)
    runs = replace(service(SERVICE), timeout=700)
    yield stage("RabbitMQ runs on every node", nodes, runs, all_run(nodes, cluster))


@section.stop()
def stop(hosts: Sequence[Host], cluster: Cluster, facts: Facts) -> Procedure:
    """Stop one node after the other; the last to stop is the first to start."""
    for host in reversed(among(members(cluster), hosts)):
        yield stage(f"stop RabbitMQ on {host.name}", host, stopped(SERVICE))


@section.free(after=["systemd"])
def free(hosts: Sequence[Host], cluster: Cluster, facts: Facts) -> Procedure:
    """Wait until every queue keeps its majority without these nodes."""
    nodes = among(members(cluster), hosts)
    if nodes and len(members(cluster)) > 1:
        wait = action("every queue does without it", enough_replicas(cluster))
        yield stage("no queue needs this node", nodes, wait)
