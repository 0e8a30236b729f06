"""Change Airflow to another version, and back. By name only.

The schema determines the order: the older binaries do not know the newer schema, and only the newer
ones can migrate it, in both directions. So all of Airflow stops, the schema is migrated, then every
server gets the settings and units of the wanted version, and all of it starts.
"""

from __future__ import annotations

from collections.abc import Sequence

from runbook.declare.facts import Facts
from runbook.declare.step import Step, Steps
from runbook.declare.steps import action, precondition, wait_for
from runbook.declare.work import Procedure, Question, Stage, stage
from runbook.errors import RunbookError, UsageError
from runbook.inventory.cluster import Cluster, Host

from ..nfs.common import NETWORK
from ..nfs.state import SERVER, the_active
from ..postgres.common import DUMPS
from ..postgres.members import MEMBER, leader
from ..rabbitmq.nodes import NODE, first_running
from ..rabbitmq.users import policies
from ..shared.airflow import hosts
from ..shared.versions import Versions
from . import drain, schema, services, transport
from .all_servers import refuse_a_part, set_up, start_in_batches, starting
from .common import (
    CLI,
    SCHEMA,
    database_answers,
    first_scheduler,
    row,
    section,
)
from .dags import project_files, tried
from .install import VENV, complete
from .installation import folder, known, version_of, wanted
from .operate import smoke
from .state import DATABASE, State

ASSIGNING = ("scheduler", "dag-processor")
"""What stops first, so that no new task starts."""

NEEDS = (VENV, DATABASE, MEMBER, NODE, NETWORK, SERVER, *transport.NEEDS)


@section.procedure(
    needs=NEEDS,
    help={
        "to": "the version, which must be the one in hosts.yaml (default: that one)",
        "wait": "seconds that tasks have to end",
    },
)
def upgrade(
    hosts: Sequence[Host], cluster: Cluster, facts: Facts, *, to: str = "", wait: int = 3600
) -> Procedure:
    """Upgrade or downgrade Airflow and its schema to hosts.yaml's version. Asks first.

    All of Airflow stops for it, after its tasks have ended, for which they have --wait seconds. The
    database is dumped before. If it is interrupted, rerun the command to complete it.
    """
    version = cluster[Versions].airflow
    if to and to != version:
        raise UsageError(
            f"{cluster.file.name} says versions.airflow: {version}; set it to {to} there first."
        )
    refuse_a_part("airflow.upgrade", hosts, cluster, facts)
    refuse_without_installation(cluster, facts)
    state = schema.known(facts)
    if state.schema == SCHEMA[version]:
        yield Question(
            f"The schema is already that of Airflow {version}. Servers that lack its settings get "
            "them, and services that do not run start."
        )
    else:
        yield from migrated(state, wait, cluster, facts)
    yield from completed(cluster, facts)


def refuse_without_installation(cluster: Cluster, facts: Facts) -> None:
    """Refuse unless every server has the wanted version completely, before anything stops."""
    lacking = [host.name for host in hosts(cluster) if not complete(facts.of(VENV, host), cluster)]
    if lacking:
        raise RunbookError(
            f"{', '.join(lacking)} does not have Airflow {wanted(cluster)}, or it is "
            "damaged there. First run: fab airflow.install airflow.ship airflow.receive. "
            "Nothing was changed."
        )


def migrated(state: State, wait: int, cluster: Cluster, facts: Facts) -> Procedure:
    """Stop a running Airflow, and migrate its schema."""
    version, first = cluster[Versions].airflow, leader(cluster, facts)
    program = migrating(cluster, facts)
    yield may_begin(program, cluster, facts)
    node = first_running(cluster, facts)
    yield stage("no task waits for ever", node, drain.nothing_waits_for_ever(cluster))
    yield stage(f"room for a dump on {first.name}", first, schema.room())
    yield Question(
        f"Airflow changes from {schema.other_version(cluster)} to {version}. "
        f"No task begins until that is done. Running tasks ({state.running}) and deferred ones "
        f"have at most {wait} s to end. Then all of Airflow stops, including the web UI, "
        f"the database is dumped on {first.name}, and the schema is migrated."
    )
    everybody = services.service_hosts(cluster)
    assigning = [one for one in services.COMPONENTS if one.role in ASSIGNING]
    for component in assigning:
        yield from services.stopping(component, everybody, cluster)
    yield stage("tasks in the queue end", node, drain.queues_are_empty(wait))
    yield stage("tasks end", first, drain.no_task_runs(wait))
    for component in services.COMPONENTS:
        if component not in assigning:
            yield from services.stopping(component, everybody, cluster)
    yield stage("all of Airflow stands still", first, drain.nothing_alive())
    yield stage(f"dump the database to {DUMPS}", first, schema.dumped(cluster))
    yield stage(
        f"the schema becomes that of {version}",
        first_scheduler(cluster),
        schema.changed(program, cluster),
    )


