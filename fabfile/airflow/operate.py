"""Day two: does a DAG run from end to end? By name only."""

from __future__ import annotations

from collections.abc import Sequence

from runbook.declare.facts import Facts
from runbook.declare.step import quote
from runbook.declare.steps import action, wait_for
from runbook.declare.work import Procedure, stage
from runbook.inventory.cluster import Cluster, Host

from ..haproxy.common import WEB
from .common import ADMIN, CLI, SQL, first_scheduler, main_vip, row, section
from .settings import Airflow


@section.procedure(needs=[], on=first_scheduler)
def smoke(hosts: Sequence[Host], cluster: Cluster, facts: Facts) -> Procedure:
    """Run the DAG `smoke`: queue, worker, SSH to a target, its log by the web UI."""
    [first] = first_scheduler(cluster)
    login = quote(f'user = "{cluster[Airflow].admin}:{cluster.secret(ADMIN)}"')
    logs = f"http://{main_vip(cluster)}:{WEB}/api/v1/dags/smoke/dagRuns"
    state = f"{SQL} \"select state from dag_run where run_id = '$run'\""
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
            f"""run=smoke-$(date +%s)
told=$({CLI} dags trigger smoke --run-id "$run" 2>&1) || {{ tail -n 1 <<<"$told"; exit 1; }}
for _ in {{1..180}}; do
  state=$({state})
  [[ $state != success && $state != failed ]] || break
  sleep 1
done
{SQL} "select task_id, state, hostname, round(extract(epoch from end_date - start_date)::numeric, 1)
       from task_instance where run_id = '$run' order by start_date"
log=$(curl -sS -m 20 -K <(printf '%s\\n' {login}) \\
  "{logs}/$run/taskInstances/target/logs/1?full_content=true")
grep -o 'REACHED [a-z0-9-]*' <<<"$log" | tail -1
[[ $state == success && $log == *REACHED* ]]""",
            timeout=300,
        ).with_output(),
    )
