"""The state of Airflow's database: schema, heartbeats, broken DAGs, tasks that no worker takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Optional, Union

import msgspec

from runbook.declare.answers import Count, Line, Name, Origin, of_json, one
from runbook.declare.facts import Fact, Facts

from ..postgres.common import PSQL
from ..rabbitmq.common import VHOST, api
from ..rabbitmq.users import DELAYS
from ..shared.roles import POSTGRES, RABBITMQ

WAITING = 300
"""Seconds after which a queued task counts as one that no worker takes."""

STANDSTILL = 60
"""Seconds after which a session that waits for another's lock is reported."""

MOST = 100
"""Queues that are told, the busiest first."""

PRINTABLE = "left(regexp_replace({}, '[^!-~]', '?', 'g'), 100)"
"""A name that a DAG gives, as one word."""

CELERYS_OWN = rf"^({DELAYS}$|celeryev\.)|\.celery\.pidbox$"
"""Queues that are not for tasks: delays, events, remote control and its replies."""

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
  'waiting', (select json_object_agg(queue, tasks) from (
    select {PRINTABLE.format("queue")} as queue, count(*) as tasks from task_instance
    where state in ('queued', 'scheduled') and queue is not null
    group by 1 order by 2 desc limit {MOST}) as waiting),
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
    """Airflow as its database sees it. `ages`: seconds since a job's last heartbeat.

    `waiting`: for each queue, the tasks that wait for a worker, or to be handed to one.
    """

    leader: bool
    schema: str
    ages: dict[tuple[str, str], int]
    broken: tuple[str, ...]
    queued: int
    running: int
    holder: Optional[Holder] = None
    waiting: Mapping[str, int] = field(default_factory=dict)


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
    waiting: Optional[dict[Line, Count]]


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
        waiting=told.waiting or {},
    )


def asked(question: str) -> str:
    """A command that asks Airflow's database."""
    return f'{PSQL} -d airflow -c "{" ".join(question.split())}"'


DATABASE = Fact(
    "what Airflow's database says",
    on=POSTGRES,
    command=lambda cluster, host: asked(QUESTION),
    parse=parse,
    absent="fab airflow.database creates it",
)


NAMED = f"""select coalesce(json_object_agg(queue, dags), '{{}}') from (
  select {PRINTABLE.format("queue")} as queue,
    to_json((array_agg(distinct {PRINTABLE.format("dag_id")}))[1:3]) as dags
  from (
    select dag_id, coalesce(task ->> 'queue', task -> 'partial_kwargs' ->> 'queue') as queue
    from serialized_dag join dag using (dag_id),
      json_array_elements(data -> 'dag' -> 'tasks') as task
    where is_active and not is_paused and not pg_is_in_recovery()) as tasks
  where queue is not null group by 1 order by 1 limit {MOST}) as named"""


def dags_of_queues(text: str) -> dict[str, list[str]]:
    """Parse the answer of DAG_QUEUES: for each queue, the first DAGs with tasks for it."""
    return of_json(text, dict[Line, list[Line]])


DAG_QUEUES = Fact(
    "the queues that DAGs name",
    on=POSTGRES,
    command=lambda cluster, host: asked(NAMED),
    parse=dags_of_queues,
    absent="fab airflow.database creates the database",
    thorough=True,
)


@dataclass(frozen=True)
class TaskQueue:
    """A queue of tasks on RabbitMQ: the messages in it, and how many consumers it has."""

    name: str
    messages: int
    consumers: int


class _TaskQueue(msgspec.Struct):
    """A queue as the management API lists it; one that is down has only a name."""

    name: Line
    messages: int = 0
    consumers: int = 0


def task_queues(text: str) -> tuple[TaskQueue, ...]:
    """Parse the answer of TASK_QUEUES, without Celery's own queues."""
    return tuple(
        TaskQueue(listed.name, listed.messages, listed.consumers)
        for listed in of_json(text, list[_TaskQueue])
        if not re.search(CELERYS_OWN, listed.name)
    )


TASK_QUEUES = Fact(
    "the queues of tasks",
    on=RABBITMQ,
    command=lambda cluster, host: api(cluster, f"queues/{VHOST}?columns=name,messages,consumers"),
    parse=task_queues,
    absent="its management API does not answer; see fab rabbitmq.check",
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
