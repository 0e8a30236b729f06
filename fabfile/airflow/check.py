"""Is Airflow as it should be: the same everywhere, alive, and at work?"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from runbook.declare.facts import Fact, Facts
from runbook.declare.probes import (
    ERROR,
    OK,
    WARN,
    Answer,
    Cause,
    Finding,
    Findings,
    Probes,
    Verdict,
    probe,
)
from runbook.inventory.cluster import Cluster, Host

from .. import python_build
from ..haproxy.common import WEB as WEB_PORT
from ..shared import roles
from ..shared.airflow import DAGS, QUEUE, hosts
from ..shared.versions import Versions
from .common import SCHEMA, SCRIPTS, SQL, first_scheduler, main_vip, section, venv
from .install import mark
from .services import JOBS
from .state import CONSUMERS, DATABASE, WAITING, State, present

TOO_OLD = 30
"""Seconds since a heartbeat after which a job is taken for dead (Airflow's own threshold)."""

NO_DATABASE = section.cause(
    "AIRFLOW_NO_DATABASE", "nothing is scheduled, and no task can report its result"
)
WEB = section.cause("AIRFLOW_WEB_DOWN", "the web UI runs on one server less, or not at all")
ENTRY = section.cause("AIRFLOW_WEB_ENTRY", "the web UI cannot be reached at its address")
WORKER = section.cause("AIRFLOW_WORKER_DOWN", "tasks wait, or run on the remaining workers")
INSTALLED = section.cause(
    "AIRFLOW_INSTALL_DIFFERS", "the same DAG may behave differently on this server"
)
FILES = section.cause("AIRFLOW_DAGS_DIFFER", "a task may run other code than the web UI shows")
WRONG_SCHEMA = section.cause(
    "AIRFLOW_SCHEMA", "Airflow does not start, or loses what the schema cannot store"
)
HEARTBEAT = section.cause("AIRFLOW_NO_HEARTBEAT", "the other servers of this role do its work")
NONE_LEFT = {
    "scheduler": section.cause(
        "AIRFLOW_NO_SCHEDULER", "no DAG run starts, and no task is handed out"
    ),
    "triggerer": section.cause("AIRFLOW_NO_TRIGGERER", "deferred tasks do not continue"),
}
PROCESSOR = section.cause(
    "AIRFLOW_NO_DAG_PROCESSOR",
    "changed DAGs are not picked up, and tasks of a lost worker are not retried",
)
PROCESSORS = section.cause(
    "AIRFLOW_DAG_PROCESSORS", "changed DAGs may appear and disappear for a moment"
)
IMPORTS = section.cause("AIRFLOW_DAG_BROKEN", "these DAGs do not run")
WAITS = section.cause("AIRFLOW_TASKS_WAIT", "tasks are queued, and no worker takes them")
HELD_UP = section.cause(
    "AIRFLOW_DB_HELD_UP", "a DAG processor or a scheduler may be blocked until then"
)
NO_SPARE = section.cause("AIRFLOW_NO_SPARE", "the next server failure in this role stops Airflow")

CELERY = "airflow.providers.celery.executors.celery_executor_utils.app"

CONTENT = Fact(
    "what is installed",
    on=hosts,
    command=lambda cluster, host: (
        f"cd {venv(cluster)} && find . -type f ! -name '*.pyc' -print0 | sort -z | "
        "xargs -0 sha256sum | sha256sum"
    ),
    parse=lambda text: text.split()[0],
    absent="fab airflow.install and airflow.ship put it there",
    thorough=True,
)

FOLDER = Fact(
    "the DAG folder",
    on=hosts,
    command=lambda cluster, host: (
        f"cd {DAGS} && timeout 20 find . -type f ! -name '.*' -printf '%P %s %T@\\n' | sort | "
        "sha256sum"
    ),
    parse=lambda text: text.split()[0],
    absent="fab nfs brings it there",
)


@section.check
def check(host: Host, cluster: Cluster) -> Probes:
    """Say what is wrong: installation, settings, heartbeats, workers, DAGs, web."""
    if not set(host.roles) - {"target", "nfs"}:
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
            "curl -sS -m 10 http://127.0.0.1:8080/health",
            healthy,
            fix=f"fab -H {host.name} systemd.start; if it hangs: systemd.restart",
            cause=WEB,
        )
    if roles.WORKER in host.roles:
        yield probe(
            "its worker answers through the queue",
            f"{SCRIPTS}/as-airflow celery -A {CELERY} inspect ping -d celery@{host.name} -t 5",
            answers,
            fix=f"fab -H {host.name} systemd.restart",
            cause=WORKER,
            thorough=True,
        )
    if host in first_scheduler(cluster):
        yield probe(
            "the web UI answers on the VIP",
            f"curl -sS -m 10 http://{main_vip(cluster)}:{WEB_PORT}/health",
            healthy,
            fix="fab haproxy.check",
            cause=ENTRY,
        )


