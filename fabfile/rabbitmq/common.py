"""What the modules of this section share: names, passwords, how a node is asked."""

from __future__ import annotations

from runbook.declare.section import Section
from runbook.declare.step import quote
from runbook.declare.steps import answers
from runbook.inventory.cluster import Cluster, Host
from runbook.secrets.vault import Rule

from ..shared import tls
from ..shared.curl import login
from ..shared.roles import RABBITMQ
from .settings import Rabbitmq

section = Section(
    "rabbitmq",
    on=RABBITMQ,
    runbook="Message Queue HA",
    about="RabbitMQ on three servers: one cluster, queues that survive the loss of a node.",
    roles=(RABBITMQ,),
    settings=Rabbitmq,
    after=("python-build.start", "tls"),
    restarts=("rabbitmq-server.service",),
    accounts=("rabbitmq", "epmd"),
)

COOKIE = section.secret(
    "rabbitmq_cookie",
    "the Erlang cookie that RabbitMQ's nodes share",
    rule=Rule("[!-~]{1,255}", "at most 255 characters without spaces"),
)
ADMIN = section.secret("rabbitmq_admin", "the user admin of RabbitMQ's management")
AIRFLOW = section.secret("rabbitmq_airflow", "the user airflow on RabbitMQ, which Airflow uses")

NO_MAJORITY = section.cause("MQ_NO_MAJORITY", "queues stop: no task is handed out")
SILENT = section.cause("MQ_UNKNOWN", "unknown; the state of the queues cannot be read")

VHOST = "airflow"
DATA = "/var/lib/rabbitmq/mnesia"
SERVICE = "rabbitmq-server.service"
SCRIPTS = "/usr/libexec/rabbitmq-ha"
CONF = "/etc/rabbitmq/rabbitmq.conf"
AMQP, AMQPS = 5672, 5671

ANY_NODE = "rabbitmq"
"""A name in the certificates of all nodes: a client verifies whichever node it reaches under one.

kombu compares the certificates of all brokers with the same name (5.5, `broker_use_ssl`).
"""

RABBITMQ_TLS = tls.service(
    "rabbitmq",
    RABBITMQ,
    "rabbitmq",
    "rabbitmq.keys rabbitmq.certificates",
    also=lambda host, cluster: [ANY_NODE],
)


def members(cluster: Cluster) -> list[Host]:
    """The servers of the message queue."""
    return cluster.group(RABBITMQ)


def everybody(cluster: Cluster) -> tuple[str, ...]:
    """The names of all nodes' servers."""
    return tuple(member.name for member in members(cluster))


def node(host: Host) -> str:
    """The node's name, by which the others know it."""
    return f"rabbit@{host.name}"


def lets_in(host: Host) -> str:
    """A test: clients can connect to the node, in whichever way it listens."""
    return f"{answers(host.address, AMQPS)} || {answers(host.address, AMQP)}"


def api(cluster: Cluster, path: str) -> str:
    """A command that asks this node's management API; it reads the password from a descriptor."""
    admin = quote(login("admin", cluster.secret(ADMIN)))
    return f"curl -sf -m 10 -K <(printf '%s\\n' {admin}) http://127.0.0.1:15672/api/{path}"
