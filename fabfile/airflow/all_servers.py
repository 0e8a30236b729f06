"""What concerns all servers of Airflow at once: new settings for all, and the start of all."""

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
from .install import VENV

PASSWORDS = (FERNET, SECRET_KEY, ADMIN, FLOWER, DATABASE_PASSWORD, BROKER_PASSWORD)
"""Without these no server may get new settings: generated anew, they would lock Airflow out."""


def refuse_a_part(task: str, chosen: Sequence[Host], cluster: Cluster, facts: Facts) -> None:
    """All servers take part, or none: those that do not answer, and those that -H leaves out."""
    missing = [host.name for host in hosts(cluster) if host not in chosen]
    if missing:
        raise UsageError(
            f"{task} works on all servers of Airflow; -H leaves out {', '.join(missing)}."
        )
    silent = [host.name for host in hosts(cluster) if host.name not in facts.known(VENV)]
    if silent:
        raise RunbookError(
            f"{', '.join(silent)} does not answer, and would be left behind. Fix that first, or "
            f"take it out of {cluster.file.name}. Nothing was changed."
        )
    unknown = [secret.name for secret in PASSWORDS if not cluster.vault.knows(secret)]
    if unknown:
        raise RunbookError(
            f"{cluster.vault.file} does not have {', '.join(unknown)}: bring that file here from "
            "where the cluster was set up. Nothing was changed."
        )


def set_up(title: str, cluster: Cluster) -> Stage:
    """Every server gets the settings and units that hosts.yaml and secrets.yaml ask for."""

    def anew(host: Host) -> Steps:
        yield from settings(host, cluster)
        if services.components(host):
            yield from services.installed(host, cluster)

    return stage(title, hosts(cluster), anew)


def start_in_batches(chosen: Sequence[Host], cluster: Cluster) -> Procedure:
    """These servers start what they run of Airflow, never two of a role at once."""
    for batch in cluster.apart(chosen):
        yield starting(batch, cluster)


def starting(batch: Sequence[Host], cluster: Cluster) -> Stage:
    """Some servers start what they run of Airflow, and are at work."""
    names = ", ".join(host.name for host in batch)
    return stage(f"start on {names}", batch, lambda host: services.started(host, cluster))
