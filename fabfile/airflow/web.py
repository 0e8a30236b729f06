"""Key and certificate of Airflow's webservers, for HAProxy, and of Flower, for browsers."""

from __future__ import annotations

from runbook.declare.facts import Facts
from runbook.declare.step import Handler, Steps
from runbook.inventory.cluster import Cluster, Host

from ..shared import tls
from .common import section
from .transport import AIRFLOW_TLS, NEEDS, ways

AGAIN = Handler(
    "flower-certificate",
    "Flower restarts with its certificate, if it runs",
    "! systemctl is-active -q airflow-flower.service || systemctl restart airflow-flower.service",
)


@section.task(on=AIRFLOW_TLS.on, needs=NEEDS)
def web_keys(host: Host, cluster: Cluster, facts: Facts) -> Steps:
    """Make the private key of webserver and Flower, unless they speak in clear."""
    if ways(host, cluster, facts).web:
        yield from tls.keys(AIRFLOW_TLS)


@section.task(on=AIRFLOW_TLS.on, needs=[*NEEDS, AIRFLOW_TLS.held])
def web_certificates(host: Host, cluster: Cluster, facts: Facts) -> Steps:
    """Sign the certificate of webserver and Flower, unless they speak in clear."""
    if ways(host, cluster, facts).web:
        yield from certified(host, cluster, facts)


def certified(host: Host, cluster: Cluster, facts: Facts, anew: bool = False) -> Steps:
    """They have a certificate. A webserver reads it for each connection, Flower when it starts."""
    yield from tls.trust(cluster)
    yield tls.certificate(AIRFLOW_TLS, host, cluster, facts, anew).then(AGAIN)
