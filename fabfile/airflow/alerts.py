"""What the monitoring reads about Airflow, in its database, and when it alerts."""

from __future__ import annotations

from runbook.declare.probes import ERROR, WARN
from runbook.declare.step import quote
from runbook.inventory.cluster import Cluster, Host

from ..postgres.common import PSQL
from ..shared.metrics import Alert, Alerts, Reading, Watched
from ..shared.roles import DAG_PROCESSOR, POSTGRES
from .check import HELD_UP, IMPORTS, NO_DATABASE, WAITS
from .heartbeats import HEARTBEAT, NONE_LEFT, PROCESSOR, PROCESSORS, TOO_OLD
from .services import JOBS, service_hosts
from .state import QUESTION, STANDSTILL, WAITING

IN_LINES = f"""with told(it) as ({QUESTION})
select 'leader ' || (it->>'leader') from told
union all select 'age ' || key || ' ' || value from told, json_each_text(
  case json_typeof(it->'jobs') when 'object' then it->'jobs' else '{{}}' end)
union all select 'broken ' || case json_typeof(it->'broken') when 'array'
  then json_array_length(it->'broken') else 0 end from told
union all select 'queued ' || (it->>'queued') from told
union all select 'running ' || (it->>'running') from told
union all select 'waited ' || coalesce(it->'holder'->>'waited', '0') from told"""
"""The answer to QUESTION, a word and its values on each line."""


def _database(cluster: Cluster) -> list[Host]:
    return cluster.group(POSTGRES) if service_hosts(cluster) else []


READINGS = (
    Reading(
        "airflow",
        _database,
        lambda cluster, host: f"{PSQL} -d airflow -c {quote(' '.join(IN_LINES.split()))}",
    ),
)

ANSWERS = "max(runbook_airflow_leader) == 1"


def alerts(cluster: Cluster) -> Alerts:
    """Each part is alive, and no task waits for long."""
    if not service_hosts(cluster):
        return
    yield Alert(
        NO_DATABASE,
        ERROR,
        "(max(runbook_airflow_leader) or vector(0)) == 0",
        "the database has no leader, or no Airflow schema",
        "fab airflow.database",
    )
    yield from heartbeats(cluster)
    yield from processors(cluster)
    yield Alert(
        IMPORTS,
        ERROR,
        "max(runbook_airflow_broken_dags) > 0",
        "{{ $value }} files of DAGs cannot be imported",
        "see the reason on the first page of the web UI",
    )
    yield Alert(
        WAITS,
        ERROR,
        "max(runbook_airflow_tasks_waiting) > 0",
        f"{{{{ $value }}}} tasks have been queued for more than {WAITING} s",
        "fab rabbitmq.check systemd.check",
    )
    yield Alert(
        HELD_UP,
        WARN,
        f"max(runbook_airflow_lock_wait_seconds) > {STANDSTILL}",
        "a session of the database waits for another one's lock",
        "fab airflow.check shows which session, and how to end it",
    )


def heartbeats(cluster: Cluster) -> Alerts:
    """Each scheduler and triggerer has had a heartbeat lately."""
    for role, kind in JOBS.items():
        hosts = cluster.group(role)
        at_work = f'count(min by (server) (runbook_airflow_heartbeat_seconds{{kind="{kind}"}})'
        at_work = f"({at_work} <= {TOO_OLD}) or vector(0))"
        for host in hosts:
            own = f'runbook_airflow_heartbeat_seconds{{kind="{kind}",server="{host.name}"}}'
            late = f"((min({own}) or vector(1e9)) > {TOO_OLD})\nand {ANSWERS}"
            yield Alert(
                HEARTBEAT,
                ERROR,
                f"{late}\nand {at_work} > 0",
                f"the {role} of {host.name} has had no heartbeat for more than {TOO_OLD} s",
                f"fab -H {host.name} systemd.start; journalctl -u airflow-{role} there shows why",
                host=host.name,
                about=role,
            )
        if hosts:
            yield Alert(
                NONE_LEFT[role],
                ERROR,
                f"{at_work} == 0\nand {ANSWERS}",
                f"no {role} has had a heartbeat for {TOO_OLD} s",
                f"fab -H {','.join(host.name for host in hosts)} systemd.start; "
                f"journalctl -u airflow-{role} there shows why",
            )


def processors(cluster: Cluster) -> Alerts:
    """Exactly one DAG processor is at work."""
    if not cluster.group(DAG_PROCESSOR):
        return
    found = 'runbook_airflow_heartbeat_seconds{kind="DagProcessorJob"}'
    at_work = f"(count(min by (server) ({found}) <= {TOO_OLD}) or vector(0))"
    fix = "fab nfs.check systemd.check"
    none = f"{at_work} == 0\nand {ANSWERS}"
    yield Alert(PROCESSOR, ERROR, none, "there is none", fix)
    yield Alert(
        PROCESSORS,
        WARN,
        f"{at_work} > 1",
        "there are {{ $value }}",
        f"wait half a minute if the share has just moved; else: {fix}",
    )


WATCHED = Watched("airflow", READINGS, alerts)
