"""When the monitoring alerts about the message queue, by RabbitMQ's own metrics."""

from __future__ import annotations

from runbook.declare.probes import ERROR
from runbook.inventory.cluster import Cluster

from ..shared.metrics import HOST, Alert, Alerts, Watched, in_steps
from .check import ALARM, FULL, LIMIT, NEAR, NODE_DOWN, PARTED
from .common import NO_MAJORITY, members


def alerts(cluster: Cluster) -> Alerts:
    """Nodes run and reach each other, publishers are not blocked, and limits are far."""
    if not members(cluster):
        return
    majority = len(members(cluster)) // 2 + 1
    yield Alert(
        NO_MAJORITY,
        ERROR,
        f'(sum(up{{job="rabbitmq"}}) or vector(0)) < {majority}',
        f"{{{{ $value }}}} of {len(members(cluster))} nodes answer, which is not a majority",
        "fab rabbitmq.cluster; if the others are lost for good: fab rabbitmq.recover HOST",
    )
    yield Alert(
        NODE_DOWN,
        ERROR,
        'max by (host) (up{job="rabbitmq"}) == 0',
        f"the node on {HOST} does not answer",
        "fab rabbitmq.cluster rabbitmq.users",
    )
    yield Alert(
        PARTED,
        ERROR,
        "max by (host) (rabbitmq_unreachable_cluster_peers_count) > 0",
        f"{HOST} does not reach {{{{ $value }}}} of the other nodes",
        "fab rabbitmq.cluster, once the network works again",
    )
    memory = "see which queue grows: fab rabbitmq.status"
    for metric, about, what, fix in (
        ("free_disk_space", "disk", "its disk is too full", "make room on it"),
        ("memory_used", "memory", "it uses too much memory", memory),
    ):
        yield Alert(
            ALARM,
            ERROR,
            f"max by (host) (rabbitmq_alarms_{metric}_watermark) == 1",
            f"{HOST}: {what}: all publishers are blocked until that is fixed",
            fix,
            wait=15,
            about=about,
        )
    yield from in_steps(
        LIMIT,
        "rabbitmq_process_open_fds / rabbitmq_process_max_fds",
        (NEAR, FULL),
        f"{HOST} uses {{{{ $value | humanizePercentage }}}} of its file descriptors",
        "see which client opens so many: rabbitmqctl list_connections",
    )


WATCHED = Watched("rabbitmq", (), alerts)
