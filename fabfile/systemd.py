"""The runbook's service files: Airflow's services on each server, and how they are operated."""

from __future__ import annotations

from collections.abc import Sequence

from runbook.declare import steps
from runbook.declare.facts import Facts
from runbook.declare.probes import ERROR, OK, Answer, Finding, Probes, Verdict, probe
from runbook.declare.section import Section
from runbook.declare.step import Step, Steps
from runbook.declare.work import Procedure, stage
from runbook.errors import UsageError
from runbook.inventory.cluster import Cluster, Host, among
from runbook.inventory.entry import no_such, perhaps

from .airflow.common import same_version
from .airflow.installation import INSTALLATIONS, of
from .airflow.services import (
    COMPONENTS,
    Component,
    components,
    follows_the_share,
    installed,
    restart_all,
    service_hosts,
    start_of,
    started,
    stop_all,
)
from .nfs import common as nfs

section = Section(
    "systemd",
    on=service_hosts,
    runbook="Systemd Service Files",
    about="Run Airflow's services: one unit for each part, on servers with its role.",
    after=("airflow",),
    restarts=("airflow-*.service",),
)


@section.task(needs=[INSTALLATIONS])
def install(host: Host, cluster: Cluster, facts: Facts) -> Steps:
    """Install a unit for each part of Airflow that a server's roles name.

    They start at boot, except the DAG processor of an NFS server, which starts with the VIP.
    """
    yield same_version(cluster)
    yield from installed(host, cluster, of(host, cluster, facts))


@section.task(batches=lambda hosts, cluster: cluster.apart(hosts))
def start(host: Host, cluster: Cluster) -> Steps:
    """Start stopped services, and restart pending ones; never two of a role at once."""
    yield from started(host, cluster)


@section.procedure(needs=[])
def stop(hosts: Sequence[Host], cluster: Cluster, facts: Facts) -> Procedure:
    """Stop Airflow: first what hands out tasks, then workers when theirs are done.

    A reboot or fab systemd.start starts it again.
    """
    yield from stop_all(hosts, cluster)


@section.procedure(needs=[])
def restart(hosts: Sequence[Host], cluster: Cluster, facts: Facts) -> Procedure:
    """Restart Airflow server by server, never two of a role at once.

    Workers end their tasks before they restart.
    """
    yield from restart_all(hosts, cluster)


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
    """Show the last log lines of a part of Airflow: fab systemd.logs worker1 worker."""
    by_name = {one.name: one for one in hosts}
    if host not in by_name:
        raise no_such(f"{host} is not an Airflow server", host, by_name)
    roles = {component.role: component for component in components(by_name[host])}
    role = unit.replace("airflow-", "").replace(".service", "")
    if role not in roles:
        raise UsageError(
            f"{host} does not run {unit}{perhaps(role, roles)}; it runs {', '.join(roles)}."
        )
    journal = f"journalctl -u {roles[role].unit} -n {lines} --no-pager -o short-iso"
    yield stage(f"{role} on {host}", by_name[host], steps.action(journal, journal).with_output())


DOWN = section.cause("AIRFLOW_UNIT_DOWN", "the other servers of this role do its work")


@section.check
def check(host: Host, cluster: Cluster) -> Probes:
    """Check that units are unchanged, run, and do not restart again and again."""
    for component in components(host):
        yield probe(
            f"{component.unit} stays up",
            state_of(component),
            stays_up if follows_the_share(component, host) else runs,
            fix=f"fab -H {host.name} systemd.start; "
            f"fab systemd.logs {host.name} {component.role} shows why",
            cause=DOWN,
        )


def state_of(component: Component) -> str:
    """Commands that print the state of a unit, and the age of its process."""
    return (
        f"systemctl show -p SubState,NRestarts {component.unit}; "
        f'ps -o etimes= -p "$(systemctl show -p MainPID {component.unit} | cut -d= -f2)" || :'
    )


STOPPED = "it does not run"


def runs(answer: Answer) -> Verdict:
    """It stays up, and it is not stopped."""
    verdict = stays_up(answer)
    return Verdict(ERROR, STOPPED) if verdict.sentence == STOPPED else verdict


SHORT = 60
"""Seconds: a service that was restarted and is younger than this may be in a loop."""


def stays_up(answer: Answer) -> Verdict:
    """The service runs, and does not restart again and again."""
    told = dict(line.partition("=")[::2] for line in answer.text.splitlines() if "=" in line)
    state, restarts = told.get("SubState", "unknown"), int(told.get("NRestarts") or 0)
    if state == "dead":
        return Verdict(OK, STOPPED)
    if state != "running":
        return Verdict(ERROR, f"it is {state}, after {restarts} restarts")
    age = answer.text.split()[-1]
    if restarts > 1 and age.isdigit() and int(age) < SHORT:
        return Verdict(ERROR, f"it has run for {age} s, after {restarts} restarts")
    return Verdict(OK)


@section.start(after=["haproxy"])
def power_on(hosts: Sequence[Host], cluster: Cluster, facts: Facts) -> Procedure:
    """Start what shows and carries out tasks first, what hands them out last."""
    own = among(service_hosts(cluster), hosts)
    for component in reversed(COMPONENTS):
        chosen = [host for host in own if component in components(host)]
        if chosen:
            yield stage(f"start: {component.about}", chosen, start_of(component, cluster))


@section.stop()
def power_off(hosts: Sequence[Host], cluster: Cluster, facts: Facts) -> Procedure:
    """Stop schedulers, then workers when their tasks are done; then clients unmount the share."""
    yield from stop_all(among(service_hosts(cluster), hosts), cluster)
    clients = among(nfs.clients(cluster), hosts)
    if nfs.servers(cluster) and clients:
        yield stage("leave the share", clients, *map(unmounted, nfs.trees(cluster)))


def unmounted(tree: nfs.Tree) -> Step:
    """Unmount the share: a hard mount without a server would hang, and the shutdown with it."""
    units = f"{tree.unit}.automount {tree.unit}.mount"
    return steps.command(
        f"{tree.path} is not mounted",
        f"systemctl stop {units}",
        unless=f"! systemctl is-active -q {units}",
        timeout=120,
    )


@section.free(after=["nfs"], reboot_only=True)
def free(hosts: Sequence[Host], cluster: Cluster, facts: Facts) -> Procedure:
    """Wait until tasks end, while schedulers hand out no more of them."""
    yield from stop_all(among(service_hosts(cluster), hosts), cluster)


@section.status_line
def line(cluster: Cluster, facts: Facts, findings: Sequence[Finding]) -> str:
    """How many of Airflow's services run."""
    wanted = [one.verdict for one in findings if one.verdict != Verdict(OK, STOPPED)]
    well = sum(verdict.level == OK for verdict in wanted)
    return f"{well} of {len(wanted)} services run"
