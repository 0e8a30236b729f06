"""Checks of the message queue: is it healthy, and which failure would cause no outage?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runbook.declare.facts import Facts
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
from runbook.declare.steps import answers
from runbook.inventory.cluster import Cluster, Host

from .cluster import blank, stranger
from .common import NO_MAJORITY, members, node, section
from .definitions import EXPORTS, exported
from .distribution import AMONG, spoken
from .nodes import NODE, STATE, State
from .queue_check import queues, unsynchronised
from .transport import OVER_TLS
from .version_check import INSTALLED, versions

NEAR, FULL = 0.8, 0.95
"""The shares of a limit from which on its use is a warning, and an error."""

LISTENERS = {"AMQP": (5672, 5671), "management": (15672, 15671), "prometheus": (15692, 15692)}
"""What a node offers, and at which port in clear and over TLS."""

NODE_DOWN = section.cause("MQ_NODE_DOWN", "one node fewer; queues with a majority continue")
LISTENER = section.cause("MQ_LISTENER_DOWN", "clients connect to the other nodes")
APART = section.cause("MQ_NODE_APART", "the node exchanges no messages with the others")
VIEWS = section.cause("MQ_VIEWS_DIFFER", "nodes disagree about the members; queues may stop")
STRANGER = section.cause("MQ_STRANGER", "the majority counts a node that hosts.yaml does not have")
PARTED = section.cause("MQ_PARTED", "the smaller partition serves no clients")
ALARM = section.cause("MQ_ALARM", "all publishers are blocked: no task is handed out")
DISK_LOST = section.cause("MQ_DISK_LOST", "the majority counts a node that has no data any more")
LIMIT = section.cause("MQ_LIMIT", "the node soon refuses new connections and queues")
NO_SPARE = section.cause("MQ_NO_SPARE", "the next node failure stops the queues")


@section.check
def check(host: Host, cluster: Cluster) -> Probes:
    """Check nodes, partitions, alarms, users, queues and redundancy."""
    for name, (in_clear, over_tls) in LISTENERS.items():
        yield probe(
            f"{name} listens",
            f"if {OVER_TLS}; then {answers(host.address, over_tls)}\n"
            f"else {answers(host.address, in_clear)}; fi 2>/dev/null",
            listens,
            fix=f"fab -H {host.name} rabbitmq",
            cause=LISTENER,
        )


def listens(answer: Answer) -> Verdict:
    """The port accepts connections."""
    if answer.code == 0:
        return Verdict(OK)
    return Verdict(ERROR, "no answer within 3 seconds" if answer.code == 124 else "nothing does")


@section.cluster_check(needs=[NODE, STATE, INSTALLED, EXPORTS, AMONG])
def check_cluster(cluster: Cluster, facts: Facts) -> Findings:
    """Checks that need the answers of several nodes."""
    states = facts.known(STATE)
    yield one_cluster(cluster, states, facts)
    yield from nodes_are_well(states)
    yield from versions(cluster, states, facts)
    yield from queues(cluster, states)
    yield exported(cluster, facts)
    yield from spoken(cluster, facts)
    yield redundancy(cluster, states)


def one_cluster(cluster: Cluster, states: Mapping[str, State], facts: Facts) -> Finding:
    """Every node of hosts.yaml runs, and all see the same nodes."""
    title = "RabbitMQ is one cluster"
    asked = [member for member in members(cluster) if member.name in facts.known(NODE)]
    apart = [member.name for member in asked if stranger(member, facts)]
    if apart:
        sentence = f"{', '.join(apart)} belongs to a different cluster from the others"
        way_out = f"fab rabbitmq.join {apart[0]} --i-know, which discards what it holds"
        return Finding(title, Verdict(ERROR, sentence), fix=way_out, cause=APART)
    emptied = [member.name for member in asked if blank(member, facts)]
    if emptied:
        sentence = f"{', '.join(emptied)} has no data any more, but the others still count it"
        return Finding(title, Verdict(ERROR, sentence), fix="fab rabbitmq", cause=DISK_LOST)
    silent = [member.name for member in members(cluster) if member.name not in states]
    if silent:
        sentence = f"{', '.join(silent)}: its management API does not answer the user admin"
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
        sentence = f"{', '.join(strangers)} is a node, but not in hosts.yaml"
        way_out = f"fab rabbitmq.shrink {strangers[0]}"
        return Finding(title, Verdict(ERROR, sentence), fix=way_out, cause=STRANGER)
    return Finding(title, Verdict(OK, f"{len(running)} nodes"))


def nodes_are_well(states: Mapping[str, State]) -> Findings:
    """No partition, no alarm, as each node reports of itself."""
    for name, state in states.items():
        own: dict[str, Any] = next(
            (one for one in state.nodes if one["name"] == f"rabbit@{name}"), {}
        )
        if own.get("partitions"):
            cut = ", ".join(one.partition("@")[2] for one in own["partitions"])
            yield Finding(
                f"{name} is not cut off",
                Verdict(ERROR, f"it is partitioned from {cut}"),
                fix="fab rabbitmq.cluster, once the network works again",
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
                    Verdict(ERROR, f"{what}: all publishers are blocked until that is fixed"),
                    fix=way_out,
                    cause=ALARM,
                )
        yield from limits(name, own)


def limits(name: str, own: Mapping[str, Any]) -> Findings:
    """The node is far from the limits at which it refuses connections and queues."""
    for key, what, way_out in (
        ("fd", "file descriptors", "see which client opens so many: rabbitmqctl list_connections"),
        ("sockets", "sockets", "see which client opens so many: rabbitmqctl list_connections"),
        ("proc", "Erlang processes", "see which client opens so many: rabbitmqctl list_channels"),
    ):
        used, total = own.get(f"{key}_used", 0), own.get(f"{key}_total", 0)
        if isinstance(used, str) or isinstance(total, str):  # where RabbitMQ cannot tell
            continue
        if total and used >= NEAR * total:
            verdict = Verdict(ERROR if used >= FULL * total else WARN, f"{used} of {total}")
            yield Finding(f"{what} of {name}", verdict, fix=way_out, cause=LIMIT)


def redundancy(cluster: Cluster, states: Mapping[str, State]) -> Finding:
    """Which node's loss would stop queues, according to the nodes themselves."""
    total = len(members(cluster))
    running = max((len(state.running) for state in states.values()), default=0)
    if running < total // 2 + 1:
        sentence = f"none: {running} of {total} nodes run, which is not a majority"
        way_out = "fab rabbitmq.cluster; if the others are lost for good: fab rabbitmq.recover HOST"
        return Finding.of_redundancy(ERROR, sentence, way_out, NO_MAJORITY)
    if total == 1:
        sentence = f"none: {next(iter(states))} is the only node"
        return Finding.of_redundancy(WARN, sentence, cause=NO_SPARE, by_design=True)
    critical = sorted(name for name, state in states.items() if state.critical)
    if critical or running == total // 2 + 1:
        away = sorted(
            member.name
            for member in members(cluster)
            if not any(node(member) in state.running for state in states.values())
        )
        until = f" until {', '.join(away)} is back" if away else ": a queue would lose its majority"
        way_out = "fab rabbitmq.cluster rabbitmq.queues" if away or critical else ""
        return Finding.of_redundancy(WARN, f"none{until}", way_out, NO_SPARE, away)
    bare = {str(queue["name"]) for state in states.values() for queue in unsynchronised(state)}
    if bare:
        sentence = "none until mirrors have all messages"
        return Finding.of_redundancy(WARN, sentence, cause=NO_SPARE)
    return Finding.of_redundancy(OK, "survives the loss of any one node")


@section.table(needs=[NODE, STATE])
def status(cluster: Cluster, facts: Facts) -> list[dict[str, Any]]:
    """Show each node: state, memory, free disk, the queues that it leads."""
    states = facts.known(STATE)
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
