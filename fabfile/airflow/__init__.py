"""The runbook's Airflow: installed once and shipped, one configuration, schema, connections, DAGs.

The parts are imported in the chapter's order, which is the order in which their tasks run.
"""

from __future__ import annotations

# isort: off
from . import user, install, configure, database, connections, dags
from . import check, operate

# isort: on
from .chapter import section

__all__ = [
    "check",
    "configure",
    "connections",
    "dags",
    "database",
    "install",
    "operate",
    "section",
    "user",
]
