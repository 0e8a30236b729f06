"""How Airflow speaks to others: as its settings on the servers say, and as these others can."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from runbook.declare.answers import lines_of
from runbook.declare.facts import Fact, Facts
from runbook.declare.templates import script
from runbook.inventory.cluster import Cluster, Host

from ..haproxy.web import DOORS
from ..postgres.transport import TRANSPORT
from ..rabbitmq.transport import LISTENS
from ..shared import tls
from ..shared.airflow import USER, hosts
from ..shared.roles import FLOWER, WEBSERVER
from ..shared.transport import WORDS, Speaks, Spoken, wanted
from .common import CFG
from .installation import INSTALLATIONS


def browsed(cluster: Cluster) -> list[Host]:
    """The servers with a part of Airflow that browsers show."""
    return [one for one in cluster.hosts.values() if {WEBSERVER, FLOWER} & set(one.roles)]


AIRFLOW_TLS = tls.service("airflow", browsed, USER, "airflow.web-keys airflow.web-certificates")
"""The webservers, for HAProxy, and Flower, for browsers."""


@dataclass(frozen=True)
class Ways:
    """How Airflow on a server reaches database and broker, and how browsers reach it.

    None: it is not set up.
    """

    database: Spoken = None
    broker: Spoken = None
    web: Spoken = None


def parse(text: str) -> Ways:
    """Parse the answer of WAYS: a word for each."""
    return Ways(*(WORDS[word] for word in lines_of(text, 3, 3)))


WAYS = Fact(
    "how Airflow reaches the others",
    on=hosts,
    command=lambda cluster, host: script("airflow/transport.sh", cfg=CFG),
    parse=parse,
    absent="it does not answer",
)

NEEDS = (WAYS, TRANSPORT, LISTENS, DOORS, INSTALLATIONS)
"""What must be known before the settings of Airflow are written."""


def ways(host: Host, cluster: Cluster, facts: Facts) -> Ways:
    """How Airflow on a server has to reach the others, and to be reached."""
    return Ways(
        _way("database", database_offers(facts), host, cluster, facts),
        _way("broker", broker_offers(facts), host, cluster, facts),
        _way("web", web_offers(facts), host, cluster, facts),
    )


def _way(name: str, offered: Spoken, host: Host, cluster: Cluster, facts: Facts) -> Speaks:
    """The only way that the others understand; of two, the present one or that of other servers."""
    if offered in (Speaks.CLEAR, Speaks.TLS):
        return offered
    known = {one: getattr(ways, name) for one, ways in facts.known(WAYS).items()}
    present = [known.get(host.name), *known.values()]
    new = Speaks.TLS if offered else wanted(cluster)
    return next((way for way in present if way is not None), new)


def broker_offers(facts: Facts) -> Spoken:
    """What all nodes of the message queue understand; None if none is known."""
    return _least(facts.known(LISTENS).values())


def web_offers(facts: Facts) -> Spoken:
    """How all proxies speak to browsers; None if none is known."""
    return _least(facts.known(DOORS).values())


def _least(spoken: Iterable[Spoken]) -> Spoken:
    return min((one for one in spoken if one is not None), default=None)


def database_offers(facts: Facts) -> Spoken:
    """What all servers of the database understand; None if none is known.

    PgBouncer, if Airflow uses it, speaks as PostgreSQL beside it does.
    """
    return _least(one.sessions for one in facts.known(TRANSPORT).values())
