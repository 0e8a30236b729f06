"""The runbook's Message Queue HA: RabbitMQ on the servers with role `rabbitmq`."""

from __future__ import annotations

from . import (
    check,
    cluster,
    configure,
    definitions,
    drills,
    install,
    operate,
    power,
    preflight,
    recover,
    status,
    switch,
    transport,
    upgrade,
    users,
)
from .common import section

section.order(
    install.repo,
    install.install,
    transport.keys,
    transport.certificates,
    configure.configure,
    cluster.cluster,
    cluster.settle,
    users.users,
    users.policies,
    users.queues,
    definitions.definitions,
    check.status,
    operate.restart,
    operate.shrink,
    operate.join,
    recover.recover,
    upgrade.upgrade,
    operate.rotate,
    switch.switch_nodes,
)

__all__ = ["drills", "power", "preflight", "section", "status"]
