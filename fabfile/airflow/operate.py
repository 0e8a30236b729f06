"""Day-two operation: does a DAG run from end to end? By name only."""

from __future__ import annotations

from collections.abc import Sequence

from runbook.declare.facts import Facts
from runbook.declare.steps import action, wait_for
from runbook.declare.templates import script
from runbook.declare.work import Procedure, stage
from runbook.inventory.cluster import Cluster, Host

from ..shared.curl import login
from .common import ADMIN, CLI, SQL, first_scheduler, row, section, web_ui
from .connections import reached
from .settings import Airflow


@section.procedure(needs=[], on=first_scheduler)
def smoke(hosts: Sequence[Host], cluster: Cluster, facts: Facts) -> Procedure:
    """Run the DAG `smoke`: it tests queue, worker, SSH to a target, and web UI logs.

    Without a server with the role target, it tests the rest.
    """
    [first] = first_scheduler(cluster)
    admin = login(cluster[Airflow].admin, cluster.secret(ADMIN))
    task, says = ("target", "REACHED") if reached(cluster) else ("worker", "RAN ON")
    asks = f'ask_web_ui() {{ curl -sS -m 20 "${{@:2}}" {web_ui(cluster)}"$1"; }}\n'
    yield stage(
        "the DAG smoke runs",
        first,
        wait_for(
            "the schedulers know the DAG smoke",
            row("select 1 from dag where dag_id = 'smoke' and is_active"),
            timeout=90,
        ),
        action(
            "the DAG smoke succeeds, and its log can be read on the VIP",
            asks + script("airflow/smoke.sh", cli=CLI, sql=SQL, login=admin, task=task, says=says),
            timeout=300,
        ).with_output(),
    )
