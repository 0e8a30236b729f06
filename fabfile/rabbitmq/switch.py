"""From clear to TLS among the nodes, and back: all of them stop and start again. By name only.

A node that speaks TLS does not reach one in clear, so no node can change alone. Before anything
stops, every server has its certificate, and Erlang there has tried it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from runbook.declare.facts import Facts
from runbook.declare.step import Step, Steps
from runbook.declare.steps import action
from runbook.declare.templates import script
from runbook.declare.work import Procedure, Question, asked_again, stage
from runbook.errors import RunbookError, UsageError
from runbook.inventory.cluster import Cluster, Host

from ..shared import tls
from ..shared.transport import Speaks
from .common import RABBITMQ_TLS, members, section
from .configure import RESTART
from .distribution import AMONG, OPTIONS, environment, options
from .nodes import NODE
from .operate import refuse_without, running_nodes
from .power import start, stop
from .transport import certified

TARGETS = {"tls": Speaks.TLS, "clear": Speaks.CLEAR}


@section.procedure(needs=[NODE, AMONG, RABBITMQ_TLS.held], help={"to": "tls or clear"})
def switch_nodes(
    hosts: Sequence[Host], cluster: Cluster, facts: Facts, *, to: str = "tls"
) -> Procedure:
    """Let nodes speak TLS with each other, or in clear with --to clear. Asks first.

    All nodes stop: clients cannot connect for about a minute. If it is interrupted, rerun the
    command.
    Afterwards set rabbitmq.nodes_tls in hosts.yaml accordingly.
    """
    if to not in TARGETS:
        raise UsageError(f"--to {to} is neither tls nor clear.")
    target, nodes = TARGETS[to], members(cluster)
    refuse_unless_all_answer(cluster, facts)
    if {facts.of(AMONG, one) for one in nodes} != {target}:
        yield Question(announced(target))
        if target:
            yield from prepared(cluster, facts)
        yield from stop(nodes, cluster, facts)
        yield stage(f"nodes are to speak {target.spoken}", nodes, partial(change, speaks=target))
    yield from start(nodes, cluster, facts)


def refuse_unless_all_answer(cluster: Cluster, facts: Facts) -> None:
    """Refuse while a node would be left behind, unless an earlier run has stopped it."""
    known = facts.known(AMONG)
    away = [one.name for one in members(cluster) if one.name not in known]
    if away:
        raise RunbookError(
            f"{', '.join(away)} does not answer; its node would not reach the others any more. "
            f"Bring it back first, or take it out of the message queue: fab rabbitmq.shrink "
            f"{away[0]}"
        )
    new = [one.name for one in members(cluster) if known[one.name] is None]
    if new:
        raise RunbookError(f"{', '.join(new)} is not set up. First run: fab rabbitmq")
    if len(set(known.values())) == 1 and running_nodes(facts):
        why = "its node would not come back with the others"
        refuse_without(members(cluster), facts, why)


def announced(target: Speaks) -> str:
    """What the user confirms."""
    return (
        f"RabbitMQ's nodes will speak {target.spoken} with each other. All of them stop, and start "
        "again: for about a minute, clients cannot connect and no task is handed out. Tasks "
        "that run go on. Lost are messages that are not persistent, and queues that are not "
        "durable, such as those of Celery's events; their clients make them again."
    )


def prepared(cluster: Cluster, facts: Facts) -> Procedure:
    """Every server has a certificate that the others will accept."""
    nodes = members(cluster)
    yield stage("keys for RabbitMQ", nodes, lambda host: tls.keys(RABBITMQ_TLS))
    yield asked_again(RABBITMQ_TLS.held)
    yield stage(
        "certificates for RabbitMQ",
        nodes,
        lambda host: certified(host, cluster, facts),
        options(),
        tried,
    )


def tried(host: Host) -> Step:
    """Two Erlang nodes on the server find each other with its certificate, as RabbitMQ's will."""
    return action(
        f"Erlang on {host.name} speaks TLS with its certificate",
        script("rabbitmq/tries-tls.sh", host=host.name, options=OPTIONS),
        timeout=300,
    )


def change(host: Host, speaks: Speaks) -> Steps:
    """A stopped node finds its settings for the next start."""
    for step in environment(host, speaks):
        yield step.clearing(RESTART)
