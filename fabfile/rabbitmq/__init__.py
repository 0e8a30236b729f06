"""The runbook's Message Queue HA: RabbitMQ on the servers with role `rabbitmq`.

The parts are imported in the chapter's order, which is the order in which their tasks run.
"""

from __future__ import annotations

# isort: off
from . import install, configure, cluster, users
from . import check, operate

# isort: on
from .chapter import section

__all__ = ["check", "cluster", "configure", "install", "operate", "section", "users"]
