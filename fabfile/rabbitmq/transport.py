"""How RabbitMQ listens to clients: in clear, over TLS, or both during `fab tls.switch`.

The nodes among each other, epmd and Erlang's distribution, speak in clear, with the cookie.
"""

from __future__ import annotations

from runbook.declare.facts import Facts
from runbook.declare.step import Handler, Steps
from runbook.inventory.cluster import Cluster, Host

from ..shared import tls
from ..shared.roles import RABBITMQ
from ..shared.transport import Speaks, speaks, spoken_by, wanted
from .common import CONF, RABBITMQ_TLS, SERVICE, section

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
    "RabbitMQ reads its certificate again",
    f"! systemctl is-active -q {SERVICE} || rabbitmqctl -q eval 'ssl:clear_pem_cache().'",
)
"""Without it, the certificate would be read within two minutes (RabbitMQ, "TLS Support")."""


def listens(host: Host, cluster: Cluster, facts: Facts) -> Speaks:
    """How a node listens, or has to if it is new: as the others, or as hosts.yaml says."""
    return speaks(host, LISTENS, facts, wanted(cluster))


@section.task(needs=[LISTENS])
def keys(host: Host, cluster: Cluster, facts: Facts) -> Steps:
    """Make RabbitMQ's private key, unless it listens in clear."""
    if listens(host, cluster, facts):
        yield from tls.keys(RABBITMQ_TLS)


@section.task(needs=[LISTENS, RABBITMQ_TLS.held])
def certificates(host: Host, cluster: Cluster, facts: Facts) -> Steps:
    """Sign RabbitMQ's certificate, unless it listens in clear.

    A running node reads it at once.
    """
    if listens(host, cluster, facts):
        yield from certified(host, cluster, facts)


def certified(host: Host, cluster: Cluster, facts: Facts, anew: bool = False) -> Steps:
    """RabbitMQ has a certificate, and reads a new one at once."""
    yield from tls.trust(cluster)
    yield tls.certificate(RABBITMQ_TLS, host, cluster, facts, anew).then(READS)
