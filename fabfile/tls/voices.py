"""Who speaks TLS already, and who still speaks in clear."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable, TypeVar

from runbook.declare.facts import Fact, Facts

from ..airflow.transport import WAYS
from ..haproxy.web import DOORS
from ..postgres.transport import TRANSPORT
from ..rabbitmq.transport import LISTENS
from ..shared.transport import Speaks, Spoken

Answer = TypeVar("Answer")

Voices = Mapping[str, Speaks]
"""Who speaks how; `etcd on sql1`: clear."""


@dataclass(frozen=True)
class Group:
    """Services that are judged together, by what is known of them."""

    title: str
    needs: Sequence[Fact[Any]]
    voices: Callable[[Facts], Voices]


def _known(fact: Fact[Answer], facts: Facts) -> dict[str, Answer]:
    """What is known of the servers, in one order, however fast they answered."""
    known = facts.known(fact)
    return {name: known[name] for name in sorted(known)}


def _present(spoken: Mapping[str, Spoken]) -> Voices:
    return {who: speaks for who, speaks in spoken.items() if speaks is not None}


def _etcd_and_patroni(facts: Facts) -> Voices:
    return _present(
        {
            f"{service} on {name}": speaks
            for name, one in _known(TRANSPORT, facts).items()
            for service, speaks in (("etcd", one.etcd), ("Patroni", one.patroni))
        }
    )


def _postgresql(facts: Facts) -> Voices:
    return _present({name: one.sessions for name, one in _known(TRANSPORT, facts).items()})


def _pgbouncer(facts: Facts) -> Voices:
    return _present({name: one.pooler for name, one in _known(TRANSPORT, facts).items()})


def _airflow(facts: Facts) -> Voices:
    return _present(
        {
            f"{name} ({what})": getattr(one, what)
            for name, one in _known(WAYS, facts).items()
            for what in ("database", "broker", "web")
        }
    )


GROUPS = (
    Group("etcd and Patroni speak TLS", (TRANSPORT,), _etcd_and_patroni),
    Group("PostgreSQL speaks TLS", (TRANSPORT,), _postgresql),
    Group("PgBouncer speaks TLS", (TRANSPORT,), _pgbouncer),
    Group("RabbitMQ speaks TLS", (LISTENS,), lambda facts: _present(_known(LISTENS, facts))),
    Group("HAProxy speaks TLS", (DOORS,), lambda facts: _present(_known(DOORS, facts))),
    Group("Airflow uses TLS", (WAYS,), _airflow),
)

NEEDS = tuple(dict.fromkeys(fact for group in GROUPS for fact in group.needs))
