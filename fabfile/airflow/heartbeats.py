"""Which parts of Airflow are alive, by their heartbeats and by the consumers of the queue."""

from __future__ import annotations

from runbook.declare.facts import Facts
from runbook.declare.probes import ERROR, OK, WARN, Finding, Findings, Verdict
from runbook.inventory.cluster import Cluster, Host

from ..shared import roles
from .common import section
from .queues import all_served, served
from .services import JOBS
from .state import CONSUMERS, State

TOO_OLD = 30
"""Seconds since a heartbeat after which a job is considered dead (Airflow's own threshold)."""

WORKER = section.cause("AIRFLOW_WORKER_DOWN", "tasks wait, or run on the remaining workers")
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
NO_SPARE = section.cause("AIRFLOW_NO_SPARE", "the next server failure in this role stops Airflow")


def heartbeats(state: State, cluster: Cluster, facts: Facts) -> Findings:
    """Schedulers and triggerers, each by its last heartbeat: /health does not show one of two."""
    for role, kind in JOBS.items():
        for host in cluster.group(role):
            title = f"the {role} of {host.name} is alive"
            age = state.ages.get((kind, host.name))
            if host.name not in facts.gone and alive(state, kind, host):
                yield Finding(title, Verdict(OK, f"{age} s ago"))
                continue
            last = f"its last heartbeat is {age} s old"
            sentence = "it has no running job" if age is None else last
            others = at_work(role, kind, state, cluster, facts)
            fix = f"fab -H {host.name} systemd.start; journalctl -u airflow-{role} there shows why"
            cause = HEARTBEAT if others else NONE_LEFT[role]
            yield Finding(title, Verdict(ERROR, sentence), fix, cause, (host.name,))


def alive(state: State, kind: str, host: Host) -> bool:
    """Whether a server's job of this kind has had a heartbeat lately."""
    age = state.ages.get((kind, host.name))
    return age is not None and age <= TOO_OLD


def at_work(role: str, kind: str, state: State, cluster: Cluster, facts: Facts) -> list[Host]:
    """The servers of a role that are not down, and whose job has had a heartbeat lately."""
    return [
        host
        for host in cluster.group(role)
        if host.name not in facts.gone and alive(state, kind, host)
    ]


def workers(cluster: Cluster, facts: Facts) -> Findings:
    """Whether every worker takes tasks from its queues, according to the queues themselves."""
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
        missed = not_taken(host, cluster, facts)
        all_of_them = len(missed) == len(served(host, cluster))
        which = "does not" if all_of_them else f"takes none from {', '.join(missed)}"
        sentence = f"{host.name} {which}; {left} of {len(wanted)} do"
        fix = f"fab -H {host.name} systemd.start; if it hangs: systemd.restart"
        yield Finding(title, Verdict(ERROR, sentence), fix, WORKER, (host.name,))


def not_taking(cluster: Cluster, facts: Facts) -> list[Host]:
    """The workers that are not consumers of all their queues."""
    return [host for host in cluster.group(roles.WORKER) if not_taken(host, cluster, facts)]


def not_taken(host: Host, cluster: Cluster, facts: Facts) -> list[str]:
    """The queues from which a worker should take tasks, and does not.

    A worker is recognized by the remote control queue with its name, because on a server with
    several addresses its connection may come from another address than that of hosts.yaml. If
    remote control is off, it is recognized by its address.
    """
    if host.name in facts.gone:
        return served(host, cluster)
    consumers = [one for told in facts.known(CONSUMERS).values() for one in told]
    control = f"celery@{host.name}.celery.pidbox"
    own = {one.connection for one in consumers if control == one.queue}
    taken = {one.queue for one in consumers if one.connection in own or one.address == host.address}
    return [queue for queue in served(host, cluster) if queue not in taken]


def redundancy(state: State, cluster: Cluster, facts: Facts) -> Finding:
    """Which parts of Airflow have more than one server that works."""
    there = {
        role: [host.name for host in at_work(role, kind, state, cluster, facts)]
        for role, kind in JOBS.items()
    }
    less = [role for role, names in there.items() if len(names) < len(cluster.group(role))]
    if facts.known(CONSUMERS):
        there.update(takers(cluster, facts))
        less += [host.name for host in not_taking(cluster, facts)]
    spare = [f"a {role}" for role, names in there.items() if len(names) > 1]
    alone = [f"{names[0]} is the only {role}" for role, names in there.items() if len(names) == 1]
    sentence = f"survives the loss of {' or '.join(spare)}" if spare else "none"
    if alone:
        sentence += f"; {', '.join(alone)}"
    return Finding.of_redundancy(WARN if less else OK, sentence, "fab systemd.start", NO_SPARE)


def takers(cluster: Cluster, facts: Facts) -> dict[str, list[str]]:
    """The workers that take tasks: all of them, or those of each queue if they have several."""
    workers, queues = cluster.group(roles.WORKER), all_served(cluster)
    of_each = {
        queue: [
            host.name
            for host in workers
            if queue in served(host, cluster) and queue not in not_taken(host, cluster, facts)
        ]
        for queue in queues
    }
    if len(queues) == 1:
        return {"worker": of_each[queues[0]]}
    return {f"worker of the queue {queue}": names for queue, names in of_each.items()}


def processors(state: State, facts: Facts) -> list[str]:
    """The servers on which a DAG processor has had a heartbeat lately."""
    return [
        host
        for (kind, host), age in state.ages.items()
        if kind == "DagProcessorJob" and age <= TOO_OLD and host not in facts.gone
    ]


def one_dag_processor(state: State, facts: Facts) -> Finding:
    """Exactly one DAG processor works: two would alternate, with folders that may differ."""
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
