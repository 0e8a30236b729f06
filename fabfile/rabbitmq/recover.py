"""The way back when most nodes are lost for good: one of them goes on alone. By name only.

Without a majority, a node stops and waits. Here it starts without the others, its quorum queues
continue with the one replica that is left, and it forgets the lost nodes; new ones then join as
usual. Its data is copied aside before.
"""

from __future__ import annotations

from collections.abc import Sequence

from runbook.declare.facts import Facts
from runbook.declare.step import Step
from runbook.declare.steps import action, answers, command, precondition, service_off
from runbook.declare.templates import script
from runbook.declare.work import Procedure, Question, stage
from runbook.errors import RunbookError, UsageError
from runbook.inventory.cluster import Cluster, Host, host_named

from ..shared.versions import Versions
from .cluster import not_counted
from .common import DATA, SERVICE, members, node, section
from .nodes import NODE, keeps_in_khepri

FORCE_SHRINK = (3, 12, 1)
"""The first RabbitMQ that can reduce a quorum queue to the one replica that is left."""


@section.procedure(
    needs=[NODE],
    help={"host": "the node that goes on alone", "i_know": "accept the loss of what it lacks"},
)
def recover(
    hosts: Sequence[Host], cluster: Cluster, facts: Facts, *, host: str, i_know: bool = False
) -> Procedure:
    """Continue with one node when most others are lost for good. Needs --i-know.

    Lists the messages that it holds, and asks again, before the lost nodes are forgotten. Its data
    is copied aside first. Afterwards, `fab rabbitmq` lets new servers join.
    """
    last = host_named(host, members(cluster), "node")
    others = other_survivors(last, cluster, facts)
    lost = sorted(counted(last, cluster, facts) - {node(last)})
    given_up = what_is_lost(last, lost, cluster)
    if not i_know:
        raise UsageError(f"{given_up} If that is intended, add --i-know.")
    yield Question(given_up)
    if others:
        yield stage(f"{names(others)} does not start again", others, service_off(SERVICE))
    yield stage(f"{host} starts alone", last, *nobody_else_runs(last, cluster), alone(last, lost))
    yield stage(f"what {host} holds", last, holds())
    yield Question(
        f"{host} goes on with these queues and messages. All others are given up, and "
        f"{', '.join(lost)} must never start with their old data again."
    )
    yield stage(f"{host} and its queues go on without the lost nodes", last, reduced(lost))


def other_survivors(last: Host, cluster: Cluster, facts: Facts) -> list[Host]:
    """The other nodes that still have data; RunbookError if nothing is lost for good."""
    if not facts.of(NODE, last).has_data:
        raise RunbookError(
            f"{last.name} has no data, so it cannot go on alone. Name a node that has; if none "
            "has: fab rabbitmq creates a new cluster."
        )
    known = facts.known(NODE)
    others = [
        one
        for one in members(cluster)
        if one != last and one.name in known and known[one.name].has_data
    ]
    total = len(counted(last, cluster, facts))
    if (len(others) + 1) * 2 > total:
        raise RunbookError(
            f"{names([last, *others])} still have their data, which is a majority of {total}. "
            "Nothing has to be given up; run: fab rabbitmq.cluster"
        )
    return others


def counted(last: Host, cluster: Cluster, facts: Facts) -> frozenset[str]:
    """The nodes that the cluster counts, as far as this one knows.

    With Khepri, a stopped node does not know them. One that already goes on alone counts itself
    only, while its queues may still count the others.
    """
    remembers = facts.of(NODE, last).remembers
    return remembers if len(remembers) > 1 else frozenset(node(one) for one in members(cluster))


def names(hosts: Sequence[Host]) -> str:
    """The hosts' names."""
    return ", ".join(one.name for one in hosts)


def what_is_lost(last: Host, lost: Sequence[str], cluster: Cluster) -> str:
    """The sentences for the user before anything is done."""
    version = cluster[Versions].rabbitmq
    queues = (
        f"Quorum queues go on with the messages that {last.name} has; confirmed messages that "
        "only the lost nodes have are lost."
        if tuple(int(part) for part in version.split(".")[:3]) >= FORCE_SHRINK
        else f"RabbitMQ {version} cannot reduce a quorum queue to one replica: all quorum queues "
        "with replicas on lost nodes are deleted with their messages (3.12.1 and later keep them)."
    )
    return (
        f"{last.name} goes on without {', '.join(lost)}. {queues} Classic queues whose messages "
        f"are on lost nodes only are lost, too. Users, vhosts and policies stay. The data of "
        f"{last.name} is copied aside first."
    )


def nobody_else_runs(last: Host, cluster: Cluster) -> Sequence[Step]:
    """Refuse while another node answers: it would not be lost, and there would be two clusters."""
    others = [one for one in members(cluster) if one != last]
    found = "\n".join(
        f"if {answers(one.address, 25672)} 2>/dev/null; then echo {one.name} answers; fi"
        for one in others
    )
    copied = f"$(du -sk {DATA} | cut -f1)"
    free = f"$(df -k --output=avail {DATA} | tail -1)"
    return (
        precondition("no other node runs", f"[[ ! $({found}) ]]", found),
        precondition(
            "there is room for a copy of its data",
            f"(( {copied} + 102400 < {free} ))",
            f'echo "{DATA} has {copied} KB, free are {free} KB"',
        ),
    )


def alone(last: Host, lost: Sequence[str]) -> Step:
    """The node runs, without waiting for the others.

    With Khepri, a node runs without the others, but cannot change anything until it counts itself
    only.
    """
    counts_them = " || ".join(f"! {{ {not_counted(one)}; }}" for one in lost)
    return command(
        f"{last.name} runs without the others",
        script("rabbitmq/alone.sh", data=DATA, node=node(last)),
        unless=f"rabbitmq-diagnostics -q check_running && ! {{ {keeps_in_khepri(last)} && "
        f"{{ {counts_them}; }}; }}",
        timeout=900,
    )


def holds() -> Step:
    """Show what the node's own replicas hold, which needs no majority."""
    return action("its queues", script("rabbitmq/holds.sh"), timeout=300).with_output()


def reduced(lost: Sequence[str]) -> Step:
    """Quorum queues go on with this node's replica, or are deleted; lost nodes are forgotten."""
    return action(
        f"{', '.join(lost)}: forgotten by the cluster and its queues",
        script("rabbitmq/reduced.sh", lost=" ".join(lost)),
        timeout=900,
    )
