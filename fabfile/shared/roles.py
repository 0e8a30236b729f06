"""What servers are for: the roles of hosts.yaml, and the ports that they open."""

from __future__ import annotations

from collections.abc import Sequence

from runbook.inventory.cluster import Cluster, Host
from runbook.inventory.schema import Listed, Port, Role, Tier

from .firewall import MONITORING, OPERATORS, WEB

ENTRY = Tier(0, "entry, schedulers, web")
WORK = Tier(1, "workers and files")
QUEUE = Tier(2, "message queue and targets")
DATABASE = Tier(3, "database")

CLIENTS = Listed("postgres", "clients")
"""Networks that may log in to the database."""


def airflow(cluster: Cluster, host: Host) -> Sequence[Host]:
    """Servers of Airflow."""
    return [other for other in cluster.hosts.values() if {*COMPONENTS} & {*other.roles}]


def peers(cluster: Cluster, host: Host) -> Sequence[Host]:
    """The other members of its VIPs."""
    names = {
        name for vip in cluster.vips.values() if host.name in vip.members for name in vip.members
    }
    return [cluster.hosts[name] for name in cluster.hosts if name in names - {host.name}]


# Without VRRP let in, both members would hold the VIP.
VRRP = Port(
    "vrrp", "VRRP, IP protocol 112: keepalived between its members, with a password", (peers,)
)

POSTGRES = Role(
    "postgres",
    label="database server",
    service="the database",
    loss="nothing can be written",
    majority=True,
    ports=(
        Port(
            "5432/tcp",
            "PostgreSQL: scram-sha-256, from the addresses in pg_hba.conf only",
            ("postgres", "haproxy", CLIENTS),
        ),
        Port(
            "8008/tcp",
            "Patroni's REST API: who leads; changes need a password, and come from members only",
            ("postgres", "haproxy", MONITORING, "monitoring"),
        ),
        Port("2379/tcp", "etcd: Patroni reads and writes who leads", ("postgres",)),
        Port("2380/tcp", "etcd: between its members", ("postgres",)),
    ),
    units=("patroni.service", "etcd.service", "pgbouncer.service"),
    tier=DATABASE,
)
RABBITMQ = Role(
    "rabbitmq",
    label="queue node",
    service="the message queue",
    loss="no task is handed out",
    majority=True,
    ports=(
        Port("5671/tcp", "RabbitMQ: AMQP over TLS, with a password", (airflow,)),
        Port("5672/tcp", "RabbitMQ: AMQP in clear, with a password, unless TLS is on", (airflow,)),
        Port("15671/tcp", "RabbitMQ's management over TLS, with a password", (OPERATORS,)),
        Port(
            "15672/tcp",
            "RabbitMQ's management in clear, with a password, unless TLS is on",
            (OPERATORS,),
        ),
        Port("15692/tcp", "RabbitMQ's metrics for Prometheus", (MONITORING, "monitoring")),
        Port("4369/tcp", "epmd: where Erlang's nodes find each other", ("rabbitmq",)),
        Port(
            "25672/tcp",
            "Erlang distribution: TLS with certificates of both sides, unless it is in clear, and "
            "the cookie",
            ("rabbitmq",),
        ),
        Port("35672-35682/tcp", "RabbitMQ's command line tools, likewise", ("rabbitmq",)),
    ),
    units=("rabbitmq-server.service", "epmd"),
    tier=QUEUE,
)
NFS = Role(
    "nfs",
    label="NFS server",
    service="the share",
    loss="DAGs cannot be read",
    ports=(Port("2049/tcp", "NFSv4: the DAGs", ("nfs", airflow)), VRRP),
    units=("nfs-server.service", "kernel"),
    tier=WORK,
)
HAPROXY = Role(
    "haproxy",
    label="HAProxy server",
    service="the address of database and web",
    loss="database and web UI cannot be reached",
    ports=(
        Port("5000/tcp", "HAProxy: the database's primary", (airflow, "postgres", CLIENTS)),
        Port("5001/tcp", "HAProxy: a replica of the database", (airflow, "postgres", CLIENTS)),
        Port("7000/tcp", "HAProxy's statistics, with a password", (OPERATORS, MONITORING)),
        Port("443/tcp", "HAProxy: Airflow's web UI over TLS", (WEB, airflow)),
        Port(
            "8081/tcp",
            "HAProxy: Airflow's web UI in clear; with TLS, it sends browsers to port 443",
            (WEB, airflow),
        ),
        VRRP,
    ),
    units=("haproxy.service",),
    tier=ENTRY,
)
SCHEDULER = Role("scheduler", service="the scheduler", loss="no DAG run starts", tier=ENTRY)
TRIGGERER = Role(
    "triggerer",
    loss="deferred tasks wait",
    ports=(
        Port(
            "8794/tcp", "logs of a triggerer, for the web UI; requests are signed", ("webserver",)
        ),
    ),
    units=("airflow-triggerer.service",),
    tier=ENTRY,
)
WEBSERVER = Role(
    "webserver",
    service="the web UI",
    loss="there is no web UI",
    ports=(Port("8080/tcp", "Airflow's webserver, behind HAProxy", ("haproxy",)),),
    units=("airflow-webserver.service",),
    tier=ENTRY,
)
FLOWER = Role(
    "flower",
    label="Flower",
    loss="workers cannot be watched there",
    ports=(Port("5555/tcp", "Flower, with a password", (OPERATORS,)),),
    units=("airflow-flower.service",),
    tier=ENTRY,
)
DAG_PROCESSOR = Role(
    "dag-processor", label="DAG processor", loss="changed DAGs are not picked up", tier=WORK
)
WORKER = Role(
    "worker",
    service="the worker",
    loss="no task runs",
    ports=(
        Port("8793/tcp", "logs of a worker, for the web UI; requests are signed", ("webserver",)),
    ),
    units=("airflow-worker.service",),
    tier=WORK,
)
MONITOR = Role(
    "monitoring",
    label="monitoring server",
    service="the monitoring",
    loss="nobody is alerted",
    tier=QUEUE,
)
TARGET = Role("target", loss="tasks that reach it by SSH fail", tier=QUEUE)

COMPONENTS = (SCHEDULER, TRIGGERER, WEBSERVER, FLOWER, WORKER, DAG_PROCESSOR)
"""Roles that run a part of Airflow."""
