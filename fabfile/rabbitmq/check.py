"""Is the message queue as it should be, and which failure would cause no outage?"""

from __future__ import annotations

from collections import Counter
from typing import Any

from ..engine.cluster import Cluster, Host
from ..engine.probes import (
    ERROR,
    OK,
    REDUNDANCY,
    WARN,
    Answer,
    Cause,
    Finding,
    Findings,
    Probes,
    Verdict,
    probe,
)
from ..engine.section import Facts
from ..settings import erlang_for, within
from .chapter import members, node, section
from .cluster import stranger
from .nodes import NODE, STATE, State

LISTENERS = {5672: "AMQP", 15672: "management", 15692: "prometheus"}

NODE_DOWN = Cause("MQ_NODE_DOWN", "one node less; queues go on with a majority of their members")
LISTENER = Cause("MQ_LISTENER_DOWN", "clients of this node connect to the others")
APART = Cause("MQ_NODE_APART", "its messages are nobody else's, and it takes none of theirs")
VIEWS = Cause("MQ_VIEWS_DIFFER", "nodes disagree on who belongs to them; queues may stand still")
STRANGER = Cause("MQ_STRANGER", "the majority counts a node that nobody looks after")
PARTED = Cause("MQ_PARTED", "the smaller part serves nobody")
ALARM = Cause("MQ_ALARM", "all publishers wait: no task is handed out")
VERSIONS = Cause("MQ_VERSIONS", "nodes may refuse each other after a restart")
SHORT = Cause("MQ_QUEUE_SHORT", "these queues survive fewer failures than they should")
UNEVEN = Cause("MQ_LEADERS_UNEVEN", "one node does all the work; no message is at risk")
NO_MAJORITY = Cause("MQ_NO_MAJORITY", "queues stand still: no task is handed out")
NO_SPARE = Cause("MQ_NO_SPARE", "the next node that fails stops the queues")
SILENT = Cause("MQ_UNKNOWN", "nobody can say how the queues are")


@section.check
def check(host: Host, cluster: Cluster) -> Probes:
    """Say what is wrong: nodes, partitions, alarms, users, queues; what may fail."""
    for port, name in LISTENERS.items():
        yield probe(
            f"{name} listens on {port}",
            f"timeout 3 bash -c '</dev/tcp/{host.address}/{port}' 2>/dev/null",
            listens,
            fix=f"fab -H {host.name} rabbitmq",
            cause=LISTENER,
        )


def listens(answer: Answer) -> Verdict:
    """The connection was taken, refused, or nobody said either (timeout's 124)."""
    if answer.code == 0:
        return Verdict(OK)
    return Verdict(ERROR, "no answer within 3 seconds" if answer.code == 124 else "nobody does")


@section.verdict(needs=[NODE, STATE])
def together(cluster: Cluster, facts: Facts) -> Findings:
    """What no node can say alone."""
    states: dict[str, State] = facts.known(STATE)
    yield one_cluster(cluster, states, facts)
    yield from nodes_are_well(states)
    yield versions(cluster, states)
    yield queues(cluster, states)
    yield redundancy(cluster, states)


