"""Airflow's user, ids and paths, which Python, the share and the services use."""

from __future__ import annotations

from typing import Annotated

import msgspec

from runbook.declare import steps
from runbook.declare.step import Steps
from runbook.inventory.cluster import Cluster, Host
from runbook.inventory.schema import Settings

from .roles import COMPONENTS, NFS

USER = "airflow"
AS_USER = f"runuser -u {USER} --"
"""How root works in folders of that user: with only the rights that it has there."""
HOME = "/home/airflow"
AIRFLOW_HOME = "/app1/airflow"
DAGS = "/app1/airflow/dags"
PLUGINS = "/app1/airflow/plugins"
LOGS = "/app1/airflow_logs"

QUEUE = "default"
"""The queue that workers take tasks from."""


class Ids(Settings, frozen=True):
    """The numbers of the user and group airflow."""

    uid: Annotated[int, msgspec.Meta(ge=100, le=60000)] = 50000
    """The uid of the user airflow, the same on all servers, because NFS knows owners only by
    number. The default is that of Airflow's container image.
    """
    gid: Annotated[int, msgspec.Meta(ge=100, le=60000)] = 50000
    """The gid of the group airflow, likewise."""


def hosts(cluster: Cluster) -> list[Host]:
    """The servers that run a part of Airflow, and those that keep its files."""
    wanted = {*COMPONENTS, NFS}
    return [host for host in cluster.hosts.values() if wanted & set(host.roles)]


def account(cluster: Cluster) -> Steps:
    """The user airflow, without password and without sudo."""
    yield from steps.system_user(USER, cluster[Ids].uid, cluster[Ids].gid, HOME)
    yield steps.password_locked(USER)
