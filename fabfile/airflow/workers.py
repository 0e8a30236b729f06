"""The workers of hosts.yaml: whether what it says about them can be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Optional

from runbook.inventory.entry import perhaps
from runbook.inventory.schema import Objection, Understood
from runbook.yaml_source import KeyPath

from ..shared.airflow import Autoscale, CeleryWorker, Load, default_queue
from ..shared.roles import WORKER

INSTEAD = {
    "worker_concurrency": "airflow.concurrency",
    "worker_autoscale": "airflow.autoscale",
}
"""Settings of airflow.cfg that the command line of a worker overrides, and what to set instead."""

WORKERS: KeyPath = ("airflow", "celery_workers")


def wrong(
    load: Load, settings: Mapping[str, Mapping[str, object]], inventory: Understood
) -> Iterator[Objection]:
    """Workers that are none, contradictions, and a queue of which no worker takes tasks."""
    for key in settings.get("celery", {}):
        if key in INSTEAD:
            place = ("airflow", "settings", "celery", key)
            yield Objection(f"has no effect; set {INSTEAD[key]} instead", place)
    yield from _sizes(load.concurrency, load.autoscale, ("airflow",))
    names = inventory.with_role(WORKER)
    for name, worker in load.celery_workers.items():
        path: KeyPath = (*WORKERS, name)
        if name not in inventory.names:
            yield Objection(f"is not one of the hosts{perhaps(name, inventory.names)}", path)
        elif name in inventory.hosts and name not in names:
            yield Objection(f"{name} does not have the role {WORKER}; add it to its roles", path)
        yield from _sizes(worker.concurrency, worker.autoscale, path)
        yield from _twice(worker, path)
    if inventory.whole and names:
        yield from _default(load, default_queue(settings), names)


def _sizes(
    concurrency: Optional[int], autoscale: Optional[Autoscale], path: KeyPath
) -> Iterator[Objection]:
    if autoscale and concurrency:
        sentence = "contradicts autoscale, which has a number of its own; remove one of them"
        yield Objection(sentence, (*path, "concurrency"))
    if autoscale and autoscale.min > autoscale.max:
        sentence = f"min is {autoscale.min}, and max only {autoscale.max}; swap them"
        yield Objection(sentence, (*path, "autoscale"))


def _twice(worker: CeleryWorker, path: KeyPath) -> Iterator[Objection]:
    queues = worker.queues or []
    for place, queue in enumerate(queues):
        if queue in queues[:place]:
            yield Objection(f"{queue} is named twice; keep one", (*path, "queues", place))


def _default(load: Load, queue: str, names: list[str]) -> Iterator[Objection]:
    """The default queue needs a worker: tasks that name none are in it, those of `smoke`, too."""
    listed = [load.celery_workers.get(name, CeleryWorker()).queues for name in names]
    if all(queues is not None and queue not in queues for queues in listed):
        sentence = f"no worker serves {queue}, the queue of tasks that name no queue"
        yield Objection(f"{sentence}; add it to the queues of a worker", WORKERS)
