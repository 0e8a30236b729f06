"""Airflow's services: what runs on which server, and how it starts, works and stops."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Callable

from runbook.declare import steps
from runbook.declare.step import Step, Steps
from runbook.declare.work import Stage, stage
from runbook.inventory.cluster import Cluster, Host

from .. import python_build
from ..nfs import common as nfs
from ..rabbitmq.settings import Rabbitmq
from ..shared.airflow import AIRFLOW_HOME, HOME, LOGS, Load, autoscale, tasks_at_once
from ..shared.roles import NFS
from .common import SCRIPTS, SQL, WEBSERVER_HERE
from .configure import CHANGED
from .installation import folder
from .queues import served
from .settings import Airflow

TARGET = "airflow.target"


@dataclass(frozen=True)
class Component:
    """A part of Airflow with a unit of its own; `patience`: seconds that it has to stop."""

    role: str
    about: str
    command: str
    patience: int = 60
    reads_dags: bool = False

    @property
    def unit(self) -> str:
        """The unit's name."""
        return f"airflow-{self.role}.service"


COMPONENTS = (
    Component("scheduler", "scheduler", "scheduler --skip-serve-logs"),
    Component("dag-processor", "DAG processor", "dag-processor", reads_dags=True),
    Component("triggerer", "triggerer", "triggerer"),
    Component(
        "worker",
        "Celery worker",
        "celery worker --celery-hostname celery@%H --pid /run/airflow-worker/worker.pid",
        reads_dags=True,
    ),
    Component("webserver", "webserver", "webserver --pid /run/airflow-webserver/webserver.pid"),
    Component("flower", "Flower", "celery flower", patience=20),
)
"""In the order in which they stop: first what hands out tasks, last what only shows them."""


def service_hosts(cluster: Cluster) -> list[Host]:
    """The servers that run a part of Airflow."""
    return [host for host in cluster.hosts.values() if components(host)]


def components(host: Host) -> list[Component]:
    """The parts of Airflow that a server runs."""
    return [component for component in COMPONENTS if component.role in host.roles]


def follows_the_share(component: Component, host: Host) -> bool:
    """Whether it runs only where the share's VIP is: the DAG processor of an NFS server does."""
    return component.role == "dag-processor" and NFS in host.roles


def command(component: Component, host: Host, cluster: Cluster) -> str:
    """The command that the unit runs."""
    if component.role != "worker":
        return component.command
    scale = autoscale(host, cluster[Load])
    size = f"--concurrency {tasks_at_once(host, cluster)}"
    if scale:
        size = f"--autoscale {scale.max},{scale.min}"
    return f"{component.command} --queues {','.join(served(host, cluster))} {size}"


def patience(component: Component, cluster: Cluster) -> int:
    """Seconds until systemd kills a service that does not stop: a worker ends its tasks first."""
    if component.role == "worker":
        return cluster[Rabbitmq].longest_task + component.patience
    return component.patience


BY_HAND = ("airflow.service", "airflow-celeryworker.service", "airflow-flower.service")
"""Units with the names of the written runbook, for hosts that were set up by hand."""


def no_other_units(host: Host) -> Step:
    """No second worker or scheduler runs, such as one of an older installation."""
    own = [component.unit for component in components(host)]
    others = [*BY_HAND, *(component.unit for component in COMPONENTS)]
    names = " ".join(name for name in dict.fromkeys(others) if name not in own)
    return steps.precondition(
        "no other units of Airflow run or start at boot",
        f"! {{ systemctl is-active {names}; systemctl is-enabled {names}; }} 2>/dev/null |\n"
        "  grep -qxE 'active|activating|enabled'",
        f"""for unit in {names}; do
  if systemctl is-active -q "$unit" || systemctl is-enabled -q "$unit" 2>/dev/null; then
    echo "$unit runs or is enabled, but no role of {host.name} in hosts.yaml uses it."
    echo "Disable it: systemctl disable --now $unit"
  fi
done""",
    )


def installed(host: Host, cluster: Cluster, name: str) -> Steps:
    """The units of an installation, whatever is there now."""
    yield no_other_units(host)
    if cluster.selinux != "disabled":
        # systemd starts Airflow in its own domain only if its programs have the right labels.
        for path in (python_build.home(cluster), folder(name)):
            yield steps.selinux_labels(path)
    for component in components(host):
        at_boot = not follows_the_share(component, host)
        context = {
            "component": component,
            "venv": folder(name),
            "command": command(component, host, cluster),
            "patience": patience(component, cluster),
            "at_boot": at_boot,
            "user_home": HOME,
            "own": (AIRFLOW_HOME, LOGS),
            "writable": cluster[Airflow].writable,
        }
        source = "systemd/component.service.j2"
        yield steps.unit(component.unit, source, context).then(CHANGED)
        if component.role == "worker":
            yield steps.drop_in(component.unit, "systemd/oom.conf")
    yield steps.unit(TARGET, "systemd/airflow.target", {})
    for component in components(host):
        if not follows_the_share(component, host):
            yield steps.enabled(component.unit)
    yield steps.enabled(TARGET)


def started(host: Host, cluster: Cluster) -> Steps:
    """Start what does not run, restart what waits for a restart, and wait until all of it works."""
    yield steps.restarted_if_noted(
        "Airflow", CHANGED, f"systemctl try-restart {units(host)}", timeout=patient(host, cluster)
    )
    yield from running(host, cluster)