def within_a_second(answer: Answer) -> Verdict:
    """What airflow-sql --clock prints: seconds that the server is ahead of the database's."""
    try:
        ahead = float(answer.text)
    except ValueError:
        first = next(iter(answer.text.splitlines()), "")
        return Verdict(ERROR, first.rpartition("failed: ")[2].strip() or "no answer")
    if abs(ahead) > 1:
        return Verdict(ERROR, f"this server's clock is {ahead:+.1f} s off")
    return Verdict(OK)


def healthy(answer: Answer) -> Verdict:
    """/health answers 200 even if nothing is well: what it says counts."""
    try:
        told = json.loads(answer.text)
    except ValueError:
        return Verdict(ERROR, " ".join(answer.text.split()) or "no answer")
    if told.get("metadatabase", {}).get("status") != "healthy":
        return Verdict(ERROR, "it does not reach the database")
    return Verdict(OK)


def answers(answer: Answer) -> Verdict:
    """A pong of the worker itself."""
    return Verdict(OK) if "pong" in answer.text else Verdict(ERROR, "no answer")


@section.cluster_check(needs=[DATABASE, CONTENT, FOLDER, CONSUMERS])
def check_cluster(cluster: Cluster, facts: Facts) -> Findings:
    """What no host can say alone."""
    if facts.asked(CONTENT):
        title = "the installation is the same everywhere"
        yield the_same(title, CONTENT, facts, once_more(cluster, facts), INSTALLED)
    yield the_same("the DAGs are the same everywhere", FOLDER, facts, "fab nfs.check", FILES)
    yield from workers(cluster, facts)
    state = present(facts)
    if not state:
        sentence = "the database has no leader, or no schema of Airflow"
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
    yield held_up(state, facts)
    yield redundancy(state, cluster, facts)


def the_same(title: str, fact: Fact[Any], facts: Facts, fix: str, cause: Cause) -> Finding:
    """Every host gives the same answer."""
    known = facts.known(fact)
    if not known:
        return Finding(title, Verdict(ERROR, "nobody has it"), fix, cause)
    others = fewest(known)
    if others:
        return Finding(title, Verdict(ERROR, f"{', '.join(others)} has another one"), fix, cause)
    return Finding(title, Verdict(OK, f"{len(known)} servers"))


def fewest(known: Mapping[str, str]) -> list[str]:
    """The servers whose answer is the rarest; none if all answers are the same."""
    by_answer: dict[str, list[str]] = {}
    for name, digest in known.items():
        by_answer.setdefault(digest, []).append(name)
    return min(by_answer.values(), key=len) if len(by_answer) > 1 else []


def once_more(cluster: Cluster, facts: Facts) -> str:
    """What installs Airflow anew where it differs: everywhere, if VM1 does, whose copy all get."""
    again = "fab airflow.install airflow.ship"
    others = fewest(facts.known(CONTENT))
    if any(host.name in others for host in python_build.only_builder(cluster)):
        others = [host.name for host in hosts(cluster)]
    if not others:
        return again
    return f"fab -H {','.join(others)} -- sudo rm {mark(cluster)}; then {again}"


def schema(state: State, cluster: Cluster) -> Finding:
    """The schema is that of the installed version."""
    title = f"the schema is that of Airflow {cluster[Versions].airflow}"
    if state.schema == SCHEMA[cluster[Versions].airflow]:
        return Finding(title, Verdict(OK))
    versions = {number: version for version, number in SCHEMA.items()}
    found = versions.get(state.schema, state.schema)
    verdict = Verdict(ERROR, f"it is that of {found}")
    return Finding(title, verdict, "fab airflow.upgrade", WRONG_SCHEMA)


def heartbeats(state: State, cluster: Cluster, facts: Facts) -> Findings:
    """Schedulers and triggerers, each by its last heartbeat: /health hides one of two."""
    for role, kind in JOBS.items():
        for host in cluster.group(role):
            title = f"the {role} of {host.name} is alive"
            age = state.ages.get((kind, host.name))
            if host.name not in facts.gone and alive(state, kind, host):
                yield Finding(title, Verdict(OK, f"{age} s ago"))
                continue
            sentence = "it has no running job" if age is None else f"its last sign is {age} s old"
            others = at_work(role, kind, state, cluster, facts)
            fix = f"fab -H {host.name} systemd.start; journalctl -u airflow-{role} there says why"
            cause = HEARTBEAT if others else NONE_LEFT[role]
            yield Finding(title, Verdict(ERROR, sentence), fix, cause, (host.name,))


def alive(state: State, kind: str, host: Host) -> bool:
    """Whether a server's job of this kind has shown a sign lately."""
    age = state.ages.get((kind, host.name))
    return age is not None and age <= TOO_OLD


