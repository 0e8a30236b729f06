"""The runbook's service files: what runs of Airflow on which server, and how it is looked after."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .airflow.chapter import SQL, same_version, venv
from .airflow.configure import CHANGED
from .engine import steps
from .engine.cluster import Cluster, Host
from .engine.entry import perhaps
from .engine.errors import UsageError
from .engine.probes import ERROR, OK, Answer, Cause, Probes, Verdict, probe
from .engine.section import Facts, Procedure, Section, Stage, stage
from .engine.step import Step, Steps
from .nfs import chapter as nfs

TARGET = "airflow.target"


@dataclass(frozen=True)
class Component:
    """A part of Airflow with a unit of its own; `patience`: seconds that it gets to stop."""

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
        "celery worker --queues default --celery-hostname celery@%H "
        "--pid /run/airflow-worker/worker.pid",
        reads_dags=True,
    ),
    Component("webserver", "webserver", "webserver --pid /run/airflow-webserver/webserver.pid"),
    Component("flower", "Flower", "celery flower", patience=20),
)
"""In the order in which they stop: first what hands out tasks, last what only shows them."""


def hosts(cluster: Cluster) -> list[Host]:
    """The servers that run a part of Airflow."""
    return [host for host in cluster.hosts.values() if components(host)]


def components(host: Host) -> list[Component]:
    """What a server runs."""
    return [component for component in COMPONENTS if component.role in host.roles]


section = Section(
    "systemd",
    on=hosts,
    runbook="Systemd Service Files",
    about="Airflow's services: one unit for each part, on the servers whose role has it.",
)


def follows_the_share(component: Component, host: Host) -> bool:
    """The DAG processor of an NFS server runs where the share's VIP is, and nowhere else."""
    return component.role == "dag-processor" and "nfs" in host.roles


def command(component: Component, host: Host, cluster: Cluster) -> str:
    """What the unit starts."""
    if component.role != "worker":
        return component.command
    return f"{component.command} --concurrency {concurrency(host, cluster)}"