def one_cluster(cluster: Cluster, states: dict[str, State], facts: Facts) -> Finding:
    """Every node of hosts.yaml runs, and all see the same nodes."""
    title = "RabbitMQ is one cluster"
    asked = [member for member in members(cluster) if member.name in facts.known(NODE)]
    apart = [member.name for member in asked if stranger(member, facts)]
    if apart:
        sentence = f"{', '.join(apart)} remembers another one than the others"
        way_out = f"fab rabbitmq.join {apart[0]} --i-know, which gives up what it holds"
        return Finding(title, Verdict(ERROR, sentence), fix=way_out, cause=APART)
    silent = [member.name for member in members(cluster) if member.name not in states]
    if silent:
        sentence = f"{', '.join(silent)}: its management does not answer the user admin"
        way_out = "fab rabbitmq.cluster rabbitmq.users"
        return Finding(
            title, Verdict(ERROR, sentence), fix=way_out, cause=NODE_DOWN, about=tuple(silent)
        )
    views = {state.running for state in states.values()}
    if len(views) > 1:
        sees = "; ".join(
            f"{name} sees {', '.join(sorted(state.running))}" for name, state in states.items()
        )
        return Finding(title, Verdict(ERROR, sees), fix="fab rabbitmq.cluster", cause=VIEWS)
    [running] = views
    strangers = sorted(
        one.partition("@")[2] for one in running - {node(member) for member in members(cluster)}
    )
    if strangers:
        sentence = f"{', '.join(strangers)} is a node, and not in hosts.yaml"
        way_out = f"fab rabbitmq.shrink {strangers[0]}"
        return Finding(title, Verdict(ERROR, sentence), fix=way_out, cause=STRANGER)
    return Finding(title, Verdict(OK, f"{len(running)} nodes"))


def nodes_are_well(states: dict[str, State]) -> Findings:
    """No partition, no alarm, as each node reports of itself."""
    for name, state in states.items():
        own: dict[str, Any] = next(
            (one for one in state.nodes if one["name"] == f"rabbit@{name}"), {}
        )
        if own.get("partitions"):
            cut = ", ".join(one.partition("@")[2] for one in own["partitions"])
            yield Finding(
                f"{name} is not cut off",
                Verdict(ERROR, f"it is parted from {cut}"),
                fix="fab rabbitmq.cluster, once the network is whole",
                cause=PARTED,
                about=tuple(one.partition("@")[2] for one in own["partitions"]),
            )
        for key, what, way_out in (
            ("disk_free_alarm", "its disk is too full", "make room on it"),
            ("mem_alarm", "it uses too much memory", "see which queue grows: fab rabbitmq.status"),
        ):
            if own.get(key):
                yield Finding(
                    f"no alarm on {name}",
                    Verdict(ERROR, f"{what}: all publishers wait until that is mended"),
                    fix=way_out,
                    cause=ALARM,
                )


def versions(cluster: Cluster, states: dict[str, State]) -> Finding:
    """One version of RabbitMQ on all nodes, on an Erlang that fits it."""
    found = {(state.rabbitmq, state.erlang) for state in states.values()}
    if len(found) > 1:
        said = "; ".join(
            f"{name} has {state.rabbitmq} on {state.erlang}" for name, state in states.items()
        )
        wanted = (cluster.versions.rabbitmq, cluster.versions.erlang)
        odd = [n for n, state in states.items() if (state.rabbitmq, state.erlang) != wanted]
        way_out = f"fab -H {','.join(odd)} rabbitmq.restart, once the packages are hosts.yaml's"
        return Finding("versions are equal", Verdict(ERROR, said), fix=way_out, cause=VERSIONS)
    if not found:
        verdict = Verdict(WARN, "no node could be asked")
        return Finding("versions are equal", verdict, cause=SILENT, about=everybody(cluster))
    [(rabbitmq, erlang)] = found
    known = erlang_for(rabbitmq)
    if known and not within(erlang, known):
        sentence = f"RabbitMQ {rabbitmq} needs Erlang {known[0]} to {known[1]}, and has {erlang}"
        install = f"dnf install erlang-{cluster.versions.erlang} on each server"
        way_out = f"{install}, then fab rabbitmq.restart"
        verdict = Verdict(ERROR, sentence)
        return Finding("versions are equal", verdict, fix=way_out, cause=VERSIONS)
    return Finding("versions are equal", Verdict(OK, f"{rabbitmq} on Erlang {erlang}"))


def everybody(cluster: Cluster) -> tuple[str, ...]:
    """The names of all nodes' servers."""
    return tuple(member.name for member in members(cluster))


