"""Changes to all Airflow servers at once: new settings, and the start."""

from __future__ import annotations

from collections.abc import Sequence

from runbook.declare.facts import Facts
from runbook.declare.step import Steps
from runbook.declare.work import Procedure, Stage, stage
from runbook.errors import RunbookError, UsageError
from runbook.inventory.cluster import Cluster, Host

from ..postgres.common import AIRFLOW as DATABASE_PASSWORD
from ..rabbitmq.common import AIRFLOW as BROKER_PASSWORD
from ..shared.airflow import hosts
from . import services
from .common import ADMIN, FERNET, FLOWER, SECRET_KEY
from .configure import settings
from .installation import INSTALLATIONS, known, of
from .transport import ways

PASSWORDS = (FERNET, SECRET_KEY, ADMIN, FLOWER, DATABASE_PASSWORD, BROKER_PASSWORD)
"""Passwords that must exist before servers get new settings: new ones would lock Airflow out."""


def refuse_a_part(task: str, chosen: Sequence[Host], cluster: Cluster, facts: Facts) -> None:
    """Refuse if a server does not answer or -H leaves it out, as all servers must take part."""
    missing = [host.name for host in hosts(cluster) if host not in chosen]
    if missing:
        raise UsageError(
            f"{task} must run on all Airflow servers, but -H leaves out {', '.join(missing)}."
        )
    silent = [host.name for host in hosts(cluster) if host.name not in facts.known(INSTALLATIONS)]
    if silent:
        raise RunbookError(
            f"{', '.join(silent)} does not answer and would miss the change. Bring it back first, "
            f"or take it out of {cluster.file.name}. Nothing was changed."
        )
    unknown = [secret.name for secret in PASSWORDS if not cluster.vault.knows(secret)]
    if unknown:
        raise RunbookError(
            f"{cluster.vault.file} does not have {', '.join(unknown)}. Copy that file here from "
            "the machine that set up the cluster. Nothing was changed."
        )


def set_up(title: str, cluster: Cluster, facts: Facts) -> Stage:
    """Write the settings and units to every server, as hosts.yaml and secrets.yaml define them."""

    def anew(host: Host) -> Steps:
        yield from using(of(host, cluster, facts), host, cluster, facts)

    return stage(title, hosts(cluster), anew)


def using(name: str, host: Host, cluster: Cluster, facts: Facts) -> Steps:
    """The settings and units of an installation."""
    former = known(host, facts).in_use
    yield from settings(cluster, ways(host, cluster, facts), name, former)
    if services.components(host):
        yield from services.installed(host, cluster, name)


def start_in_batches(chosen: Sequence[Host], cluster: Cluster) -> Procedure:
    """Start Airflow's services on these servers, never on two of a role at once."""
    for batch in cluster.apart(chosen):
        yield starting(batch, cluster)


def starting(batch: Sequence[Host], cluster: Cluster) -> Stage:
    """Start Airflow's services on some servers, and wait until they work."""
    names = ", ".join(host.name for host in batch)
    return stage(f"start on {names}", batch, lambda host: services.started(host, cluster))
