"""Kernel parameters that help PostgreSQL."""

from __future__ import annotations

from runbook.declare import steps
from runbook.declare.step import Steps
from runbook.inventory.cluster import Cluster, Host

from .common import section
from .settings import Postgres

FILE = "/etc/sysctl.d/60-postgres-airflow.conf"

SWAPPINESS = {"vm.swappiness": 10}
"""Red Hat's value for databases: under pressure the kernel gives up cached files before it swaps
out PostgreSQL's memory (RHEL, "Tuning Virtual Memory").
"""


@section.task
def kernel(host: Host, cluster: Cluster) -> Steps:
    """Set kernel parameters: `vm.swappiness`, and those of `postgres.kernel`.

    A parameter that is null there is not set here: other files of the server decide.
    """
    wanted = {**SWAPPINESS, **cluster[Postgres].kernel}
    values = {name: value for name, value in wanted.items() if value is not None}
    if values:
        yield from steps.sysctl("the kernel uses these values", FILE, values)
    else:
        yield steps.command(f"{FILE} is not there", f"rm -f {FILE}", unless=f"[[ ! -e {FILE} ]]")
