"""The servers that DAGs reach by SSH: a key for each worker, and their pinned host keys."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from runbook.declare import steps
from runbook.declare.facts import Fact, Facts
from runbook.declare.public_keys import public_key
from runbook.declare.step import Steps
from runbook.inventory.cluster import Cluster, Host

from ..shared.airflow import AS_USER, HOME, USER, account
from ..shared.roles import TARGET, WORKER
from ..ssh import HOST_KEYS, host_keys
from .common import CLI, SETTINGS, database_answers, first_scheduler, row, section
from .settings import SMOKE

KEY = f"{SETTINGS}/ssh/id_ed25519"


def reached(cluster: Cluster) -> list[Host]:
    """The servers that DAGs work on."""
    return cluster.group(TARGET)


WORKER_KEY = Fact(
    "the worker's SSH key",
    on=WORKER,
    command=lambda cluster, host: f"{AS_USER} cat {KEY}.pub",
    parse=str.strip,
    absent="fab airflow.keys creates it",
)


@section.task(on=WORKER)
def keys(host: Host, cluster: Cluster) -> Steps:
    """Create an SSH key for Airflow on each worker, for the servers that DAGs reach."""
    yield steps.directory(f"{SETTINGS}/ssh", "0700", USER, USER)
    yield steps.ssh_key(f"{USER} on {host.name} has a key", KEY, USER, f"{USER}@{host.name}")


@section.task(on=WORKER, by=reached, needs=[WORKER_KEY])
def targets(host: Host, cluster: Cluster, facts: Facts, hosts: Sequence[Host]) -> Steps:
    """Authorise the workers' keys on the servers that DAGs reach, without sudo.

    Each key is accepted from its worker's address only, without forwarding and the like. Keys of
    former workers are taken back.
    """
    yield from account(cluster)
    workers = cluster.group(WORKER)
    asked = [one for one in workers if one in hosts or one.name in facts.known(WORKER_KEY)]
    yield from steps.authorised_keys(
        USER,
        HOME,
        "Airflow HA cluster: workers",
        [worker_key(one, facts) for one in asked],
        former=steps.unmarked("restrict", [f"{USER}@[^ ]+"]),
        kept=[f"{USER}@{one.name}" for one in workers if one not in asked],
    )


def worker_key(worker: Host, facts: Facts) -> steps.Authorised:
    """A worker's key as the servers that DAGs reach accept it."""
    key = public_key(facts.of(WORKER_KEY, worker), f"{KEY}.pub on {worker.name}")
    return steps.Authorised(key, f"{USER}@{worker.name}", f'restrict,from="{worker.address}"')


@section.task(on=first_scheduler, needs=[HOST_KEYS])
def connections(host: Host, cluster: Cluster, facts: Facts) -> Steps:
    """Create Airflow's connections to the servers that DAGs reach, host keys pinned."""
    yield database_answers(cluster)
    yield steps.directory(f"{SETTINGS}/connections", "0750", group=USER)
    named = [(target.name, target) for target in reached(cluster)]
    for name, target in [*named, *((SMOKE, target) for _, target in named[:1])]:
        wanted = connection(target, cluster, facts)
        digest = hashlib.sha256(json.dumps(wanted).encode()).hexdigest()[:16]
        wanted["description"] = f"made by fab airflow.connections, {digest}"
        file = f"{SETTINGS}/connections/{name}.json"
        yield steps.file(file, json.dumps({name: wanted}, indent=2), "0640", group=USER)
        yield steps.command(
            f"connection {name}: {USER}@{target.address} by SSH",
            f"{CLI} connections import --overwrite {file}",
            unless=row(
                f"select 1 from connection where conn_id = '{name}' "
                f"and description like '%{digest}'"
            ),
        )


def connection(target: Host, cluster: Cluster, facts: Facts) -> dict[str, object]:
    """A connection in the format of `airflow connections import`."""
    shown = host_keys(target, facts)
    host_key = next((key for key in shown if key.startswith("ssh-ed25519 ")), shown[0])
    return {
        "conn_type": "ssh",
        "host": target.address,
        "login": USER,
        "port": cluster.ssh_port(target),
        "extra": json.dumps(
            {"key_file": KEY, "host_key": host_key, "no_host_key_check": False, "conn_timeout": 10}
        ),
    }