def units(host: Host) -> str:
    """The server's units, as words."""
    return " ".join(component.unit for component in components(host))


def patient(host: Host, cluster: Cluster) -> int:
    """Seconds that all of a server's units may take to stop and start."""
    return max(patience(component, cluster) for component in components(host)) + 120


def running(host: Host, cluster: Cluster) -> Steps:
    """Each unit runs and does its work."""
    for component in components(host):
        yield runs(component, host, cluster)
    for component in components(host):
        yield from at_work(component, host)


def runs(component: Component, host: Host, cluster: Cluster) -> Step:
    """The unit runs; that of an NFS server's DAG processor where the VIP is."""
    if follows_the_share(component, host):
        return with_the_share(component, cluster)
    return steps.service(component.unit)


def start_of(component: Component, cluster: Cluster) -> Callable[[Host], Steps]:
    """A function that starts one part of Airflow on a host, and waits until it works."""

    def on(host: Host) -> Steps:
        yield runs(component, host, cluster)
        yield from at_work(component, host)

    return on


def with_the_share(component: Component, cluster: Cluster) -> Step:
    """It runs on the server that holds the share's VIP, and only there."""
    held = f"$(ip -o -4 addr show to {nfs.vip(cluster).address})"
    return steps.command(
        "the DAG processor runs where the share's VIP is",
        f"if [[ {held} ]]; then systemctl start {component.unit}\n"
        f"else systemctl stop {component.unit}\nfi",
        unless=f"if [[ {held} ]]; then systemctl is-active -q {component.unit}\n"
        f"else [[ $(systemctl is-active {component.unit}) != active ]]\nfi",
    )


JOBS = {"scheduler": "SchedulerJob", "triggerer": "TriggererJob"}
"""By role: the name of its job in Airflow's database."""


def at_work(component: Component, host: Host) -> Iterator[Step]:
    """Wait until it works: it answers, or its first heartbeat is in the database."""
    if component.role == "webserver":
        yield steps.wait_for(
            "the webserver answers",
            f"curl -sf -m 5 -o /dev/null {WEBSERVER_HERE}/health",
            timeout=180,
        )
    if component.role in JOBS:
        yield steps.wait_for(
            f"the {component.role} has a heartbeat",
            heartbeat(component.unit, JOBS[component.role], host),
            timeout=120,
        )


def heartbeat(unit: str, job: str, host: Host) -> str:
    """A test: a job that began after the unit's last start has a heartbeat in the database."""
    since = f'$(ps -o etimes= -p "$(systemctl show -p MainPID {unit} | cut -d= -f2)")'
    return (
        f"[[ $({SQL} \"select 1 from job where job_type = '{job}' and "
        f"hostname = '{host.name}' and state = 'running' and latest_heartbeat > "
        f"now() - interval '15 seconds' and start_date > "
        f"now() - interval '$(({since} + 2)) seconds' limit 1\") ]]"
    )


def proven(host: Host) -> Iterator[Step]:
    """Wait until those parts work, too, that only another installation could keep from it."""
    for component in components(host):
        if component.role == "worker":
            yield steps.wait_for(
                "the worker answers through the queue",
                f"[[ $({ping(host)} 2>/dev/null) == *pong* ]]",
                timeout=180,
            )
        if component.role == "dag-processor":
            beats = heartbeat(component.unit, "DagProcessorJob", host)
            yield steps.wait_for(
                "the DAG processor has a heartbeat, if it runs here",
                f"! systemctl is-active -q {component.unit} || {beats}",
                timeout=180,
            )


CELERY = "airflow.providers.celery.executors.celery_executor_utils.app"


def ping(host: Host) -> str:
    """A command that asks a worker through the queue."""
    return f"{SCRIPTS}/as-airflow celery -A {CELERY} inspect ping -d celery@{host.name} -t 5"


def stop_all(hosts: Sequence[Host], cluster: Cluster) -> Iterator[Stage]:
    """Stop Airflow on these servers: first what hands out tasks, then workers that are done."""
    for component in COMPONENTS:
        yield from stopping(component, hosts, cluster)


def restart_all(hosts: Sequence[Host], cluster: Cluster) -> Iterator[Stage]:
    """Restart Airflow on these servers, never on two of a role at once."""
    for batch in cluster.apart(hosts):
        yield restarting(batch, cluster)


def stopping(component: Component, hosts: Sequence[Host], cluster: Cluster) -> Iterator[Stage]:
    """Stop one part of Airflow on all of these servers that run it."""
    chosen = [host for host in hosts if component in components(host)]
    if chosen:
        yield stage(f"stop: {component.about}", chosen, stopped(component, cluster))


def stopped(component: Component, cluster: Cluster) -> Step:
    """The unit does not run."""
    return steps.stopped(component.unit, timeout=patience(component, cluster) + 60)


def restarting(batch: Sequence[Host], cluster: Cluster) -> Stage:
    """Restart Airflow's services on some servers, and wait until they work again."""
    names = ", ".join(host.name for host in batch)

    def again(host: Host) -> Steps:
        yield steps.action(
            "Airflow's running services have restarted",
            f"systemctl try-restart {units(host)}",
            timeout=patient(host, cluster),
        ).clearing(CHANGED)
        yield from running(host, cluster)

    return stage(f"restart on {names}", batch, again)
