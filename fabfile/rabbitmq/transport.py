"""How RabbitMQ listens to clients: in clear, over TLS, or both during `fab tls.switch`."""

from __future__ import annotations

from runbook.declare.facts import Facts
from runbook.declare.step import Handler, Steps
from runbook.declare.templates import script
from runbook.inventory.cluster import Cluster, Host

from ..shared import tls
from ..shared.roles import RABBITMQ
from ..shared.transport import Speaks, speaks, spoken_by, wanted
from .common import CONF, RABBITMQ_TLS, SERVICE, section
from .distribution import AMONG, among
from .nodes import NODE

OVER_TLS = f"grep -qsx 'ssl_options.certfile = {RABBITMQ_TLS.certificate}' {CONF}"
"""A test: the node listens with TLS."""
NOT_IN_CLEAR = f"grep -qsx 'listeners.tcp = none' {CONF}"
"""A test: the node does not listen in clear."""

LISTENS = spoken_by(
    "how RabbitMQ listens",
    RABBITMQ,
    lambda cluster, host: (
        f"""if [[ ! -s {CONF} ]]; then echo none
elif ! {OVER_TLS}; then echo clear
elif {NOT_IN_CLEAR}; then echo tls
else echo both
fi"""
    ),
)

READS = Handler(
    "rabbitmq-certificate",
    "RabbitMQ reads its certificate and the CAs again",
    script("rabbitmq/reads-again.sh", service=SERVICE),
)
"""Without it, they would be read within two minutes (RabbitMQ, "TLS Support")."""

ASKED = (LISTENS, AMONG, NODE)
"""What `needs_certificate` needs to know."""


def listens(host: Host, cluster: Cluster, facts: Facts) -> Speaks:
    """How a node listens, or has to if it is new: as the others, or as hosts.yaml says."""
    return speaks(host, LISTENS, facts, wanted(cluster))


def needs_certificate(host: Host, cluster: Cluster, facts: Facts) -> bool:
    """Whether a node speaks TLS, with its clients or with the other nodes."""
    return bool(listens(host, cluster, facts) or among(host, cluster, facts))


@section.task(needs=ASKED)
def keys(host: Host, cluster: Cluster, facts: Facts) -> Steps:
    """Make RabbitMQ's private key, unless it speaks in clear only."""
    if needs_certificate(host, cluster, facts):
        yield from tls.keys(RABBITMQ_TLS)


@section.task(needs=[*ASKED, RABBITMQ_TLS.held])
def certificates(host: Host, cluster: Cluster, facts: Facts) -> Steps:
    """Sign RabbitMQ's certificate, unless it speaks in clear only.

    A running node reads it at once.
    """
    if needs_certificate(host, cluster, facts):
        yield from certified(host, cluster, facts)


def certified(host: Host, cluster: Cluster, facts: Facts, anew: bool = False) -> Steps:
    """RabbitMQ has a certificate, and reads a new one at once."""
    yield from tls.trust(cluster)
    yield tls.certificate(RABBITMQ_TLS, host, cluster, facts, anew).then(READS)
