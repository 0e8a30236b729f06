"""How Airflow speaks to others: as its settings on the servers say, and as these others can."""

from __future__ import annotations

from dataclasses import dataclass

from runbook.declare.answers import lines_of
from runbook.declare.facts import Fact, Facts
from runbook.declare.templates import script
from runbook.inventory.cluster import Cluster, Host

from ..postgres.transport import TRANSPORT
from ..rabbitmq.transport import LISTENS
from ..shared.airflow import hosts
from ..shared.transport import WORDS, Speaks, Spoken, wanted
from .common import SETTINGS


@dataclass(frozen=True)
class Ways:
    """How Airflow on a server reaches database and broker; None: it is not set up."""

    database: Spoken = None
    broker: Spoken = None


def parse(text: str) -> Ways:
    """Parse the answer of WAYS: a word for each."""
    return Ways(*(WORDS[word] for word in lines_of(text, 2, 2)))


WAYS = Fact(
    "how Airflow reaches the others",
    on=hosts,
    command=lambda cluster, host: script("airflow/transport.sh", cfg=f"{SETTINGS}/airflow.cfg"),
    parse=parse,
    absent="it does not answer",
)

NEEDS = (WAYS, TRANSPORT, LISTENS)
"""What must be known before the settings of Airflow are written."""


def ways(host: Host, cluster: Cluster, facts: Facts) -> Ways:
    """How Airflow on a server reaches the others, or has to if it is new there."""
    return Ways(
        _way("database", host, facts, _offered(database_offers(facts), cluster)),
        _way("broker", host, facts, _offered(broker_offers(facts), cluster)),
    )


def _way(name: str, host: Host, facts: Facts, new: Speaks) -> Speaks:
    """As its settings say, or else as those of the other servers, or as `new`."""
    known = {one: getattr(ways, name) for one, ways in facts.known(WAYS).items()}
    others = [way for way in known.values() if way is not None]
    own = known.get(host.name)
    return own if own is not None else min(others, default=new)


def _offered(spoken: Spoken, cluster: Cluster) -> Speaks:
    """TLS, if all servers of a service understand it, or if there is none yet and it is wanted."""
    if spoken is None:
        return wanted(cluster)
    return Speaks.TLS if spoken else Speaks.CLEAR


def broker_offers(facts: Facts) -> Spoken:
    """What all nodes of the message queue understand; None if there is none yet."""
    return min((one for one in facts.known(LISTENS).values() if one is not None), default=None)


def database_offers(facts: Facts) -> Spoken:
    """What all servers of the database understand; None if there is no database yet."""
    known = [one.sessions for one in facts.known(TRANSPORT).values() if one.sessions is not None]
    return min(known, default=None)
