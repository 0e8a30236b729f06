"""Bringing Airflow to a standstill: tasks end, the queue is empty, nothing has a heartbeat."""

from __future__ import annotations

from dataclasses import replace

from runbook.declare.step import Step
from runbook.declare.steps import command, wait_for
from runbook.inventory.cluster import Cluster

from ..postgres.common import PSQL
from ..rabbitmq.common import VHOST
from ..shared.airflow import QUEUE
from ..shared.versions import Versions


def in_time(title: str, test: str, wait: int, otherwise: str) -> Step:
    """Wait this many seconds at most; then `otherwise` prints what is still in the way."""
    again = "To let everything continue as before until then: fab systemd.start"
    return replace(
        wait_for(title, test, timeout=wait + 60),
        apply=f"while ((SECONDS < {wait})); do\n  if {test}; then exit; fi\n  sleep 1\ndone\n"
        f"{otherwise}\necho '{again}'\nexit 1",
    )


def queue_listed(columns: str) -> str:
    """A command that lists Airflow's own queue in $listed."""
    all_of_them = f"queues=$(rabbitmqctl -q list_queues -p {VHOST} name {columns} --silent)"
    return f"{all_of_them} && listed=$(sed -n 's/^{QUEUE}\\t//p' <<<\"$queues\")"


def queue_is_empty(wait: int) -> Step:
    """No task is in the queue or held by a worker: workers acknowledge a task when it ends."""
    return in_time(
        "no worker has a task, or waits for one that is in the queue",
        f"{queue_listed('messages')} && ((${{listed:-0}} == 0))",
        wait,
        f'{queue_listed("messages")}\necho "Tasks in the queue or at work: $listed. Wait, or stop '
        'them in the web UI; then rerun the command."',
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


def queue_of_its_type(cluster: Cluster) -> Step:
    """Delete a queue of the other type, which cannot be declared again, if it is empty."""
    kind = "quorum" if cluster[Versions].quorum_queues else "classic"
    listed = queue_listed("type messages")
    return command(
        f"there is no queue {QUEUE}, or it is a {kind} queue",
        f"""{listed}
read -r kind messages <<<"$listed"
if ((messages)); then
  echo "The queue {QUEUE} is a $kind queue, and holds messages: $messages."
  echo 'To discard them: rabbitmqctl purge_queue -p {VHOST} {QUEUE}; then rerun the command.'
  echo 'Airflow hands out their tasks again after task_queued_timeout.'
  exit 1
fi
rabbitmqctl delete_queue -p {VHOST} {QUEUE}""",
        unless=f"{listed} && [[ ! $listed || $listed == {kind}* ]]",
    )
