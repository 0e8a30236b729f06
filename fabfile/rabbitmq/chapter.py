"""What the parts of the chapter have in common: names, passwords, how a node is asked."""

from __future__ import annotations

from ..engine.cluster import Cluster, Host
from ..engine.section import Section
from ..engine.step import quote

section = Section(
    "rabbitmq",
    on="rabbitmq",
    runbook="Message Queue HA",
    about="RabbitMQ on three servers: one cluster, queues that survive the loss of a node.",
)

COOKIE = section.secret("rabbitmq_cookie", "the Erlang cookie that RabbitMQ's nodes share")
ADMIN = section.secret("rabbitmq_admin", "the user admin of RabbitMQ's management")
AIRFLOW = section.secret("rabbitmq_airflow", "the user airflow, Airflow's own on RabbitMQ")

VHOST = "airflow"
DATA = "/var/lib/rabbitmq/mnesia"
SERVICE = "rabbitmq-server.service"


def members(cluster: Cluster) -> list[Host]:
    """The servers of the message queue."""
    return cluster.group("rabbitmq")


def node(host: Host) -> str:
    """The node's name, by which the others know it."""
    return f"rabbit@{host.name}"


def mirrored(cluster: Cluster) -> bool:
    """Airflow 2.7.3 brings a Celery that cannot use quorum queues: its queues are mirrored."""
    return cluster.versions.airflow.startswith("2.7")


def api(cluster: Cluster, path: str) -> str:
    """A question to this node's management API; the password goes through a descriptor."""
    password = cluster.secret(ADMIN).replace("\\", "\\\\").replace('"', '\\"')
    login = quote(f'user = "admin:{password}"')
    return f"curl -sf -m 10 -K <(printf '%s\\n' {login}) http://127.0.0.1:15672/api/{path}"
