"""Airflow in a status, its drawing and a support bundle."""

from __future__ import annotations

from collections.abc import Sequence

from runbook.declare.facts import Facts
from runbook.declare.operations import Arrow, Marks
from runbook.declare.probes import Finding
from runbook.inventory.cluster import Cluster

from ..shared.roles import COMPONENTS, RABBITMQ, SCHEDULER, TARGET, WORKER
from .check import FOLDER
from .common import CLI, SETTINGS, section
from .heartbeats import at_work, not_taking, processors
from .services import JOBS
from .state import CONSUMERS, present

CONFIGURATION = [f"{SETTINGS}/{name}" for name in ("airflow.cfg", "airflow.env", "python/*.py")]

section.collect(units=("airflow-old-*",))
for role in COMPONENTS:
    version = (f"{CLI} version",) if role in (SCHEDULER, WORKER) else ()
    section.collect(role, units=(f"airflow-{role}",), files=CONFIGURATION, commands=version)


@section.status_line
def line(cluster: Cluster, facts: Facts, findings: Sequence[Finding]) -> str:
    """Which parts are alive, and how many tasks run or wait."""
    state = present(facts)
    if not state:
        return "unknown: its database does not answer"
    said = []
    for role, job in JOBS.items():
        there = at_work(role, job, state, cluster, facts)
        said.append(f"{len(there)} of {len(cluster.group(role))} {role}s")
    if facts.known(CONSUMERS):
        workers = cluster.group(WORKER)
        said.append(f"{len(workers) - len(not_taking(cluster, facts))} of {len(workers)} workers")
    said.append(f"DAG processor on {', '.join(processors(state, facts)) or 'no server'}")
    said += [f"DAGs of release {name}" for name in releases(facts)]
    said.append(f"{state.running} tasks run, {state.queued} have waited long")
    return ", ".join(said)


def releases(facts: Facts) -> list[str]:
    """The releases of the DAGs that servers see: more than one only while one arrives."""
    return sorted({one.release for one in facts.known(FOLDER).values() if one.release})


@section.drawn
def marks(cluster: Cluster, facts: Facts) -> Marks:
    """Tasks come from the queue to workers, and reach targets from there."""
    nodes = cluster.group(RABBITMQ)
    middle = nodes[len(nodes) // 2 :][:1]
    arrows = []
    for worker in cluster.group(WORKER):
        for node in middle:
            about = f"{worker.name} takes tasks from the queue"
            arrows.append(Arrow("tasks", node.name, worker.name, about))
        for target in cluster.group(TARGET):
            about = f"tasks of {worker.name} reach {target.name}"
            arrows.append(Arrow("tasks", worker.name, target.name, about))
    return Marks({}, tuple(arrows))
