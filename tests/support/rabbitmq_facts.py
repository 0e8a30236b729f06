"""What RabbitMQ's servers say, for tests of the section without RabbitMQ."""

from __future__ import annotations

from typing import Any

from fabfile.rabbitmq.configure import COOKIES
from fabfile.rabbitmq.definitions import EXPORTS, Export
from fabfile.rabbitmq.nodes import NODE, STATE, Node, State
from fabfile.rabbitmq.version_check import INSTALLED
from runbook.declare.facts import Facts
from runbook.declare.work import Question

MQ = ("mq1", "mq2", "mq3")
ALL = frozenset(f"rabbit@{name}" for name in MQ)


def nodes(names=MQ, blank=(), alone=(), silent=(), down=()) -> dict[str, Node]:
    """What the servers say: `blank` never started, `alone` stands by itself, `silent` unasked."""

    def remembers(name: str) -> frozenset[str]:
        if name in blank:
            return frozenset()
        if name in alone:
            return frozenset({f"rabbit@{name}"})
        return frozenset(f"rabbit@{one}" for one in names if one not in (*blank, *alone))

    return {
        name: Node(name not in (*blank, *down), remembers(name))
        for name in names
        if name not in silent
    }


def replaced(*names: str, down=()) -> dict[str, Node]:
    """These have no data any more, and the others still count all three."""
    return {
        name: Node(False, frozenset()) if name in names else Node(name not in down, ALL, True)
        for name in MQ
    }


def state(
    name: str, running=ALL, queues=(), critical=False, own=None, flags=(), policies=(), **versions
) -> State:
    listed = [{"name": one, "running": True} for one in sorted(running)]
    for one in listed:
        if one["name"] == f"rabbit@{name}":
            one.update(own or {})
    return State(
        versions.get("rabbitmq", "3.12.10"),
        versions.get("erlang", "26.1.2"),
        listed,
        list(queues),
        critical,
        frozenset({"admin", "airflow"}),
        [{"name": flag, "state": "disabled", "stability": "stable"} for flag in flags],
        list(policies),
    )


def queue(name="q", leader="mq1", members=MQ, online=MQ) -> dict[str, Any]:
    return {
        "name": name,
        "type": "quorum",
        "leader": f"rabbit@{leader}",
        "members": [f"rabbit@{one}" for one in members],
        "online": [f"rabbit@{one}" for one in online],
        "messages": 2,
    }


MIRRORED = {"vhost": "airflow", "name": "mirrored", "definition": {"ha-mode": "exactly"}}
"""The policy of a cluster for Airflow 2.7.3."""


def classic(name="default", mirrors=("mq2",), synchronised=("mq2",), **about) -> dict[str, Any]:
    """A classic queue of mq1, to which the policy applies, unless `about` says otherwise."""
    return {
        "name": name,
        "vhost": "airflow",
        "type": "classic",
        "durable": True,
        "exclusive": False,
        "state": "running",
        "policy": "mirrored",
        "node": "rabbit@mq1",
        "slave_nodes": [f"rabbit@{one}" for one in mirrors],
        "synchronised_slave_nodes": [f"rabbit@{one}" for one in synchronised],
        "messages": 1,
        **about,
    }


VERSIONS = {"rabbitmq-server": "3.12.10", "erlang": "26.1.2"}


def facts(known=None, installed=VERSIONS, exports=None, **states) -> Facts:
    return Facts(
        {
            NODE: known or nodes(),
            STATE: states or {name: state(name) for name in MQ},
            COOKIES: {},
            INSTALLED: {name: dict(installed) for name in MQ},
            EXPORTS: {name: exports or Export(7200, "success", True) for name in MQ},
        }
    )


def titles(steps) -> list[str]:
    return [step.title for step in steps]


def stages(procedure) -> list[tuple[str, tuple[str, ...]]]:
    return [
        (part.title, tuple(host.name for host in part.hosts))
        for part in procedure
        if not isinstance(part, Question)
    ]
