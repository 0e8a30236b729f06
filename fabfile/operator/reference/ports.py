"""The table of ports in docs/security.md, from the steps that open them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence

from ... import SECTIONS
from ...base import PORTS as PUBLIC_PORTS
from ...base import PRIVATE_PORTS
from ...engine.cluster import Cluster, Host
from ...engine.errors import RunbookError
from ...engine.inventory import load
from ...engine.section import Facts
from ...engine.step import Step
from ...engine.templates import PROJECT
from ...settings import ROLES
from .markdown import code, table

PORTS = {
    role: {*PUBLIC_PORTS.get(role, ()), *PRIVATE_PORTS.get(role, ("", ()))[1]} for role in ROLES
}
"""The ports of each role, as Section 1 opens them."""

PURPOSE = {
    "2049/tcp": "NFSv4: the DAGs",
    "2379/tcp": "etcd: Patroni asks and writes who leads",
    "2380/tcp": "etcd: its members among each other",
    "4369/tcp": "epmd: where Erlang's nodes find each other",
    "5000/tcp": "HAProxy: the database's primary",
    "5001/tcp": "HAProxy: a replica of the database",
    "5432/tcp": "PostgreSQL: scram-sha-256, from the addresses in pg_hba.conf only",
    "5555/tcp": "Flower, with a password",
    "5672/tcp": "RabbitMQ: AMQP, with a password",
    "7000/tcp": "HAProxy's statistics, with a password",
    "8008/tcp": "Patroni's REST API: who leads; what changes something takes a password",
    "8080/tcp": "Airflow's webserver; HAProxy asks it",
    "8081/tcp": "HAProxy: Airflow's web UI",
    "8432/tcp": "pgBackRest, over TLS; each trusts the certificates of the others only",
    "8793/tcp": "logs of a worker, for the web UI; requests are signed",
    "8794/tcp": "logs of a triggerer, for the web UI; requests are signed",
    "15672/tcp": "RabbitMQ's management, with a password",
    "15692/tcp": "RabbitMQ's figures for Prometheus",
    "25672/tcp": "Erlang distribution, with the cookie",
    "35672-35682/tcp": "RabbitMQ's command line tools, with the cookie",
    "vrrp": "VRRP, IP protocol 112: keepalived among its members, with a password",
}
"""What each port is for; one that a step opens and that is not here is an error."""

EVERYBODY = "everybody"


def matrix() -> str:
    """The table."""
    return table(("to", "port", "from", "what for"), opened(load(PROJECT / "hosts.yaml")))


def opened(cluster: Cluster) -> Iterator[tuple[str, str, str, str]]:
    """A row for each port: on which servers, for whom, and why."""
    found: dict[str, dict[str, set[str]]] = {}
    for host in cluster.hosts.values():
        for step in _steps(host, cluster):
            for port, caller in _let_in(step):
                found.setdefault(port, {}).setdefault(host.name, set()).add(caller)
    for port in sorted(found, key=_number):
        callers = set().union(*found[port].values())
        source = EVERYBODY if EVERYBODY in callers else _group(_named(callers, cluster), cluster)
        serving = [role for role in ROLES if port in PORTS.get(role, ())]
        yield _group(found[port], cluster, serving), code(port), source, PURPOSE[port]


def _steps(host: Host, cluster: Cluster) -> Iterator[Step]:
    """All steps of a host that can be known without asking one."""
    for section in SECTIONS:
        for task in section.step_tasks():
            on = cluster.group(task.on) if isinstance(task.on, str) else list(task.on(cluster))
            if host not in task.taken_by(on, cluster):
                continue
            try:
                yield from task.steps(host, cluster, Facts(), on)
            except RunbookError:  # what comes after hangs on what hosts say
                continue


def _let_in(step: Step) -> Iterator[tuple[str, str]]:
    """(port, who may reach it) for what a step opens in the firewall."""
    words = shlex.split(step.apply) if step.apply.startswith("firewall-cmd ") else []
    for word in words:
        option, _, value = word.partition("=")
        if option in ("--add-port", "--add-protocol"):
            yield value, EVERYBODY
        elif option == "--add-rich-rule":
            told = dict(re.findall(r'(\w+)="([^"]*)"', value))
            yield f"{told['port']}/{told['protocol']}", told["address"]


def _named(addresses: Iterable[str], cluster: Cluster) -> set[str]:
    by_address = {host.address: host.name for host in cluster.hosts.values()}
    return {by_address[address] for address in addresses}


def _group(names: Iterable[str], cluster: Cluster, preferred: Sequence[str] = ()) -> str:
    """Names as the role that they all have and nobody else has, if there is one."""
    wanted = set(names)
    for group in ("all", *preferred, *ROLES):
        members = {host.name for host in cluster.group(group)}
        if members == wanted:
            return code(f"@{group}")
    return ", ".join(name for name in cluster.hosts if name in wanted)


def _number(port: str) -> int:
    return int((re.findall(r"\d+", port) or ["99999"])[0])