def at_work(role: str, kind: str, state: State, cluster: Cluster, facts: Facts) -> list[Host]:
    """The servers of a role that are there, and whose job has shown a sign lately."""
    return [
        host
        for host in cluster.group(role)
        if host.name not in facts.gone and alive(state, kind, host)
    ]


def workers(cluster: Cluster, facts: Facts) -> Findings:
    """Every worker takes tasks from the queue, as the queue itself sees it."""
    title = "workers take tasks from the queue"
    known = facts.known(CONSUMERS)
    if not known:
        return  # the chapter on the queue says why
    wanted = cluster.group(roles.WORKER)
    away = not_taking(cluster, facts)
    if not away:
        yield Finding(title, Verdict(OK, f"{len(wanted)} of {len(wanted)}"))
    for host in away:
        left = len(wanted) - len(away)
        sentence = f"{host.name} does not; {left} of {len(wanted)} do"
        fix = f"fab -H {host.name} systemd.start; if it hangs: systemd.restart"
        yield Finding(title, Verdict(ERROR, sentence), fix, WORKER, (host.name,))


def not_taking(cluster: Cluster, facts: Facts) -> list[Host]:
    """The workers that no queue knows."""
    known = facts.known(CONSUMERS)
    seen = {one.address for told in known.values() for one in told if one.queue == QUEUE}
    return [
        host
        for host in cluster.group(roles.WORKER)
        if host.address not in seen or host.name in facts.gone
    ]


def redundancy(state: State, cluster: Cluster, facts: Facts) -> Finding:
    """Which part of Airflow has more than one server that is at work."""
    there = {
        role: [host.name for host in at_work(role, kind, state, cluster, facts)]
        for role, kind in JOBS.items()
    }
    if facts.known(CONSUMERS):
        away = not_taking(cluster, facts)
        there["worker"] = [host.name for host in cluster.group(roles.WORKER) if host not in away]
    spare = [f"a {role}" for role, names in there.items() if len(names) > 1]
    alone = [f"{names[0]} is the only {role}" for role, names in there.items() if len(names) == 1]
    less = [role for role, names in there.items() if len(names) < len(cluster.group(role))]
    sentence = f"survives the loss of {' or '.join(spare)}" if spare else "none"
    if alone:
        sentence += f"; {', '.join(alone)}"
    return Finding.of_redundancy(WARN if less else OK, sentence, "fab systemd.start", NO_SPARE)


def processors(state: State, facts: Facts) -> list[str]:
    """Where a DAG processor has shown a sign lately."""
    return [
        host
        for (kind, host), age in state.ages.items()
        if kind == "DagProcessorJob" and age <= TOO_OLD and host not in facts.gone
    ]


def one_dag_processor(state: State, facts: Facts) -> Finding:
    """Two would take turns with folders that differ for a moment."""
    title = "one DAG processor is at work"
    found = processors(state, facts)
    if len(found) == 1:
        return Finding(title, Verdict(OK, found[0]))
    sentence = f"there are {len(found)}: {', '.join(found)}" if found else "there is none"
    fix = "fab nfs.check systemd.check"
    if not found:
        return Finding(title, Verdict(ERROR, sentence), fix, PROCESSOR)
    fix = f"wait half a minute if the share has just moved; else: {fix}"
    return Finding(title, Verdict(WARN, sentence), fix, PROCESSORS)


def broken(state: State) -> Finding:
    """DAGs that cannot be imported."""
    title = "every DAG can be imported"
    if not state.broken:
        return Finding(title, Verdict(OK))
    sentence = f"not {', '.join(state.broken)}"
    return Finding(
        title, Verdict(ERROR, sentence), "the web UI shows why, on its first page", IMPORTS
    )


def queued(state: State) -> Finding:
    """Tasks that were handed out and that nobody took."""
    title = "no task waits for a worker"
    if not state.queued:
        return Finding(title, Verdict(OK))
    sentence = f"{state.queued} for more than {WAITING} s"
    return Finding(title, Verdict(ERROR, sentence), "fab rabbitmq.check systemd.check", WAITS)


def held_up(state: State, facts: Facts) -> Finding:
    """A session that keeps a lock, such as that of a process that hangs, and others wait for it."""
    title, holder = "no session of the database waits for another", state.holder
    if not holder:
        return Finding(title, Verdict(OK))
    sentence = (
        f"one has waited {holder.waited} s for session {holder.pid} "
        f"({holder.state}), which came from {holder.address or 'the server itself'}"
    )
    leader = next(name for name, one in facts.known(DATABASE).items() if one is state)
    end = f"sudo -u postgres psql -Xc 'select pg_terminate_backend({holder.pid})'"
    return Finding(title, Verdict(WARN, sentence), f'fab -H {leader} -- "{end}"', HELD_UP)
