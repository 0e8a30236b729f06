"""What the modules of this section share: settings, paths, and the parts that it watches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import msgspec

from runbook.declare.facts import hosts_on
from runbook.declare.section import Section
from runbook.inventory.cluster import Cluster, Host
from runbook.inventory.entry import Parameter, ParameterName, between
from runbook.inventory.schema import Objection, Settings, Understood

from ..airflow import alerts as airflow
from ..haproxy import alerts as haproxy
from ..nfs import alerts as nfs
from ..postgres import alerts as postgres
from ..rabbitmq import alerts as rabbitmq
from ..shared.firewall import MONITORING, Firewall
from ..shared.metrics import Reading
from ..shared.roles import MONITOR
from ..tls import alerts as tls
from . import servers

PARTS = (
    servers.WATCHED,
    tls.WATCHED,
    postgres.WATCHED,
    rabbitmq.WATCHED,
    nfs.WATCHED,
    haproxy.WATCHED,
    airflow.WATCHED,
)

PORT = 9960
"""Not 9100, where the site may have a node_exporter of its own."""
METRICS = "/var/lib/airflow-runbook/metrics"
"""What node_exporter shows beside its own metrics."""
SCRIPTS = "/usr/libexec/airflow-runbook"
READINGS = f"{SCRIPTS}/readings"
EXPORTER = "runbook-node-exporter.service"
PROMETHEUS = "runbook-prometheus.service"
ALERTMANAGER = "runbook-alertmanager.service"
COLLECTOR = "runbook-readings"


class Monitoring(Settings, frozen=True):
    """Settings of the section `monitoring`."""

    enabled: bool = False
    """Whether the servers offer metrics; they do if a server has the role `monitoring`."""
    interval: Annotated[int, between(10, 600)] = 30
    """After how many seconds each server asks itself again what the checks would ask."""
    retention: Annotated[int, between(1, 3650)] = 15
    """For how many days the monitoring server keeps metrics."""
    receiver: dict[ParameterName, list[dict[ParameterName, Parameter]]] = msgspec.field(
        default_factory=dict
    )
    """Whom the monitoring server tells of alerts: a receiver as in alertmanager.yml, without its
    name, such as `webhook_configs: [{url: {secret: NAME}}]`; empty: nobody.
    """

    def objections(self, inventory: Understood) -> Iterator[Objection]:
        """Metrics that nobody may read."""
        firewall = inventory.get(Firewall)
        nobody = firewall and not firewall.monitoring and not inventory.with_role(MONITOR)
        if self.enabled and nobody:
            sentence = (
                "nobody may read the metrics: put the address of your Prometheus into "
                "firewall.monitoring"
            )
            yield Objection(sentence, ("monitoring", "enabled"), grave=False)


def written(cluster: Cluster) -> Monitoring:
    """The settings as hosts.yaml has them: only who sends to the receiver needs its passwords."""
    return next(one for one in cluster.settings.values() if isinstance(one, Monitoring))


def watched(cluster: Cluster) -> list[Host]:
    """All servers, if they are monitored."""
    wanted = written(cluster).enabled or cluster.group(MONITOR)
    return list(cluster.hosts.values()) if wanted else []


section = Section(
    "monitoring",
    on=watched,
    runbook="Monitoring",
    about="Tell Prometheus how the servers are, with the codes of the status.",
    roles=(MONITOR,),
    settings=Monitoring,
)

section.port(
    f"{PORT}/tcp",
    "metrics of the server and of its services, for Prometheus",
    MONITORING,
    MONITOR,
    on=watched,
)


def readings_of(host: Host, cluster: Cluster) -> list[Reading]:
    """What a server says about itself."""
    return [
        reading
        for part in PARTS
        for reading in part.readings
        if host in hosts_on(reading.on, cluster)
    ]