def completed(cluster: Cluster, facts: Facts) -> Procedure:
    """Set up and start Airflow on the wanted schema."""
    version, before = cluster[Versions].airflow, schema.other_version(cluster)
    yield set_up(f"every server gets settings and units of {version}", cluster, facts)
    node = first_running(cluster, facts)
    yield stage(
        "queues of the type that it can use",
        node,
        lambda host: policies(host, cluster, facts),
        drain.queues_of_their_type(cluster),
    )
    if version != schema.newer(cluster):
        yield stage("DAGs as it writes them", first_scheduler(cluster), dags_written(cluster))
    ahead = one_of_each(cluster)
    yield starting(ahead, cluster)
    yield from smoke(ahead, cluster, facts)
    yield from start_in_batches(
        [host for host in services.service_hosts(cluster) if host not in ahead], cluster
    )
    yield the_end(before, cluster)


def the_end(before: str, cluster: Cluster) -> Stage:
    """How to go back, as the title of a stage that does nothing."""
    way = f"to go back: versions.airflow: {before} in {cluster.file.name}, then airflow.upgrade"
    there = wait_for(f"dumps are in {DUMPS}", "true")
    return stage(f"{way} (dumps: {DUMPS})", first_scheduler(cluster), there)


# Before anything stops


def may_begin(program: str, cluster: Cluster, facts: Facts) -> Stage:
    """Check first what could stop it halfway: the DAG that is tested afterwards, binaries, DAGs."""
    active = the_active(cluster, facts)
    [scheduler] = first_scheduler(cluster)

    def asked(host: Host) -> Steps:
        if host == scheduler:
            yield database_answers(cluster)
            yield canary()
            yield both_versions(program, cluster)
        if host == active:
            yield from tried(project_files(cluster), cluster)

    chosen = [host for host in hosts(cluster) if host in (scheduler, active)]
    return stage("may it begin?", chosen, asked)


def canary() -> Step:
    """The DAG that is run first afterwards exists."""
    return precondition(
        "the DAG smoke is there, and is not paused",
        row("select 1 from dag where dag_id = 'smoke' and is_active and not is_paused"),
        "echo 'It is run first after the upgrade. fab airflow.dags puts it on the share; if it'\n"
        "echo 'is paused, unpause it in the web UI.'",
    )


def migrating(cluster: Cluster, facts: Facts) -> str:
    """The program that migrates the schema: of the newer version, that in use or the newest."""
    newer = schema.newer(cluster)
    if newer == cluster[Versions].airflow:
        return f"{folder(wanted(cluster))}/bin/airflow"
    [first] = first_scheduler(cluster)
    here = known(first, facts)
    fit = [name for name in (here.in_use, *here.newest_first) if version_of(name) == newer]
    return f"{folder(fit[0] if fit else newer)}/bin/airflow"


def both_versions(program: str, cluster: Cluster) -> Step:
    """The newer binaries are there, also for a downgrade."""
    newer = schema.newer(cluster)
    return precondition(
        f"{program} is there",
        f"[[ -x {program} ]]",
        f"echo 'Only {newer} can migrate the schema in both directions. To install it:'\n"
        f"echo 'set versions.airflow: {newer}, then'\n"
        "echo 'fab airflow.install airflow.ship airflow.receive'",
    )


# Until all of it runs


def dags_written(cluster: Cluster) -> Step:
    """Write DAGs again: the older version may be unable to read what the newer one wrote."""
    return action(
        f"DAGs are in the database as Airflow {cluster[Versions].airflow} writes them",
        f"{CLI} dags reserialize",
        timeout=1800,
    )


def one_of_each(cluster: Cluster) -> list[Host]:
    """Servers that together run each part once, and all servers whose part follows the share."""
    chosen: set[str] = set()
    for component in services.COMPONENTS:
        running = [host for host in services.service_hosts(cluster) if component.role in host.roles]
        following = [host for host in running if services.follows_the_share(component, host)]
        chosen.update(host.name for host in (following or running[:1]))
    return [host for host in services.service_hosts(cluster) if host.name in chosen]
