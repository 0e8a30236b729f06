"""Drills of Airflow: tasks go on without a scheduler, and those of a lost worker run again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from runbook.declare import steps
from runbook.declare.drills import POWER_LOSS, Deed, Drill, Mark, Outage, Target
from runbook.declare.facts import Facts
from runbook.declare.step import Steps
from runbook.inventory.cluster import Cluster, Host

from ..shared.loads import PAGES, ROWS, TASKS
from ..shared.roles import SCHEDULER, WEBSERVER, WORKER
from ..ssh.common import key_host
from .common import section
from .drill_tasks import DAG


def these(*hosts: Host) -> Target:
    """Hosts that do not depend on anything."""

    def chosen(cluster: Cluster, facts: Facts) -> Sequence[Host]:
        return hosts

    return Target(chosen)


@section.drills
def drills(cluster: Cluster) -> Iterator[Drill]:
    """What may happen to schedulers, webservers and workers."""
    schedulers = cluster.group(SCHEDULER)
    for host in schedulers if len(schedulers) > 1 else ():
        yield Drill(
            f"scheduler-stop-{host.name}",
            f"The scheduler of {host.name} stops.",
            these(host),
            of_component(SCHEDULER),
            (TASKS,),
            watch=60,
        )
    for host in cluster.group(WEBSERVER)[:1]:
        yield Drill(
            "webserver-stop",
            "A webserver stops.",
            these(host),
            of_component(WEBSERVER),
            (PAGES,),
            watch=15,
        )
    for host in cluster.group(WORKER)[:1]:
        yield Drill(
            "worker-kill",
            "A worker is killed in the middle of tasks.",
            these(host),
            Deed(killed, partial(runs, "airflow-worker.service"), ready=at_work),
            (TASKS,),
            Mark(seconds=120),
            watch=60,
            patience=300,
            trade="a task whose worker fell silent runs again after 120 s "
            "(scheduler_zombie_task_threshold); with less, tasks would be given up that only wait "
            "for a new leader of the database",
        )
    if schedulers and cluster.group(WORKER):
        yield Drill(
            "vm1-power-loss",
            "VM1 loses its power, with all that runs on it.",
            these(*key_host(cluster)),
            Outage(POWER_LOSS),
            (ROWS, PAGES, TASKS),
            Mark(retried=0),
            watch=60,
        )


def of_component(role: str) -> Deed:
    """The fault of a part of Airflow that stops."""
    unit = f"airflow-{role}.service"
    return Deed(partial(stopped, unit), partial(runs, unit), soft=True, roles=(role,))


def stopped(unit: str, host: Host, cluster: Cluster) -> Steps:
    """The service does not run."""
    yield steps.stopped(unit)


def runs(unit: str, host: Host, cluster: Cluster) -> Steps:
    """The service runs."""
    yield steps.service(unit)


def at_work(host: Host, cluster: Cluster) -> Steps:
    """A task of the drill is in the middle of its work."""
    yield steps.wait_for(
        "a task is at work",
        f"pgrep -u airflow -f '^airflow task (runner|supervisor).*{DAG}.*long' >/dev/null",
        timeout=60,
    )


def killed(host: Host, cluster: Cluster) -> Steps:
    """The worker and all its tasks are gone at once."""
    yield steps.action("the worker is killed", "systemctl kill -s KILL airflow-worker.service")
