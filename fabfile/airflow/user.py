"""The user that Airflow runs as, and that its files belong to on every server."""

from __future__ import annotations

from ..engine import steps
from ..engine.cluster import Cluster, Host
from ..engine.step import Steps
from .chapter import HOME, USER, section


@section.task
def user(host: Host, cluster: Cluster) -> Steps:
    """The user airflow with the same ids everywhere: NFS knows owners by number only.

    Another user with its number, or another number of its own, is told and left as it is.
    """
    yield from account(cluster)


def account(cluster: Cluster) -> Steps:
    """The user airflow, without password and without sudo."""
    yield from steps.system_user(USER, cluster.airflow.uid, cluster.airflow.gid, HOME)
    yield steps.password_locked(USER)
