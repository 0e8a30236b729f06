"""The user that Airflow runs as, and that its files belong to on every server."""

from __future__ import annotations

from runbook.declare.step import Steps
from runbook.inventory.cluster import Cluster, Host

from ..shared.airflow import account
from .common import section


@section.task
def user(host: Host, cluster: Cluster) -> Steps:
    """The user airflow with the same ids everywhere: NFS knows owners by number only.

    Another user with its number, or another number of its own, is told and left as it is.
    """
    yield from account(cluster)
