"""The runbook's Database HA: etcd, Patroni and PostgreSQL on the servers with role `postgres`.

The parts are imported in the chapter's order, which is the order in which their tasks run.
"""

from __future__ import annotations

# isort: off
from . import install, etcd, backup, patroni, database, repository
from . import check, operate, restore

# isort: on
from .chapter import section

__all__ = [
    "backup",
    "check",
    "database",
    "etcd",
    "install",
    "operate",
    "patroni",
    "repository",
    "restore",
    "section",
]
