"""The state of Airflow's database: schema, heartbeats, broken DAGs, tasks that no worker takes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Optional

from runbook.declare.facts import Fact, Facts

from ..postgres.common import PSQL
from ..rabbitmq.common import VHOST, api
from ..shared.roles import POSTGRES, RABBITMQ

WAITING = 300
"""Seconds after which a queued task counts as one that no worker takes."""

STANDSTILL = 60
"""Seconds after which a session that waits for another's lock is reported."""

QUESTION = f"""select json_build_object(
  'leader', not pg_is_in_recovery(),
  'schema', (select version_num from alembic_version),
  'jobs', (select json_object_agg(job, age) from (
    select job_type || ' ' || hostname as job,
           min(extract(epoch from now() - latest_heartbeat))::int as age
    from job where state = 'running' and job_type <> 'LocalTaskJob' group by 1) alive),
  'broken', (select json_agg(distinct filename) from import_error),
  'queued', (select count(*) from task_instance
    where state = 'queued' and queued_dttm < now() - interval '{WAITING} seconds'),
  'running', (select count(*) from task_instance where state = 'running'),
  'holder', (
    select json_build_object('waited', extract(epoch from now() - waits.query_start)::int,
      'pid', holds.pid, 'address', coalesce(host(holds.client_addr), ''),
      'state', coalesce(holds.state, holds.backend_type))
    from pg_stat_activity waits, unnest(pg_blocking_pids(waits.pid)) as blocking(pid),
      pg_stat_activity holds
    where waits.datname = current_database() and waits.wait_event_type = 'Lock'
      and waits.query_start < now() - interval '{STANDSTILL} seconds'
      and holds.pid = blocking.pid and cardinality(pg_blocking_pids(holds.pid)) = 0
    order by waits.query_start limit 1))"""


@dataclass(frozen=True)
class Holder:
    """A session of the database for which another one waits, and for how many seconds.

    `address` is that of the proxy, if there is one in between. `state` is the kind of process where
    PostgreSQL has no state, as for an autovacuum worker.
    """

    waited: int
    pid: int
    address: str
    state: str


@dataclass(frozen=True)
class State:
    """Airflow as its database sees it. `ages`: seconds since a job's last heartbeat."""

    leader: bool
    schema: str
    ages: dict[tuple[str, str], int]
    broken: tuple[str, ...]
    queued: int
    running: int
    holder: Optional[Holder] = None


def parse(text: str) -> State:
    """Parse the answer of DATABASE."""
    told = json.loads(text)
    jobs = {tuple(job.split(" ", 1)): age for job, age in (told["jobs"] or {}).items()}
    return State(
        leader=told["leader"],
        schema=told["schema"],
        ages={(kind, host): age for (kind, host), age in jobs.items()},
        broken=tuple(told["broken"] or ()),
        queued=told["queued"],
        running=told["running"],
        holder=Holder(**told["holder"]) if told["holder"] else None,
    )


DATABASE = Fact(
    "what Airflow's database says",
    on=POSTGRES,
    command=lambda cluster, host: f'{PSQL} -d airflow -c "{" ".join(QUESTION.split())}"',
    parse=parse,
    absent="fab airflow.database creates it",
)


@dataclass(frozen=True)
class Consumer:
    """A consumer of a queue: its connection and address."""

    queue: str
    connection: str
    address: str


def taking(text: str) -> tuple[Consumer, ...]:
    """Parse the answer of CONSUMERS."""
    return tuple(
        Consumer(
            one["queue"]["name"],
            one["channel_details"]["connection_name"],
            one["channel_details"]["peer_host"],
        )
        for one in json.loads(text)
    )


CONSUMERS = Fact(
    "who takes tasks from the queue",
    on=RABBITMQ,
    command=lambda cluster, host: api(
        cluster,
        f"consumers/{VHOST}?columns="
        "queue.name,channel_details.connection_name,channel_details.peer_host",
    ),
    parse=taking,
    absent="its management API does not answer; see fab rabbitmq.check",
)


def present(facts: Facts) -> Optional[State]:
    """The state according to the database's leader; None if there is no leader, or no schema."""
    known = facts.known(DATABASE)
    return next((state for state in known.values() if state.leader), None)
