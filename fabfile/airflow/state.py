"""The state of Airflow's database: schema, heartbeats, broken DAGs, tasks that no worker takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Union

import msgspec

from runbook.declare.answers import Count, Line, Name, Origin, of_json, one
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


class _Holder(msgspec.Struct):
    waited: int
    pid: Count
    address: Origin
    state: Line


class _Told(msgspec.Struct):
    """The answer to QUESTION."""

    leader: bool
    schema: Name
    jobs: Optional[dict[Line, int]]
    broken: Optional[list[Optional[str]]]
    queued: Count
    running: Count
    holder: Optional[_Holder]


def parse(text: str) -> State:
    """Parse the answer of DATABASE."""
    told = of_json(text, _Told)
    ages = {}
    for job, age in (told.jobs or {}).items():
        kind, host = job.split(" ", 1)
        ages[one(kind, Name), one(host, Name)] = age
    return State(
        leader=told.leader,
        schema=told.schema,
        ages=ages,
        broken=tuple(path for path in told.broken or () if path),
        queued=told.queued,
        running=told.running,
        holder=Holder(**msgspec.structs.asdict(told.holder)) if told.holder else None,
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


class _Queue(msgspec.Struct):
    name: Line


class _Channel(msgspec.Struct):
    connection_name: Line = ""
    peer_host: Origin = ""


class _Consumer(msgspec.Struct):
    """A consumer as the management API lists it; an empty mapping is an empty list there."""

    queue: _Queue
    channel_details: Union[_Channel, list[str]]


def taking(text: str) -> tuple[Consumer, ...]:
    """Parse the answer of CONSUMERS."""
    return tuple(
        Consumer(
            listed.queue.name,
            listed.channel_details.connection_name,
            listed.channel_details.peer_host,
        )
        for listed in of_json(text, list[_Consumer])
        if isinstance(listed.channel_details, _Channel)
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
