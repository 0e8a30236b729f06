"""Checks of Airflow: is it the same everywhere, alive, and working?"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from runbook.declare.answers import Count, Digest, one
from runbook.declare.facts import Fact, Facts
from runbook.declare.probes import (
    ERROR,
    OK,
    WARN,
    Answer,
    Finding,
    Findings,
    Probes,
    Verdict,
    probe,
)
from runbook.declare.step import quote
from runbook.declare.templates import script
from runbook.inventory.cluster import Cluster, Host

from ..shared import roles
from ..shared.airflow import AS_USER, DAGS, hosts
from ..shared.versions import Versions
from .alike import compared, fewest
from .check_installations import IN_USE, installed
from .common import SCHEMA, SQL, WEBSERVER_HERE, first_scheduler, section, web_ui
from .dags import RELEASES
from .heartbeats import WORKER, heartbeats, one_dag_processor, redundancy, workers
from .install import VENV
from .installation import INSTALLATIONS
from .login import reachable
from .queue_check import queues
from .releases import ReleaseName, current
from .retention import RUNS, cleaned
from .services import ping
from .state import (
    CONSUMERS,
    DAG_QUEUES,
    DATABASE,
    TASK_QUEUES,
    WAITING,
    State,
    present,
)

NO_DATABASE = section.cause(
    "AIRFLOW_NO_DATABASE", "nothing is scheduled, and no task can report its result"
)
WEB = section.cause("AIRFLOW_WEB_DOWN", "the web UI runs on one server fewer, or not at all")
ENTRY = section.cause("AIRFLOW_WEB_ENTRY", "the web UI cannot be reached at its address")
FILES = section.cause("AIRFLOW_DAGS_DIFFER", "a task may run other code than the web UI shows")
NOT_RELEASED = section.cause(
    "AIRFLOW_DAGS_CHANGED", "the next release does not have what was changed on the share"
)
WRONG_SCHEMA = section.cause(
    "AIRFLOW_SCHEMA", "Airflow does not start, or loses what the schema cannot store"
)
IMPORTS = section.cause("AIRFLOW_DAG_BROKEN", "these DAGs do not run")
WAITS = section.cause("AIRFLOW_TASKS_WAIT", "tasks are queued, and no worker takes them")
HELD_UP = section.cause(
    "AIRFLOW_DB_HELD_UP", "a DAG processor or a scheduler may be blocked meanwhile"
)


@dataclass(frozen=True)
class Folder:
    """The DAGs on a server: their digest, the seconds since the last change, and the release."""

    digest: str
    age: int
    release: str = ""


def _folder(text: str) -> Folder:
    digest, age, release = text.split()
    name = "" if release == "none" else one(release, ReleaseName)
    return Folder(one(digest, Digest), one(age, Count), name)


FOLDER = Fact(
    "the DAG folder",
    on=hosts,
    command=lambda cluster, host: (
        f"{AS_USER} bash -c {quote(script('airflow/dag-folder.sh', folder=DAGS))}"
    ),
    parse=_folder,
    absent="fab nfs sets it up",
)

YOUNG = 30
"""Seconds until a change reaches every server: caches of clients, and the copy on the standby."""


@section.check
def check(host: Host, cluster: Cluster) -> Probes:
    """Check installation, settings, heartbeats, workers, DAGs and web UI."""
    if not {*roles.COMPONENTS} & {*host.roles}:
        return
    yield probe(
        "it reaches the database, and both clocks agree",
        f"{SQL} --clock",
        within_a_second,
        fix="fab haproxy.check postgres.check base.check",
        cause=NO_DATABASE,
    )
    if roles.WEBSERVER in host.roles:
        yield probe(
            "its webserver answers",
            f"curl -sS -m 10 {WEBSERVER_HERE}/health",
            healthy,
            fix=f"fab -H {host.name} systemd.start; if it hangs: systemd.restart",
            cause=WEB,
        )
        yield from reachable(cluster)
    if roles.WORKER in host.roles:
        yield probe(
            "its worker answers through the queue",
            ping(host),
            answers,
            fix=f"fab -H {host.name} systemd.restart",
            cause=WORKER,
            thorough=True,
        )
    if host in first_scheduler(cluster):
        yield probe(
            "the web UI answers on the VIP",
            f"curl -sS -m 10 {web_ui(cluster)}/health",
            healthy,
            fix="fab haproxy.check",
            cause=ENTRY,
        )


def within_a_second(answer: Answer) -> Verdict:
    """At most one second between this server's clock and the database's."""
    try:
        ahead = float(answer.text)
    except ValueError:
        first = next(iter(answer.text.splitlines()), "")
        return Verdict(ERROR, first.rpartition("failed: ")[2].strip() or "no answer")
    if abs(ahead) > 1:
        return Verdict(ERROR, f"this server's clock is {ahead:+.1f} s off")
    return Verdict(OK)


def healthy(answer: Answer) -> Verdict:
    """The metadatabase is healthy; the status code is 200 in any case."""
    try:
        told = json.loads(answer.text)
    except ValueError:
        return Verdict(ERROR, " ".join(answer.text.split()) or "no answer")
    if told.get("metadatabase", {}).get("status") != "healthy":
        return Verdict(ERROR, "it does not reach the database")
    return Verdict(OK)


def answers(answer: Answer) -> Verdict:
    """The worker answers with pong."""
    return Verdict(OK) if "pong" in answer.text else Verdict(ERROR, "no answer")


NEEDS: tuple[Fact[Any], ...] = (
    *(DATABASE, INSTALLATIONS, VENV, IN_USE, FOLDER, RELEASES),
    *(CONSUMERS, TASK_QUEUES, DAG_QUEUES, RUNS),
)


@section.cluster_check(needs=NEEDS)
def check_cluster(cluster: Cluster, facts: Facts) -> Findings:
    """Checks that need the answers of several hosts."""
    yield from installed(cluster, facts)
    yield same_dags(facts)
    yield from unchanged(facts)
    yield from workers(cluster, facts)
    yield from cleaned(cluster, facts)
    state = present(facts)
    if not state:
        sentence = "the database has no leader, or no Airflow schema"
        silent = [
            one.name
            for one in cluster.group(roles.POSTGRES)
            if one.name not in facts.known(DATABASE)
        ]
        verdict = Verdict(ERROR, sentence)
        yield Finding(
            "Airflow's schema", verdict, "fab airflow.database", NO_DATABASE, tuple(silent)
        )
        return
    yield schema(state, cluster)
    yield from heartbeats(state, cluster, facts)
    yield one_dag_processor(state, facts)
    yield broken(state)
    yield queued(state)
    yield from queues(state, cluster, facts)
    yield held_up(state, facts)
    yield redundancy(state, cluster, facts)


def same_dags(facts: Facts) -> Finding:
    """A finding: every server has the same DAGs, except for changes of the last seconds."""
    title, known = "the DAGs are the same everywhere", facts.known(FOLDER)
    names = {folder.release for folder in known.values() if folder.release}
    youngest = min((folder.age for folder in known.values()), default=YOUNG)
    others = fewest({name: folder.digest for name, folder in known.items()})
    if others and youngest < YOUNG:
        return Finding(title, Verdict(OK, f"they changed {youngest} s ago"))
    about = f", release {next(iter(names))}" if len(names) == 1 else ""
    return compared(title, list(known), others, "fab nfs.check", FILES, about)


def unchanged(facts: Facts) -> Findings:
    """A finding: nobody has changed the release of the DAGs that runs."""
    changed: dict[str, list[str]] = {}
    for name, kept in facts.known(RELEASES).items():
        runs = current(kept)
        if runs and not runs.intact:
            changed.setdefault(runs.name, []).append(name)
    for release, names in changed.items():
        sentence = f"others have changed files of {release} in {DAGS}/.releases"
        sentence += f" (seen on {', '.join(names)})"
        fix = "fab airflow.dags releases the project's files again; the changed ones are kept"
        yield Finding(
            "the DAGs are as they were released", Verdict(WARN, sentence), fix, NOT_RELEASED
        )


def schema(state: State, cluster: Cluster) -> Finding:
    """The schema is that of the installed version."""
    title = f"the schema is that of Airflow {cluster[Versions].airflow}"
    if state.schema == SCHEMA[cluster[Versions].airflow]:
        return Finding(title, Verdict(OK))
    versions = {number: version for version, number in SCHEMA.items()}
    found = versions.get(state.schema, state.schema)
    verdict = Verdict(ERROR, f"it is that of {found}")
    return Finding(title, verdict, "fab airflow.upgrade", WRONG_SCHEMA)


def broken(state: State) -> Finding:
    """DAGs that cannot be imported."""
    title = "every DAG can be imported"
    if not state.broken:
        return Finding(title, Verdict(OK))
    sentence = f"not {', '.join(state.broken)}"
    return Finding(
        title, Verdict(ERROR, sentence), "see the reason on the first page of the web UI", IMPORTS
    )


def queued(state: State) -> Finding:
    """Tasks that were handed out and that no worker took."""
    title = "no task waits for a worker"
    if not state.queued:
        return Finding(title, Verdict(OK))
    sentence = f"{state.queued} for more than {WAITING} s"
    return Finding(title, Verdict(ERROR, sentence), "fab rabbitmq.check systemd.check", WAITS)


def held_up(state: State, facts: Facts) -> Finding:
    """A session that holds a lock for which others wait, such as that of a hanging process."""
    title, holder = "no session of the database waits for another", state.holder
    if not holder:
        return Finding(title, Verdict(OK))
    sentence = (
        f"one session has waited {holder.waited} s for session {holder.pid} "
        f"({holder.state}), which came from {holder.address or 'the server itself'}"
    )
    leader = next(name for name, one in facts.known(DATABASE).items() if one is state)
    end = f"sudo -u postgres psql -Xc 'select pg_terminate_backend({holder.pid})'"
    return Finding(title, Verdict(WARN, sentence), f'fab -H {leader} -- "{end}"', HELD_UP)
