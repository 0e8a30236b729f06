"""Airflow comes to a standstill: tasks end, the queue is empty, nothing has a heartbeat."""

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
    """Wait so many seconds at most; then `otherwise` prints what stands in the way."""
    again = "Until then: fab systemd.start lets everything go on as before."
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
    """No task is in the queue or in a worker's hands: workers acknowledge at the end."""
    return in_time(
        "no worker has a task, or waits for one that is in the queue",
        f"{queue_listed('messages')} && ((${{listed:-0}} == 0))",
        wait,
        f'{queue_listed("messages")}\necho "Tasks in the queue or at work: $listed. Wait, or stop '
        'them in the web UI; then the same again."',
    )


def busy(columns: str) -> str:
    """Tasks that run, and triggers: 2.9.0 keeps these in another way, and may not read them."""
    query = (
        "select dag_id || ' ' || task_id || ': ' || state from task_instance "
        "where state in ('running', 'deferred') order by 1"
    )
    return f'found=$({PSQL} -d airflow -c "{query}{columns}")'


def no_task_runs(wait: int) -> Step:
    """No task runs or is deferred, as Airflow itself sees it."""
    triggers = f"$({PSQL} -d airflow -c 'select count(*) from trigger')"
    return in_time(
        "no task runs, and none is deferred",
        f"{busy('')} && [[ ! $found && {triggers} == 0 ]]",
        wait,
        f'{busy(" limit 10")}\necho "$found"\n'
        "echo 'These go on, or their triggers do. Wait, or stop them in the web UI; then the'\n"
        "echo 'same again.'",
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
        f"{alive}\necho \"$found\"\necho 'This still runs. Stop it there; then the same again.'",
    )


def queue_of_its_type(cluster: Cluster) -> Step:
    """A queue of the other type cannot be declared anew; only an empty one goes."""
    kind = "quorum" if cluster[Versions].quorum_queues else "classic"
    listed = queue_listed("type messages")
    return command(
        f"there is no queue {QUEUE}, or it is a {kind} queue",
        f"""{listed}
read -r kind messages <<<"$listed"
if ((messages)); then
  echo "The queue {QUEUE} is a $kind queue, and holds messages: $messages."
  echo 'To give them up: rabbitmqctl purge_queue -p {VHOST} {QUEUE}, then the same again.'
  echo 'Airflow hands out their tasks anew when they have waited for task_queued_timeout.'
  exit 1
fi
rabbitmqctl delete_queue -p {VHOST} {QUEUE}""",
        unless=f"{listed} && [[ ! $listed || $listed == {kind}* ]]",
    )
