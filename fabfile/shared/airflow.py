"""Airflow's user, ids and paths, which Python, the share and the services use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Optional

import msgspec

from runbook.declare import steps
from runbook.declare.step import Steps
from runbook.inventory.cluster import Cluster, Host
from runbook.inventory.entry import Entry, HostName, between, named
from runbook.inventory.schema import Settings

from .roles import COMPONENTS, DAG_PROCESSOR, NFS, SCHEDULER, TRIGGERER, WEBSERVER, WORKER

USER = "airflow"
AS_USER = f"runuser -u {USER} --"
"""How root works in folders of that user: with only the rights that it has there."""
HOME = "/home/airflow"
AIRFLOW_HOME = "/app1/airflow"
DAGS = "/app1/airflow/dags"
PLUGINS = "/app1/airflow/plugins"
LOGS = "/app1/airflow_logs"

QUEUE = "default"
"""The queue of tasks that name none, unless airflow.settings has another one."""

# RabbitMQ reserves amq., and Celery the others.
QueueName = Annotated[
    str,
    named(
        "queue (letters, digits, `.`, `_`, `-`; at most 100)",
        "(?!amq\\.|celeryev\\.|celery_delayed_)[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}(?<!\\.pidbox)",
    ),
]

Tasks = Annotated[int, between(1, 1000)]
"""A number of tasks that a worker runs at once."""


class Autoscale(Entry, frozen=True):
    """The bounds of a worker whose number of processes follows its tasks."""

    min: Tasks
    """Processes that an idle worker keeps."""
    max: Tasks
    """Tasks that it runs at once, at most."""


class CeleryWorker(Entry, frozen=True):
    """How the worker of one host differs from the others."""

    queues: Optional[Annotated[list[QueueName], msgspec.Meta(min_length=1)]] = None
    concurrency: Optional[Tasks] = None
    autoscale: Optional[Autoscale] = None


class Ids(Settings, frozen=True):
    """The numbers of the user and group airflow."""

    uid: Annotated[int, msgspec.Meta(ge=100, le=60000)] = 50000
    """The uid of the user airflow, the same on all servers, because NFS knows owners only by
    number. The default is that of Airflow's container image.
    """
    gid: Annotated[int, msgspec.Meta(ge=100, le=60000)] = 50000
    """The gid of the group airflow, likewise."""


class Load(Ids, frozen=True):
    """How much of Airflow runs at once, on which the database's connections depend."""

    concurrency: Optional[Tasks] = None
    """Tasks that a worker runs at once; null: depends on its RAM and processors."""
    autoscale: Optional[Autoscale] = None
    """Instead of `concurrency`: `{min: 2, max: 8}`, as many processes as there are tasks, within
    these bounds.
    """
    celery_workers: dict[HostName, CeleryWorker] = msgspec.field(default_factory=dict)
    """Workers that differ, by their host: `worker2: {queues: [gpu], concurrency: 2}`; `autoscale`
    instead of `concurrency`. A worker without `queues` takes the tasks that name none.
    """
    parallelism: Annotated[int, between(1, 10000)] = 32
    """Tasks that each scheduler lets run at once."""
    workers: Annotated[int, between(1, 256)] = 4
    """Processes of each webserver."""
    pool: Annotated[int, between(1, 1000)] = 5
    """Database connections that each process keeps; it may briefly open half as many more."""


def default_queue(settings: Mapping[str, Mapping[str, object]]) -> str:
    """The queue of tasks that name none; `settings`: airflow.settings."""
    return str(settings.get("operators", {}).get("default_queue", QUEUE))


def autoscale(host: Host, load: Load) -> Optional[Autoscale]:
    """The bounds of a worker that scales; None if it always runs the same number of tasks."""
    own = load.celery_workers.get(host.name, CeleryWorker())
    return own.autoscale or (None if own.concurrency else load.autoscale)


def tasks_at_once(host: Host, cluster: Cluster) -> int:
    """The most tasks that a worker runs at once.

    If hosts.yaml does not say: 256 MB for each beyond the first GB, at most 4 per CPU.
    """
    load = cluster[Load]
    own = load.celery_workers.get(host.name, CeleryWorker())
    scale = autoscale(host, load)
    by_size = max(2, min(4 * host.cpu, (host.ram_mb - 1024) // 256))
    return scale.max if scale else own.concurrency or load.concurrency or by_size


def connections(cluster: Cluster) -> int:
    """The most database connections that all of Airflow opens.

    A process of a webserver, scheduler, triggerer or DAG processor has a pool (airflow.cfg,
    "sql_alchemy_pool_size", and half as many for "sql_alchemy_max_overflow"). A task takes three:
    its supervisor, itself, and Celery's result; a process that parses DAGs takes one, of which
    there are two. One more for each server that asks the database itself.
    """
    load = cluster[Load]
    pool = load.pool + (load.pool + 1) // 2
    each = {
        WEBSERVER: load.workers * pool + 1,
        SCHEDULER: pool + 2,
        TRIGGERER: pool + 1,
        DAG_PROCESSOR: pool + 2 * 2,
    }
    fixed = sum(number * len(cluster.group(role)) for role, number in each.items())
    tasks = sum(3 * tasks_at_once(host, cluster) + 1 for host in cluster.group(WORKER))
    return fixed + tasks + len(hosts(cluster))


def transactions(cluster: Cluster) -> int:
    """The most transactions that all of Airflow has open at the same time.

    One for each process that works with the database, as `connections` counts them, and one more
    for each service: a process that waits for a second one never waits for ever. Of a task's
    processes, one works; the others write a heartbeat now and then.
    """
    each = {WEBSERVER: cluster[Load].workers + 1, SCHEDULER: 4, TRIGGERER: 3, DAG_PROCESSOR: 4}
    fixed = sum(number * len(cluster.group(role)) for role, number in each.items())
    return fixed + sum(tasks_at_once(host, cluster) + 2 for host in cluster.group(WORKER))


def hosts(cluster: Cluster) -> list[Host]:
    """The servers that run a part of Airflow, and those that keep its files."""
    wanted = {*COMPONENTS, NFS}
    return [host for host in cluster.hosts.values() if wanted & set(host.roles)]


def account(cluster: Cluster) -> Steps:
    """The user airflow, without password and without sudo."""
    yield from steps.system_user(USER, cluster[Ids].uid, cluster[Ids].gid, HOME)
    yield steps.password_locked(USER)
