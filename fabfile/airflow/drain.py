"""Bringing Airflow to a standstill: tasks end, queues are empty, nothing has a heartbeat."""

from __future__ import annotations

from dataclasses import replace

from runbook.declare.step import Step, quote
from runbook.declare.steps import command, precondition, wait_for
from runbook.inventory.cluster import Cluster

from ..postgres.common import PSQL
from ..rabbitmq.common import VHOST
from ..shared.versions import Versions
from .queues import all_served
from .state import CELERYS_OWN


def in_time(title: str, test: str, wait: int, otherwise: str) -> Step:
    """Wait this many seconds at most; then `otherwise` prints what is still in the way."""
    again = "To let everything continue as before until then: fab systemd.start"
    return replace(
        wait_for(title, test, timeout=wait + 60),
        apply=f"while ((SECONDS < {wait})); do\n  if {test}; then exit; fi\n  sleep 1\ndone\n"
        f"{otherwise}\necho '{again}'\nexit 1",
    )


def listed(columns: str, wanted: str) -> str:
    """A command that lists queues of tasks in $found: a name, and `columns`, for each `wanted` one.

    `wanted`: a condition of awk's.
    """
    queues = f"queues=$(rabbitmqctl -q list_queues -p {VHOST} name {columns} --silent)"
    chosen = f"awk -F '\\t' {quote(f'$1 !~ /{CELERYS_OWN}/ && {wanted}')}"
    return f'{queues} && found=$({chosen} <<<"$queues")'


def nothing_waits_for_ever(cluster: Cluster) -> Step:
    """No task is in a queue that no worker serves: it would never end."""
    own = "|".join(queue.replace(".", "[.]") for queue in all_served(cluster))
    stuck = listed("messages consumers", f"$1 !~ /^({own})$/ && $2 > 0 && $3 == 0")
    return precondition(
        "no task waits in a queue that no worker serves",
        f"{stuck} && [[ ! $found ]]",
        f"""{stuck}
echo 'Queues without a worker, their tasks, and 0 consumers:'
echo "$found"
echo 'To serve one: airflow.celery_workers in {cluster.file.name}, then fab systemd.'
echo 'To discard its tasks: rabbitmqctl purge_queue -p {VHOST} QUEUE'""",
    )


def queues_are_empty(wait: int) -> Step:
    """No task is in a queue or held by a worker: workers acknowledge a task when it ends."""
    busy = listed("messages", "$2 > 0")
    return in_time(
        "no worker has a task, or waits for one that is in a queue",
        f"{busy} && [[ ! $found ]]",
        wait,
        f"""{busy}
echo 'Queues, and their tasks that wait or are at work:'
echo "$found"
echo 'Wait, or stop them in the web UI; then rerun the command.'""",
    )


def busy(columns: str) -> str:
    """A command that lists running and deferred tasks in $found."""
    query = (
        "select dag_id || ' ' || task_id || ': ' || state from task_instance "
        "where state in ('running', 'deferred') order by 1"
    )
    return f'found=$({PSQL} -d airflow -c "{query}{columns}")'


def no_task_runs(wait: int) -> Step:
    """No task runs or is deferred, according to Airflow itself.

    No trigger is left either: 2.9.0 stores them in another way, and may be unable to read them.
    """
    triggers = f"$({PSQL} -d airflow -c 'select count(*) from trigger')"
    return in_time(
        "no task runs, and none is deferred",
        f"{busy('')} && [[ ! $found && {triggers} == 0 ]]",
        wait,
        f'{busy(" limit 10")}\necho "$found"\n'
        "echo 'These tasks, or their triggers, are not done. Wait, or stop them in the web UI;'\n"
        "echo 'then rerun the command.'",
    )


def nothing_alive() -> Step:
    """Nothing of Airflow has a heartbeat, on these servers or on others."""
    query = (
        "select job_type || ' on ' || hostname from job where state = 'running' "
        "and latest_heartbeat > now() - interval '30 seconds'"
    )
    alive = f'found=$({PSQL} -d airflow -c "{query}")'
    return in_time(
        "nothing of Airflow is alive",
        f"{alive} && [[ ! $found ]]",
        90,
        f"{alive}\necho \"$found\"\necho 'This still runs. Stop it there; then rerun the command.'",
    )


def queues_of_their_type(cluster: Cluster) -> Step:
    """Delete queues of the other type, which cannot be declared again, if they are empty.

    A task may have declared any name: others than those that hosts.yaml may have are left alone.
    """
    kind = "quorum" if cluster[Versions].quorum_queues else "classic"
    others = listed("type messages", f'$1 ~ /^[A-Za-z0-9_][A-Za-z0-9_.-]*$/ && $2 != "{kind}"')
    return command(
        f"queues of tasks are {kind} queues",
        f"""{others}
while read -r name type messages; do
  [[ $name ]] || continue
  if ((messages)); then
    echo "The queue $name is a $type queue, and holds messages: $messages."
    echo "To discard them: rabbitmqctl purge_queue -p {VHOST} $name; then rerun the command."
    echo 'Airflow hands out their tasks again after task_queued_timeout.'
    exit 1
  fi
  rabbitmqctl delete_queue -p {VHOST} "$name" </dev/null
done <<<"$found"
""",
        unless=f"{others} && [[ ! $found ]]",
    )
