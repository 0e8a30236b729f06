"""What the modules of this section share: the parts of the cluster that have certificates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Callable

from runbook.declare.facts import Fact, Facts, hosts_on
from runbook.declare.section import Section
from runbook.declare.step import Steps
from runbook.declare.steps import wait_for
from runbook.inventory.cluster import Cluster, Host

from ..airflow import web as airflow_web
from ..airflow.transport import AIRFLOW_TLS, WAYS
from ..haproxy import web
from ..haproxy.common import HAPROXY_TLS, HEALTH
from ..postgres import pools, transport
from ..postgres.etcd import healthy
from ..postgres.members import in_its_place
from ..rabbitmq import transport as rabbitmq
from ..rabbitmq.cluster import all_run
from ..rabbitmq.common import RABBITMQ_TLS
from ..rabbitmq.common import members as queue_members
from ..shared import tls
from ..shared.site import WEB
from ..shared.tls import Held, Service, Tls
from ..shared.transport import Spoken

section = Section(
    "tls",
    on="all",
    runbook="TLS",
    about="Encrypt traffic between servers, with certificates of the cluster's CA.",
    settings=Tls,
    after=("ssh",),
)

for secret in (tls.CA, tls.NEXT_CA, tls.FORMER_CA, WEB):
    section.keeps(secret)


@dataclass(frozen=True)
class Part:
    """Services of one server whose certificates are renewed together.

    `speaks` (host, facts): how they speak there; None if they are not set up. `certified` (host,
    cluster, facts, anew) yields the steps that sign their certificates, `settled` (host, cluster)
    those that wait until all is well again.
    """

    services: Sequence[Service]
    speaks: Callable[[Host, Facts], Spoken]
    certified: Callable[..., Steps]
    settled: Callable[..., Steps]

    def hosts(self, cluster: Cluster) -> Sequence[Host]:
        """The servers that have these services."""
        return hosts_on(self.services[0].on, cluster)


def _database(host: Host, facts: Facts) -> Spoken:
    known = facts.known(transport.TRANSPORT).get(host.name)
    spoken = [one for one in astuple(known) if one is not None] if known else []
    return max(spoken, default=None)


def _database_settled(host: Host, cluster: Cluster) -> Steps:
    """etcd has its quorum, and the server leads or follows."""
    yield healthy(host)
    yield in_its_place(host, cluster)


def _pooler(host: Host, facts: Facts) -> Spoken:
    known = facts.known(transport.TRANSPORT).get(host.name)
    return known.pooler if known else None


def _pooler_settled(host: Host, cluster: Cluster) -> Steps:
    """PgBouncer answers, if it runs."""
    test = f"! systemctl is-active -q {pools.UNIT} || {pools.CONSOLE} 'show version'"
    yield wait_for("PgBouncer answers, if it runs", test)


def _queue_settled(host: Host, cluster: Cluster) -> Steps:
    """Its node runs, and so do the others."""
    yield all_run(queue_members(cluster), cluster)


def _proxy_settled(host: Host, cluster: Cluster) -> Steps:
    """HAProxy answers."""
    yield wait_for("HAProxy answers", f"curl -sf -o /dev/null -m 2 {HEALTH}/up")


def _web(host: Host, facts: Facts) -> Spoken:
    known = facts.known(WAYS).get(host.name)
    return known.web if known else None


def _airflow_settled(host: Host, cluster: Cluster) -> Steps:
    """Flower runs, if it is not stopped."""
    test = "systemctl show -p ActiveState --value airflow-flower.service"
    yield wait_for("Flower runs, if it did", f"[[ $({test}) != activating ]]")


DATABASE = Part(transport.SERVICES, _database, transport.certified, _database_settled)
OTHERS = (
    Part((pools.POOLER_TLS,), _pooler, transport.pooler_certified, _pooler_settled),
    Part(
        (RABBITMQ_TLS,),
        lambda host, facts: facts.known(rabbitmq.LISTENS).get(host.name),
        rabbitmq.certified,
        _queue_settled,
    ),
    Part(
        (HAPROXY_TLS,),
        lambda host, facts: facts.known(web.DOORS).get(host.name),
        web.certified,
        _proxy_settled,
    ),
    Part((AIRFLOW_TLS,), _web, airflow_web.certified, _airflow_settled),
)
PARTS = (DATABASE, *OTHERS)

SERVICES = tuple(service for part in PARTS for service in part.services)
HELD = tuple(service.held for service in SERVICES)

TRUSTS: Fact[str] = Fact(
    "which CAs it trusts",
    on="all",
    command=lambda cluster, host: f"cat {tls.TRUSTED} 2>/dev/null || echo none",
    parse=tls.certificates_in,
    absent="it does not answer",
)
"""PEM; empty if it trusts none yet."""


def held(host: Host, facts: Facts) -> dict[Service, Held]:
    """What a server holds for each service that has a key there."""
    return {
        one: facts.known(one.held)[host.name]
        for one in SERVICES
        if host.name in facts.known(one.held)
    }
