"""A DAG that runs every ten seconds during drills: its tasks write rows, and none may be lost."""

from __future__ import annotations

from runbook.declare import steps
from runbook.declare.drills import Load, nothing
from runbook.declare.step import Steps, quote
from runbook.declare.templates import render
from runbook.inventory.cluster import Cluster, Host

from ..shared.airflow import AS_USER, DAGS
from ..shared.loads import TASKS
from ..shared.roles import HAPROXY, NFS, POSTGRES, RABBITMQ, SCHEDULER, WORKER
from .common import SCRIPTS, SQL, row, section
from .drill_loads import PYTHON, RUN, SWEEP, shipped, writers

DAG = "airflow_drill"
FILE = f"{DAGS}/{DAG}.py"

EXPECTED = f"""with expected as (
  select r.run_id, t.task, r.data_interval_end + t.seconds * interval '1 second' as due
  from dag_run r, (values ('short', 0), ('long', 12)) t(task, seconds)
  where r.dag_id = '{DAG}'
), written as (
  select run, task, min(done) as done, count(*) as times from {DAG}.tasks group by run, task)"""
"""Every task that there has to be, when it is due, and the rows of those that are done."""

PULSE = f"""{EXPECTED} select json_build_object(
  'now', extract(epoch from clock_timestamp()), 'acknowledged', (select count(*) from written),
  'waits', greatest(0,
    (select extract(epoch from clock_timestamp() - min(e.due)) from expected e
      left join written w on w.run = e.run_id and w.task = e.task where w.done is null),
    (select extract(epoch from clock_timestamp() - next_dagrun_create_after) from dag
      where dag_id = '{DAG}')))::text"""

ACCOUNT = f"""{EXPECTED}, numbered as (
  select row_number() over (order by e.due, e.task) as number, e.due, w.times,
    coalesce(w.done, case when i.state = 'success' then i.end_date end) as done,
    coalesce(i.try_number > 1, false) as retried
  from expected e left join written w on w.run = e.run_id and w.task = e.task
  left join task_instance i
    on i.dag_id = '{DAG}' and i.run_id = e.run_id and i.task_id = e.task)
select json_build_object(
  'items', coalesce((select json_agg(json_build_array(number, extract(epoch from due),
    extract(epoch from done), retried) order by number) from numbered), '[]'),
  'there', coalesce((select json_agg(number) from numbered, generate_series(1, times)), '[]')
)::text"""
"""A task that succeeded without a row is acknowledged and lost."""


def asked(query: str) -> str:
    """A question to Airflow's database, which gives up in time while there is none."""
    return f"timeout 8 {SQL} {quote(' '.join(query.split()))}"


def prepared(host: Host, cluster: Cluster) -> Steps:
    """The DAG is on the share, and Airflow knows it at once."""
    yield from shipped()
    yield steps.with_stdin(
        f"{FILE} is on the share",
        f"{AS_USER} tee {FILE} >/dev/null",
        render("airflow/drill/dag.py", {}),
        unless=f"[[ $({AS_USER} cat {FILE} 2>/dev/null)$'\\n' == \"$text\" ]]",
    )
    yield steps.command(
        f"Airflow knows the DAG {DAG}",
        program("register"),
        unless=row(f"select 1 from dag where dag_id = '{DAG}' and is_active and not is_paused"),
    )


def program(action: str) -> str:
    """The DAG's file as a program, with Airflow's settings and as its user."""
    return f"{SCRIPTS}/as-airflow {PYTHON} {RUN}/dag.py {action} {FILE}"


def cleaned(host: Host, cluster: Cluster) -> Steps:
    """There is no DAG of a drill, and no record of one."""
    yield from shipped()
    count = " + ".join(
        f"(select count(*) from {table} where dag_id = '{DAG}')" for table in ("dag", "dag_run")
    )
    yield steps.command(
        f"there is no DAG {DAG}",
        program("remove"),
        unless=f"{AS_USER} test ! -e {FILE} && [[ $({SQL} {quote(f'select {count}')}) == 0 ]]",
    )


section.load(
    Load(
        name=TASKS,
        about="tasks of a DAG that runs every ten seconds; each writes a row",
        item="task",
        on=writers,
        uses=(SCHEDULER, WORKER, RABBITMQ, POSTGRES, HAPROXY, NFS),
        prepare=prepared,
        start=nothing,  # it goes on as long as somebody writes lines
        stop=nothing,
        clean=cleaned,
        pulse=lambda host, cluster: asked(PULSE),
        account=lambda host, cluster: asked(ACCOUNT),
        sweep=SWEEP,
        calm=30.0,
        warming=180,
    )
)