def concurrency(host: Host, cluster: Cluster) -> int:
    """Tasks that a worker takes at once: 256 MB for each beyond the first GB, 4 a processor."""
    by_size = max(2, min(4 * host.cpu, (host.ram_mb - 1024) // 256))
    return cluster.airflow.concurrency or by_size


def patience(component: Component, cluster: Cluster) -> int:
    """Seconds until systemd kills what does not stop: a worker ends its tasks first."""
    if component.role == "worker":
        return cluster.rabbitmq.longest_task + component.patience
    return component.patience


@section.task
def install(host: Host, cluster: Cluster) -> Steps:
    """Install a unit for each part of Airflow that a server's roles name.

    They start at boot.

    The DAG processor of an NFS server has no place in the boot: keepalived starts it with the VIP.
    """
    yield same_version(cluster)
    yield from installed(host, cluster)


def installed(host: Host, cluster: Cluster) -> Steps:
    """The units of hosts.yaml's version, whatever was there."""
    for component in components(host):
        at_boot = not follows_the_share(component, host)
        context = {
            "component": component,
            "venv": venv(cluster),
            "command": command(component, host, cluster),
            "patience": patience(component, cluster),
            "at_boot": at_boot,
        }
        source = "systemd/component.service.j2"
        yield steps.unit(component.unit, source, context).then(CHANGED)
    yield steps.unit(TARGET, "systemd/airflow.target", {})
    for component in components(host):
        if not follows_the_share(component, host):
            yield steps.enabled(component.unit)
    yield steps.enabled(TARGET)


@section.task(batches=lambda hosts, cluster: cluster.apart(hosts))
def start(host: Host, cluster: Cluster) -> Steps:
    """Start what does not run, and restart what waits; never two of a role at once."""
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
        if follows_the_share(component, host):
            yield with_the_share(component, cluster)
        else:
            yield steps.service(component.unit)
    for component in components(host):
        yield from at_work(component, host)


def with_the_share(component: Component, cluster: Cluster) -> Step:
    """It runs on the server that holds the share's VIP, and only there."""
    held = f"$(ip -o -4 addr show to {nfs.vip(cluster).address})"
    return steps.command(
        "the DAG processor runs where the share's VIP is",
        f"if [[ {held} ]]; then systemctl start {component.unit}\n"
        f"else systemctl stop {component.unit}\nfi",
        unless=f"if [[ {held} ]]; then systemctl is-active -q {component.unit}\n"
        f"else ! systemctl is-active -q {component.unit}\nfi",
    )


JOBS = {"scheduler": "SchedulerJob", "triggerer": "TriggererJob"}


def at_work(component: Component, host: Host) -> Iterator[Step]:
    """It is more than a process: it answers, or its first heartbeat is in the database."""
    if component.role == "webserver":
        yield steps.until(
            "the webserver answers",
            "curl -sf -m 5 -o /dev/null http://127.0.0.1:8080/health",
            timeout=180,
        )
    if component.role in JOBS:
        since = f'$(ps -o etimes= -p "$(systemctl show -p MainPID {component.unit} | cut -d= -f2)")'
        yield steps.until(
            f"the {component.role} has a heartbeat",
            f"[[ $({SQL} \"select 1 from job where job_type = '{JOBS[component.role]}' and "
            f"hostname = '{host.name}' and state = 'running' and latest_heartbeat > "
            f"now() - interval '15 seconds' and start_date > "
            f"now() - interval '$(({since} + 2)) seconds' limit 1\") ]]",
            timeout=120,
        )


@section.procedure(needs=[])
def stop(hosts: Sequence[Host], cluster: Cluster, facts: Facts) -> Procedure:
    """Stop Airflow: first what hands out tasks, then workers when theirs are done.

    A reboot starts it again; so does fab systemd.start.
    """
    for component in COMPONENTS:
        yield from stopping(component, hosts, cluster)


def stopping(component: Component, hosts: Sequence[Host], cluster: Cluster) -> Iterator[Stage]:
    """One part of Airflow stops on all of these servers that run it."""
    chosen = [host for host in hosts if component in components(host)]
    if chosen:
        yield stage(f"stop: {component.about}", chosen, stopped(component, cluster))


def stopped(component: Component, cluster: Cluster) -> Step:
    """The unit does not run."""
    return steps.command(
        f"{component.unit} has stopped",
        f"systemctl stop {component.unit}",
        unless=f"! systemctl is-active -q {component.unit}",
        timeout=patience(component, cluster) + 60,
    )


@section.procedure(needs=[])
def restart(hosts: Sequence[Host], cluster: Cluster, facts: Facts) -> Procedure:
    """Restart Airflow server after server, never two of a role at once.

    Workers end their tasks before they do.
    """
    for batch in cluster.apart(hosts):
        yield restarting(batch, cluster)


def restarting(batch: Sequence[Host], cluster: Cluster) -> Stage:
    """Some servers restart what they run of Airflow, and are back at work."""
    names = ", ".join(host.name for host in batch)

    def again(host: Host) -> Steps:
        yield steps.action(
            "what runs of Airflow has restarted",
            f"systemctl try-restart {units(host)}",
            timeout=patient(host, cluster),
        ).clearing(CHANGED)
        yield from running(host, cluster)

    return stage(f"restart on {names}", batch, again)


@section.procedure(
    needs=[],
    help={
        "host": "the server",
        "unit": "the part, such as worker or scheduler",
        "lines": "how many lines",
    },
)
def logs(
    hosts: Sequence[Host], cluster: Cluster, facts: Facts, *, host: str, unit: str, lines: int = 100
) -> Procedure:
    """Show what a part of Airflow wrote last: fab systemd.logs worker1 worker."""
    by_name = {one.name: one for one in hosts}
    if host not in by_name:
        known = ", ".join(by_name)
        raise UsageError(f"{host} is none of Airflow's servers{perhaps(host, by_name)}: {known}.")
    roles = {component.role: component for component in components(by_name[host])}
    role = unit.replace("airflow-", "").replace(".service", "")
    if role not in roles:
        raise UsageError(
            f"{host} runs no {unit}{perhaps(role, roles)}; it runs {', '.join(roles)}."
        )
    journal = f"journalctl -u {roles[role].unit} -n {lines} --no-pager -o short-iso"
    yield stage(f"{role} on {host}", by_name[host], steps.action(journal, journal).telling())


DOWN = Cause("AIRFLOW_UNIT_DOWN", "what this part of Airflow does is left to others of its kind")


@section.check
def check(host: Host, cluster: Cluster) -> Probes:
    """Say which unit was changed, does not run, or restarts again and again."""
    for component in components(host):
        yield probe(
            f"{component.unit} stays up",
            f"systemctl show -p SubState,NRestarts {component.unit}; "
            f"ps -o etimes= -p $(systemctl show -p MainPID {component.unit} | cut -d= -f2) || :",
            stays_up if follows_the_share(component, host) else runs,
            fix=f"fab -H {host.name} systemd.start; "
            f"fab systemd.logs {host.name} {component.role} says why",
            cause=DOWN,
        )


STOPPED = "it does not run"


def runs(answer: Answer) -> Verdict:
    """It stays up, and it is not stopped."""
    verdict = stays_up(answer)
    return Verdict(ERROR, STOPPED) if verdict.sentence == STOPPED else verdict


SHORT = 60
"""Seconds: a service that was restarted and is younger than this may be in a loop."""


def stays_up(answer: Answer) -> Verdict:
    """With Restart=always a service that cannot work starts again and again."""
    told = dict(line.partition("=")[::2] for line in answer.text.splitlines() if "=" in line)
    state, restarts = told.get("SubState", "unknown"), int(told.get("NRestarts") or 0)
    if state == "dead":
        return Verdict(OK, STOPPED)
    if state != "running":
        return Verdict(ERROR, f"it is {state}, after {restarts} restarts")
    age = answer.text.split()[-1]
    if restarts > 1 and age.isdigit() and int(age) < SHORT:
        return Verdict(ERROR, f"it runs for {age} s, after {restarts} restarts")
    return Verdict(OK)
