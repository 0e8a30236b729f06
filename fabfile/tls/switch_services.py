"""The way to TLS and back of what Airflow uses, and of Airflow itself.

Servers first understand both, then Airflow changes, then the servers refuse the other way.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from runbook.declare.facts import Fact, Facts
from runbook.declare.step import Steps
from runbook.declare.work import Procedure, Stage, asked_again, stage
from runbook.errors import RunbookError
from runbook.inventory.cluster import Cluster, Host

from ..airflow import transport as airflow
from ..airflow.all_servers import start_in_batches
from ..airflow.common import same_version
from ..airflow.configure import settings
from ..airflow.installation import of
from ..airflow.services import service_hosts
from ..airflow.transport import WAYS, Ways
from ..haproxy import proxy
from ..haproxy.common import proxies
from ..haproxy.web import DOORS
from ..postgres import patroni, pooler
from ..postgres.members import MEMBER, leader, replicas
from ..postgres.pools import pooled
from ..postgres.rotate import follow, in_place
from ..postgres.settings import Postgres
from ..postgres.transport import TRANSPORT, patroni_speaks, sessions_speak
from ..rabbitmq.cluster import all_run, settle
from ..rabbitmq.common import members as queue_members
from ..rabbitmq.configure import configuration
from ..rabbitmq.nodes import NODE
from ..rabbitmq.operate import refuse_without
from ..rabbitmq.transport import LISTENS
from ..shared import tls
from ..shared.airflow import hosts as airflow_hosts
from ..shared.firewall import let_in
from ..shared.transport import Speaks, beyond
from .common import OTHERS

CLEAR, BOTH, TLS = Speaks

NEEDS: tuple[Fact[Any], ...] = (
    *airflow.NEEDS,
    NODE,
    *(one.held for part in OTHERS for one in part.services),
)


def question(cluster: Cluster, target: Speaks) -> str:
    """What is about to change, in words."""
    what = "etcd, Patroni, PostgreSQL, RabbitMQ, HAProxy and Airflow change to "
    what += f"{'TLS' if target else 'connections in clear'}, one server after the other."
    others = cluster[Postgres].clients
    if target and others:
        what += f" At the end, PostgreSQL refuses clients in {', '.join(others)} without TLS."
    return f"{what} How RabbitMQ's nodes speak with each other stays: fab rabbitmq.switch-nodes."


def refuse_unless_all_answer(cluster: Cluster, facts: Facts) -> None:
    """Refuse while a server of Airflow is away: it would not find the others any more."""
    away = [one.name for one in airflow_hosts(cluster) if one.name not in facts.known(WAYS)]
    if away and set_up(cluster, facts):
        raise RunbookError(
            f"{', '.join(away)} does not answer; Airflow there would keep its way to the others, "
            "which is closed at the end. Bring it back first, or take it out of "
            f"{cluster.file.name}."
        )
    if nodes(cluster, facts):
        why = "restarting the others could stop the queues"
        refuse_without(queue_members(cluster), facts, why)


def nodes(cluster: Cluster, facts: Facts) -> list[Host]:
    """The nodes of the message queue, as far as they are set up."""
    return [one for one in queue_members(cluster) if facts.known(LISTENS).get(one.name) is not None]


def to_tls(cluster: Cluster, facts: Facts) -> Procedure:
    """Servers understand TLS, then Airflow uses it, then nothing else is accepted."""
    yield asked_again(TRANSPORT, MEMBER)
    yield from prepared(cluster, facts)
    yield from sessions_as(BOTH, TLS, cluster, facts)
    yield from queue_as(BOTH, TLS, cluster, facts)
    yield from web_as(BOTH, TLS, cluster, facts)
    yield from airflow_uses(TLS, cluster, facts)
    yield from web_as(TLS, TLS, cluster, facts)
    yield from sessions_as(TLS, TLS, cluster, facts)
    yield from queue_as(TLS, TLS, cluster, facts)


def to_clear(cluster: Cluster, facts: Facts) -> Procedure:
    """The same, backwards."""
    yield from web_as(BOTH, CLEAR, cluster, facts)
    yield from queue_as(BOTH, CLEAR, cluster, facts)
    yield from sessions_as(BOTH, CLEAR, cluster, facts)
    yield from airflow_uses(CLEAR, cluster, facts)
    yield from web_as(CLEAR, CLEAR, cluster, facts)
    yield from queue_as(CLEAR, CLEAR, cluster, facts)
    yield from sessions_as(CLEAR, CLEAR, cluster, facts)
    yield asked_again(TRANSPORT, DOORS)


def prepared(cluster: Cluster, facts: Facts) -> Procedure:
    """Keys, certificates and open ports; those of the database are there."""
    for part in OTHERS:
        those = [one for one in part.hosts(cluster) if part.speaks(one, facts) is not None]
        if not those:
            continue
        [service] = part.services
        yield stage(f"keys for {service.name}", those, partial(keys, service))
        yield asked_again(service.held)
        yield stage(
            f"certificates for {service.name}",
            those,
            partial(part.certified, cluster=cluster, facts=facts),
            lambda host: let_in(host, cluster),
        )


def keys(service: tls.Service, host: Host) -> Steps:
    """A service has a private key on a server."""
    yield from tls.keys(service)


def sessions_as(state: Speaks, target: Speaks, cluster: Cluster, facts: Facts) -> Iterator[Stage]:
    """PostgreSQL on each server, the leader last, speaks in this way; sessions stay.

    So does PgBouncer beside it. A replica that verifies the leader finds TLS there: the leader has
    understood it before.
    """
    first = leader(cluster, facts)
    for host in [*replicas(cluster, facts), first]:
        now = sessions_speak(host, cluster, facts)
        if beyond(now, state, target):
            continue
        speaks = patroni_speaks(host, cluster, facts)
        step = patroni.configuration(host, cluster, speaks, state)
        own = partial(pooler_as, state, cluster=cluster)
        yield stage(f"PostgreSQL on {host.name} speaks {state.spoken}", host, step, own)
        if now != state:
            yield stage(
                f"{host.name} is in its place",
                host,
                in_place(host, cluster),
                follow(first, cluster),
            )


def pooler_as(state: Speaks, host: Host, cluster: Cluster) -> Steps:
    """PgBouncer beside PostgreSQL speaks in this way; its clients stay connected."""
    if host in pooled(cluster):
        yield from pooler.configuration(cluster, state)


def queue_as(state: Speaks, target: Speaks, cluster: Cluster, facts: Facts) -> Iterator[Stage]:
    """RabbitMQ on each server, one after the other, listens in this way, for which it restarts."""
    for host in nodes(cluster, facts):
        if not beyond(facts.known(LISTENS)[host.name] or CLEAR, state, target):
            yield stage(
                f"RabbitMQ on {host.name} speaks {state.spoken}",
                host,
                configuration(host, cluster, state),
                lambda one: settle(one, cluster),
                all_run(queue_members(cluster), cluster),
            )


def web_as(state: Speaks, target: Speaks, cluster: Cluster, facts: Facts) -> Iterator[Stage]:
    """HAProxy speaks TLS to browsers unless all is in clear, and this way to the webservers."""
    known = facts.known(DOORS)
    present = [one for one in proxies(cluster) if known.get(one.name) is not None]
    those = [one for one in present if not beyond(known[one.name] or CLEAR, state, target)]
    if those:
        yield stage(
            f"HAProxy speaks {state.spoken} to webservers",
            those,
            lambda host: proxy.configuration(cluster, proxy.asks(host, cluster, facts), state),
        )


def airflow_uses(state: Speaks, cluster: Cluster, facts: Facts) -> Procedure:
    """Airflow reaches the others in this way; its services restart where that is new to them."""
    present = set_up(cluster, facts)
    if not present:
        return

    def anew(host: Host) -> Steps:
        yield same_version(cluster)
        yield from settings(cluster, Ways(state, state, state), of(host, cluster, facts))

    yield stage(f"Airflow is to reach the others {how(state)}", present, anew)
    yield from start_in_batches([one for one in service_hosts(cluster) if one in present], cluster)


def set_up(cluster: Cluster, facts: Facts) -> list[Host]:
    """The servers that have settings of Airflow."""
    known = facts.known(WAYS)
    return [
        one
        for one in airflow_hosts(cluster)
        if one.name in known and known[one.name].database is not None
    ]


def how(state: Speaks) -> str:
    """A state in words, for those who use it."""
    return "over TLS" if state else "in clear"
