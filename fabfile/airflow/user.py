"""The user that runs Airflow and owns its files on every server."""

from __future__ import annotations

from runbook.declare.step import Steps
from runbook.inventory.cluster import Cluster, Host

from ..shared.airflow import account
from .common import section


@section.task
def user(host: Host, cluster: Cluster) -> Steps:
    """Create the user airflow with the same ids everywhere, as NFS knows only numbers.

    Refused if another user has its number, or if airflow already has another number.
    """
    yield from account(cluster)
