"""Which worker takes tasks from which queue, according to hosts.yaml."""

from __future__ import annotations

from runbook.inventory.cluster import Cluster, Host

from ..shared.airflow import CeleryWorker, default_queue
from ..shared.roles import WORKER
from .settings import Airflow


def served(host: Host, cluster: Cluster) -> list[str]:
    """The queues from which a worker takes tasks."""
    settings = cluster[Airflow]
    own = settings.celery_workers.get(host.name, CeleryWorker())
    return own.queues or [default_queue(settings.settings)]


def all_served(cluster: Cluster) -> list[str]:
    """The queues that have a worker."""
    of_each = (served(host, cluster) for host in cluster.group(WORKER))
    return list(dict.fromkeys(queue for queues in of_each for queue in queues))
