"""Airflow goes to another version, and back. By name only.

The order is that of the schema: the older binaries do not know the newer one, and only the newer
ones can change it, in both directions. So all of Airflow stops, the schema changes, then every
server gets the settings and units of the wanted version, and all of it starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from runbook.declare.facts import Facts
from runbook.declare.step import Step, Steps
from runbook.declare.steps import action, command, precondition, wait_for
from runbook.declare.work import Procedure, Question, Stage, stage
from runbook.errors import RunbookError, UsageError
from runbook.inventory.cluster import Cluster, Host

from ..nfs.common import NETWORK
from ..nfs.state import SERVER, the_active
from ..postgres.common import PSQL, binaries
from ..postgres.members import MEMBER, leader
from ..rabbitmq.common import VHOST
from ..rabbitmq.nodes import NODE, first_running
from ..rabbitmq.users import policies
from ..shared.airflow import QUEUE, hosts
from ..shared.versions import Versions
from . import services
from .all_servers import refuse_a_part, set_up, start_in_batches, starting
from .common import (
    CLI,
    SCHEMA,
    SCRIPTS,
    database_answers,
    first_scheduler,
    row,
    section,
)
from .dags import project_files, tried
from .database import PRESENT
from .install import VENV, made_from
from .operate import smoke
from .state import DATABASE, State, present

BETWEEN = (
    *("375a816bbbf4", "f7bf2a57d0a6", "bd5dfbe21f88", "10b52ebd31f7", "88344c1d9134"),
    *("1fd565369930", "d75389605139", "ab34f260b71c", "8e1c784a4fc7", "b4078ac230a1"),
    "ee1467d4aa35",
)
"""Schemas on the way from 2.7.3 to 2.9.0: each is committed, and a migration may stop there."""

DUMPS = "/var/lib/pgsql/airflow-dumps"
ASSIGNING = ("scheduler", "dag-processor")
"""What stops first, so that tasks only end."""

NEEDS = (VENV, DATABASE, MEMBER, NODE, NETWORK, SERVER)


@section.procedure(
    needs=NEEDS,
    help={
        "to": "the version, which must be that of hosts.yaml (default: that one)",
        "wait": "seconds that tasks get to end",
    },
)
def upgrade(
    hosts: Sequence[Host], cluster: Cluster, facts: Facts, *, to: str = "", wait: int = 3600
) -> Procedure:
    """Take Airflow and its schema to hosts.yaml's version, or back. Asks first.

    Airflow stands still for it, after tasks have ended, for which they get --wait seconds. The
    database is dumped before. One that was cut off is completed by running it again.
    """
    wanted = cluster[Versions].airflow
    if to and to != wanted:
        raise UsageError(
            f"{cluster.file.name} says versions.airflow: {wanted}; set it to {to} there first."
        )
    refuse_a_part("airflow.upgrade", hosts, cluster, facts)
    refuse_without_installation(cluster, facts)
    state = schema_known(facts)
    if state.schema == SCHEMA[wanted]:
        yield Question(
            f"The schema is that of Airflow {wanted}: servers that lack its settings get them, "
            "and what does not run starts."
        )
    else:
        yield from migrated(state, wait, cluster, facts)
    yield from completed(cluster, facts)


def refuse_without_installation(cluster: Cluster, facts: Facts) -> None:
    """Every server has the wanted version, complete, before anything stops."""
    wanted = made_from(cluster)
    lacking = [host.name for host in hosts(cluster) if facts.of(VENV, host) != wanted]
    if lacking:
        raise RunbookError(
            f"{', '.join(lacking)} does not have Airflow {cluster[Versions].airflow}: first "
            "fab airflow.install airflow.ship. Nothing was changed."
        )


def schema_known(facts: Facts) -> State:
    """What the database says; RunbookError if it is nothing, or nothing that is known here."""
    state = present(facts)
    if not state:
        raise RunbookError(
            "The database has no leader, or no schema of Airflow yet: fab postgres.check says "
            "more, and fab airflow.database makes the schema."
        )
    if state.schema not in (*SCHEMA.values(), *BETWEEN):
        raise RunbookError(
            f"The database has the schema {state.schema}, which is none of Airflow "
            f"{' or '.join(SCHEMA)}. Nothing was changed."
        )
    return state


def other_version(cluster: Cluster) -> str:
    """Where it comes from, and could go back to."""
    return next(version for version in SCHEMA if version != cluster[Versions].airflow)


def newer(cluster: Cluster) -> str:
    """The newer one of both: its binaries know both schemas."""
    versions = (cluster[Versions].airflow, other_version(cluster))
    return max(versions, key=lambda version: [int(part) for part in version.split(".")])


def migrated(state: State, wait: int, cluster: Cluster, facts: Facts) -> Procedure:
    """From an Airflow that runs to one that stands still, with the wanted schema."""
    wanted, first = cluster[Versions].airflow, leader(cluster, facts)
    yield may_begin(cluster, facts)
    yield stage(f"room for a dump on {first.name}", first, room())
    yield Question(
        f"Airflow goes from {other_version(cluster)} to {wanted}. No task begins until the end. "
        f"Tasks that run ({state.running}) or are deferred may end, for at most {wait} s; then "
        f"all of it stops, the web UI too, {first.name} keeps a dump, and the schema changes."
    )
    everybody = services.service_hosts(cluster)
    assigning = [one for one in services.COMPONENTS if one.role in ASSIGNING]
    for component in assigning:
        yield from services.stopping(component, everybody, cluster)
    yield stage("tasks in the queue end", first_running(cluster, facts), queue_is_empty(wait))
    yield stage("tasks end", first, nothing_to_do(wait))
    for component in services.COMPONENTS:
        if component not in assigning:
            yield from services.stopping(component, everybody, cluster)
    yield stage("all of Airflow stands still", first, nobody_alive())
    yield stage(f"dump the database to {DUMPS}", first, dumped(cluster))
    yield stage(f"the schema becomes that of {wanted}", first_scheduler(cluster), schema(cluster))


def completed(cluster: Cluster, facts: Facts) -> Procedure:
    """From the wanted schema to an Airflow that runs."""
    wanted, before = cluster[Versions].airflow, other_version(cluster)
    yield set_up(f"every server gets settings and units of {wanted}", cluster)
    node = first_running(cluster, facts)
    yield stage(
        "queues of the type that it can use",
        node,
        lambda host: policies(host, cluster, facts),
        queue_of_its_type(cluster),
    )
    if wanted != newer(cluster):
        yield stage("DAGs as it writes them", first_scheduler(cluster), dags_written(cluster))
    ahead = one_of_each(cluster)
    yield starting(ahead, cluster)
    yield from smoke(ahead, cluster, facts)
    yield from start_in_batches(
        [host for host in services.service_hosts(cluster) if host not in ahead], cluster
    )
    yield the_end(before, cluster)


def the_end(before: str, cluster: Cluster) -> Stage:
    """What to do if it was not a good idea; as a title, since nothing is done any more."""
    way = f"the way back: versions.airflow: {before} in {cluster.file.name}, then airflow.upgrade"
    there = wait_for(f"dumps are in {DUMPS}", "true")
    return stage(f"{way} (dumps: {DUMPS})", first_scheduler(cluster), there)


# Before anything stops


def may_begin(cluster: Cluster, facts: Facts) -> Stage:
    """What would stop it half-way is looked at first: canary, binaries, DAGs."""
    active = the_active(cluster, facts)
    [scheduler] = first_scheduler(cluster)

    def asked(host: Host) -> Steps:
        if host == scheduler:
            yield database_answers(cluster)
            yield canary()
            yield both_versions(cluster)
        if host == active:
            yield from tried(project_files(cluster), cluster)

    chosen = [host for host in hosts(cluster) if host in (scheduler, active)]
    return stage("may it begin?", chosen, asked)


def canary() -> Step:
    """The DAG that runs first afterwards is there."""
    return precondition(
        "the DAG smoke is there, and is not paused",
        row("select 1 from dag where dag_id = 'smoke' and is_active and not is_paused"),
        "echo 'It is what runs first afterwards: put files/airflow/dags/smoke.py into the folder'\n"
        "echo 'of your DAGs, and fab airflow.dags; or unpause it in the web UI.'",
    )


def both_versions(cluster: Cluster) -> Step:
    """The newer binaries are there, also on the way back."""
    program = f"/opt/airflow/{newer(cluster)}/bin/airflow"
    return precondition(
        f"{program} is there",
        f"[[ -x {program} ]]",
        f"echo 'Only {newer(cluster)} can change the schema in both directions. To get it:'\n"
        f"echo 'versions.airflow: {newer(cluster)}, then fab airflow.install airflow.ship.'",
    )


def room() -> Step:
    """The dump fits; it is compressed, and so smaller than the database."""
    size = f"need=$({PSQL} -d airflow -c \"select pg_database_size('airflow') / 1048576 + 100\")"
    free = f"have=$(df --output=avail -m {DUMPS.rpartition('/')[0]} | tail -1)"
    return precondition(
        f"room for the dump below {DUMPS.rpartition('/')[0]}",
        f"{size} && {free} && ((have >= need))",
        f"""{size}
{free}
echo "The dump may take $need MB there, and $have are free. Make room, or remove older dumps:"
ls -l {DUMPS} 2>/dev/null || :""",
    )


# Until nothing runs


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


def nothing_to_do(wait: int) -> Step:
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


def nobody_alive() -> Step:
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


# The schema


def dumped(cluster: Cluster) -> Step:
    """The database as it was, for the postgres user alone; complete, or not there at all."""
    programs = binaries(cluster)
    name = f"{DUMPS}/before-{cluster[Versions].airflow}-$(date +%Y%m%d-%H%M%S).dump"
    return action(
        f"the database is in {DUMPS}",
        f"""(set -euo pipefail
umask 077
install -d -m 0700 -o postgres -g postgres {DUMPS}
file={name}
trap 'rm -f "$file.part"' EXIT
runuser -u postgres -- {programs}/pg_dump -Fc -d airflow -f "$file.part"
runuser -u postgres -- {programs}/pg_restore --list "$file.part" >/dev/null
sync "$file.part"
mv "$file.part" "$file"
ls -l "$file")""",
        timeout=6 * 3600,
    ).with_output()


def schema(cluster: Cluster) -> Step:
    """The newer version's binaries take the schema further, or back."""
    wanted = cluster[Versions].airflow
    airflow = f"{SCRIPTS}/as-airflow /opt/airflow/{newer(cluster)}/bin/airflow db"
    forwards = f"{airflow} migrate\n{airflow} check-migrations -t 60"
    back = f"{airflow} downgrade --to-version {wanted} --yes"
    return command(
        f"the schema of Airflow {wanted}",
        forwards if wanted == newer(cluster) else back,
        unless=f"[[ {PRESENT} == {SCHEMA[wanted]} ]]",
        timeout=6 * 3600,
    )


# Until all of it runs


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


def dags_written(cluster: Cluster) -> Step:
    """The older version may not read all that the newer one wrote of a DAG."""
    return action(
        f"DAGs are in the database as Airflow {cluster[Versions].airflow} writes them",
        f"{CLI} dags reserialize",
        timeout=1800,
    )


def one_of_each(cluster: Cluster) -> list[Host]:
    """Servers that together run each part once; all of those that follow the share."""
    chosen: set[str] = set()
    for component in services.COMPONENTS:
        running = [host for host in services.service_hosts(cluster) if component.role in host.roles]
        following = [host for host in running if services.follows_the_share(component, host)]
        chosen.update(host.name for host in (following or running[:1]))
    return [host for host in services.service_hosts(cluster) if host.name in chosen]
