"""What is older than airflow.keep_days goes, every night: history in the database, log files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Callable, Optional

from runbook.declare import steps
from runbook.declare.facts import Fact, Facts
from runbook.declare.probes import Findings
from runbook.declare.step import Step, Steps
from runbook.declare.work import Procedure, Question, stage
from runbook.errors import UsageError
from runbook.inventory.cluster import Cluster, Host, among

from ..nfs import common as nfs
from ..shared import timers
from ..shared.airflow import AS_USER, LOGS, hosts
from ..shared.roles import SCHEDULER
from ..shared.timers import Timer
from .common import SCRIPTS, database_answers, first_scheduler, section
from .settings import Airflow

HISTORY = Timer("airflow-old-history", "Delete old history of Airflow", "*-*-* 03:15")
# Both servers of a shared folder of logs begin at the same time, so there is no random delay.
OLD_LOGS = Timer("airflow-old-logs", "Delete old logs of Airflow", "*-*-* 04:15")

OLD_HISTORY = f"{SCRIPTS}/old-history"
LOG_SCRIPT = f"{SCRIPTS}/old-logs"

NOT_DONE = section.cause("AIRFLOW_NOT_CLEANED", "the database and the disks with logs keep growing")


@dataclass(frozen=True)
class Work:
    """Something that is deleted when it is old, where, and what must be there to do so."""

    timer: Timer
    days: Callable[[Cluster], Optional[int]]
    on: Callable[[Cluster], Sequence[Host]]
    program: Callable[[], Step]
    context: Callable[[Cluster], dict[str, Any]]


def schedulers(cluster: Cluster) -> list[Host]:
    """All schedulers try, so that the loss of one changes nothing; one of them does the work."""
    return cluster.group(SCHEDULER)


def with_logs(cluster: Cluster) -> list[Host]:
    """The servers with a folder of logs of their own: if it is shared, those that keep it."""
    return nfs.servers(cluster) if shared(cluster) else hosts(cluster)


def shared(cluster: Cluster) -> bool:
    """Whether the folder of logs is one of the share's."""
    return any(tree.path == LOGS for tree in nfs.trees(cluster))


def holder(cluster: Cluster) -> str:
    """The address whose holder deletes shared logs first; empty if each server has its own."""
    return nfs.vip(cluster).address if shared(cluster) and not nfs.alone(cluster) else ""


WORK = (
    Work(
        HISTORY,
        lambda cluster: cluster[Airflow].keep_days.history,
        schedulers,
        lambda: steps.template(OLD_HISTORY, "airflow/old_history.py", {}, mode="0755"),
        lambda cluster: {"program": OLD_HISTORY},
    ),
    Work(
        OLD_LOGS,
        lambda cluster: cluster[Airflow].keep_days.logs,
        with_logs,
        lambda: steps.template(LOG_SCRIPT, "airflow/old-logs", {}, mode="0755"),
        lambda cluster: {"program": LOG_SCRIPT, "folder": LOGS, "address": holder(cluster)},
    ),
)


def due(host: Host, cluster: Cluster) -> list[Timer]:
    """The timers that a server should have."""
    return [one.timer for one in WORK if one.days(cluster) and host in one.on(cluster)]


@section.task
def retention(host: Host, cluster: Cluster) -> Steps:
    """Delete old history and log files every night, as airflow.keep_days says.

    Without that setting, nothing is deleted; the programs are there for fab airflow.clean.
    """
    yield steps.directory(SCRIPTS)
    for work in WORK:
        if host in work.on(cluster):
            yield work.program()
        if work.timer not in due(host, cluster):
            yield from timers.off(work.timer)
            continue
        context = {**work.context(cluster), "days": work.days(cluster)}
        source = f"airflow/{work.timer.name.partition('-')[2]}.service.j2"
        yield from timers.scheduled(work.timer, source, context)


RUNS = Fact(
    "what was deleted on schedule",
    on=hosts,
    command=lambda cluster, host: timers.question(due(host, cluster)),
    parse=timers.answers,
    absent="nothing is deleted there",
)


def cleaned(cluster: Cluster, facts: Facts) -> Findings:
    """A finding: what is to be deleted every night was deleted."""
    wanted = {host.name: due(host, cluster) for host in hosts(cluster)}
    title, known = "old history and logs are deleted on schedule", facts.known(RUNS)
    yield from timers.done(title, wanted, known, "fab airflow.retention", NOT_DONE)


@section.procedure(
    needs=[],
    help={
        "history": "days that history in the database stays (default: airflow.keep_days.history)",
        "logs": "days that log files stay (default: airflow.keep_days.logs)",
    },
)
def clean(
    hosts: Sequence[Host], cluster: Cluster, facts: Facts, *, history: int = 0, logs: int = 0
) -> Procedure:
    """Delete old history and log files now; --plan only counts them. Asks first.

    Without airflow.keep_days: fab airflow.clean --history 365 --logs 90, once. Tasks go on.
    """
    history = history or cluster[Airflow].keep_days.history or 0
    logs = logs or cluster[Airflow].keep_days.logs or 0
    if not history and not logs:
        raise UsageError(
            f"{cluster.file.name} has no airflow.keep_days, so nothing is old. Say what is: "
            "fab airflow.clean --history 365 --logs 90."
        )
    if 0 < history < 30 or 0 < logs < 7 or history < 0 or logs < 0:
        raise UsageError("--history takes 30 days or more, --logs 7 or more.")
    said = [f"history older than {history} days"] * bool(history)
    said += [f"log files older than {logs} days"] * bool(logs)
    yield Question(f"These are deleted for ever: {' and '.join(said)}.")
    if history:
        [first] = first_scheduler(cluster)
        yield stage("is the database there?", first, database_answers(cluster))
        run = f"{SCRIPTS}/as-airflow {OLD_HISTORY} {history}"
        yield stage("old history goes", first, there(OLD_HISTORY), gone("rows", history, run))
    own = among(with_logs(cluster), hosts)
    if logs and own:
        run = f"{AS_USER} {LOG_SCRIPT} {LOGS} {logs}"
        yield stage("old log files go", own, there(LOG_SCRIPT), gone("log files", logs, run))


def there(program: str) -> Step:
    """Refuse without the program, which also counts for a plan."""
    title = f"{program} is there"
    return steps.precondition(title, f"[[ -x {program} ]]", "echo 'First: fab airflow.retention'")


def gone(what: str, days: int, run: str) -> Step:
    """Delete now; a plan shows what `run --count` prints."""
    action = steps.action(f"{what} of more than {days} days are deleted", run, timeout=12 * 3600)
    return action.showing(f"{run} --count").with_output()
