"""Which queues no worker serves: tasks in them do not run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from runbook.declare.facts import Facts
from runbook.declare.probes import ERROR, OK, WARN, Finding, Findings, Verdict
from runbook.inventory.cluster import Cluster

from ..rabbitmq.common import VHOST, members
from .common import section
from .queues import all_served
from .state import CONSUMERS, DAG_QUEUES, TASK_QUEUES, State

UNSERVED = section.cause(
    "AIRFLOW_QUEUE_UNSERVED", "tasks for these queues do not run until a worker serves them"
)

PLAIN = re.compile("[A-Za-z0-9_][A-Za-z0-9_.-]*")
"""Names that a command may have without quotes: any task can give a queue another one."""

SHOWN = 5
"""Queues that a sentence names."""


def queues(state: State, cluster: Cluster, facts: Facts) -> Findings:
    """Whether every queue for which there are tasks, messages or DAGs has a worker."""
    if not facts.known(CONSUMERS):
        return  # the chapter on the queue says why
    consumed = {one.queue for told in facts.known(CONSUMERS).values() for one in told}
    served = consumed.union(all_served(cluster))
    yield tasks_are_taken(state, served, cluster)
    yield none_is_left(served, cluster, facts)
    if facts.asked(DAG_QUEUES):
        yield dags_are_served(served, cluster, facts)


def tasks_are_taken(state: State, served: set[str], cluster: Cluster) -> Finding:
    """A finding: no task that waits is for a queue that no worker serves."""
    title = "waiting tasks are in queues that have a worker"
    stuck = {name: count for name, count in state.waiting.items() if name not in served}
    if not stuck:
        return Finding(title, Verdict(OK))
    sentence = f"{sum(stuck.values())} wait in vain: no worker serves {with_counts(stuck)}"
    return Finding(title, Verdict(ERROR, sentence), to_serve(cluster), UNSERVED)


def none_is_left(served: set[str], cluster: Cluster, facts: Facts) -> Finding:
    """A finding: no queue on RabbitMQ is without a worker."""
    title = "every queue on RabbitMQ has a worker"
    known = {one.name: one for told in facts.known(TASK_QUEUES).values() for one in told}
    left = {name: one.messages for name, one in known.items() if name not in served}
    if not left:
        return Finding(title, Verdict(OK))
    fix = to_serve(cluster)
    empty = [name for name, messages in left.items() if not messages and PLAIN.fullmatch(name)]
    if empty:
        delete = f"rabbitmqctl delete_queue -p {VHOST} {empty[0]}"
        fix += f"; to delete an empty one: fab -H {members(cluster)[0].name} -- sudo {delete}"
    verdict = Verdict(WARN, f"no worker serves {with_counts(left)}")
    return Finding(title, verdict, fix, UNSERVED)


def dags_are_served(served: set[str], cluster: Cluster, facts: Facts) -> Finding:
    """A finding: no DAG that is not paused names a queue that no worker serves."""
    title = "every queue that a DAG names has a worker"
    named = [one for told in facts.known(DAG_QUEUES).values() for one in told.items()]
    others = [f"{name} (DAG {', '.join(dags)})" for name, dags in named if name not in served]
    if not others:
        return Finding(title, Verdict(OK))
    verdict = Verdict(WARN, f"no worker serves {some(others)}")
    return Finding(title, verdict, to_serve(cluster), UNSERVED)


def with_counts(found: Mapping[str, int]) -> str:
    """The first queues, each with its number of tasks."""
    return some(f"{name} ({count})" for name, count in found.items())


def some(words: Iterable[str]) -> str:
    """The first words."""
    listed = list(words)
    return ", ".join(listed[:SHOWN]) + (" and more" if len(listed) > SHOWN else "")


def to_serve(cluster: Cluster) -> str:
    """How a queue gets a worker."""
    return (
        f"name it in airflow.celery_workers of {cluster.file.name}, then fab systemd; "
        "or correct the DAG"
    )