def queues(cluster: Cluster, states: dict[str, State]) -> Finding:
    """Every quorum queue has all its members online, and leaders on more than one node."""
    title = "quorum queues are whole"
    state = next(iter(states.values()), None)
    if not state:
        verdict = Verdict(WARN, "no node could be asked")
        return Finding(title, verdict, cause=SILENT, about=everybody(cluster))
    short = [
        queue["name"]
        for queue in state.quorum_queues
        if set(queue.get("members", ())) - set(queue.get("online", ()))
        or len(queue.get("members", ())) < len(state.running)
    ]
    if short:
        some = ", ".join(short[:3]) + (" and more" if len(short) > 3 else "")
        sentence = f"{len(short)} lack a member: {some}"
        way_out = "fab rabbitmq.cluster rabbitmq.queues"
        away = tuple(name for name in everybody(cluster) if f"rabbit@{name}" not in state.running)
        return Finding(title, Verdict(ERROR, sentence), fix=way_out, cause=SHORT, about=away)
    leaders = Counter(queue.get("leader") for queue in state.quorum_queues)
    if len(state.quorum_queues) > len(state.running) and len(leaders) == 1:
        alone = next(iter(leaders)).partition("@")[2]
        sentence = f"{alone} leads all {len(state.quorum_queues)}"
        spread = f"fab -H {members(cluster)[0].name} -- sudo rabbitmq-queues rebalance quorum"
        return Finding(title, Verdict(WARN, sentence), fix=spread, cause=UNEVEN)
    return Finding(title, Verdict(OK, f"{len(state.quorum_queues)} of them"))


def redundancy(cluster: Cluster, states: dict[str, State]) -> Finding:
    """Which node's loss would stop queues, as the nodes themselves judge it."""
    total = len(members(cluster))
    running = max((len(state.running) for state in states.values()), default=0)
    if running < total // 2 + 1:
        sentence = f"none: {running} of {total} nodes run, which is no majority"
        return Finding(REDUNDANCY, Verdict(ERROR, sentence), "fab rabbitmq.cluster", NO_MAJORITY)
    if total == 1:
        return Finding(
            REDUNDANCY,
            Verdict(WARN, f"none: {next(iter(states))} is the only node"),
            cause=NO_SPARE,
        )
    critical = sorted(name for name, state in states.items() if state.critical)
    if critical or running == total // 2 + 1:
        away = sorted(
            member.name
            for member in members(cluster)
            if not any(node(member) in state.running for state in states.values())
        )
        until = f" until {', '.join(away)} is back" if away else ": a queue would lose its majority"
        way_out = "fab rabbitmq.cluster rabbitmq.queues" if away or critical else ""
        verdict = Verdict(WARN, f"none{until}")
        return Finding(REDUNDANCY, verdict, fix=way_out, cause=NO_SPARE, about=tuple(away))
    return Finding(REDUNDANCY, Verdict(OK, "survives the loss of any one node"))


@section.table(needs=[NODE, STATE])
def status(cluster: Cluster, facts: Facts) -> list[dict[str, Any]]:
    """Show each node: state, memory, free disk, the queues that it leads."""
    states: dict[str, State] = facts.known(STATE)
    view = next(iter(states.values()), None)
    rows = []
    for host in members(cluster):
        own = next((one for one in view.nodes if one["name"] == node(host)), {}) if view else {}
        known = facts.known(NODE).get(host.name)
        state = "running" if own.get("running") else "starting" if known and known.running else ""
        rows.append(
            {
                "node": host.name,
                "address": host.address,
                "state": state or ("stopped" if known else "does not answer"),
                "memory MB": round(own.get("mem_used", 0) / 1_000_000),
                "disk free MB": round(own.get("disk_free", 0) / 1_000_000),
                "leads": sum(
                    queue.get("leader") == node(host) for queue in (view.queues if view else ())
                ),
                "messages": sum(
                    queue.get("messages", 0)
                    for queue in (view.queues if view else ())
                    if queue.get("leader") == node(host)
                ),
            }
        )
    return rows
