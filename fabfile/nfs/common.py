"""What the modules of this section share: the trees, and who serves and mounts them.

One server is active: it holds the VIP, serves, and copies what changes to the standby. Each time a
server becomes active a new *generation* begins. Its number is on both disks and decides: the server
with the higher one keeps the VIP, accepts nothing from the other, and brings it up to date.
A server is *fit* to lead if it led last, or was brought up to date; after a restart it is not.
"""

from __future__ import annotations

from dataclasses import dataclass

from runbook.declare.section import Section
from runbook.errors import RunbookError
from runbook.inventory.cluster import Cluster, Host, Vip

from ..shared import airflow, keepalived
from ..shared.keepalived import Service, places, vips
from ..shared.roles import NFS
from .settings import Nfs

USER = airflow.USER
RESCUED = "/app1/airflow/rescued"
SNAPSHOTS = "/var/lib/nfs-snapshots"
"""Snapshots of the DAGs; not below STATE, which is airflow's."""
SENTINEL = ".nfs-ha"
SETTINGS = "/etc/nfs-ha"
STATE = "/var/lib/nfs-ha"
RUN = "/run/nfs-ha"
SCRIPTS = "/usr/libexec/nfs-ha"
SYNC = "nfs-sync.service"
RETURN = "nfs-return.service"
AS_USER = airflow.AS_USER
NUMBERS = f"{AS_USER} {SCRIPTS}/state"
NUMBER = "^(0|[1-9][0-9]{0,8})$"
"""What root's shell takes for a number: a process of that user may answer anything."""
PEER = f"{AS_USER} ssh -F {SETTINGS}/ssh_config peer"
"""How root on one server runs commands on the other."""


@dataclass(frozen=True)
class Tree:
    """A directory that is shared. `fsid` is what clients know it by, the same on all servers."""

    path: str
    fsid: int

    @property
    def unit(self) -> str:
        """systemd's name for its mount, without the ending (systemd-escape --path)."""
        return self.path.strip("/").replace("-", "\\x2d").replace("/", "-")


def servers(cluster: Cluster) -> list[Host]:
    """The servers that keep the files."""
    return cluster.group(NFS)


def clients(cluster: Cluster) -> list[Host]:
    """The servers that mount them: all that run a part of Airflow and do not keep them."""
    return [host for host in airflow.hosts(cluster) if host not in servers(cluster)]


def witnesses(cluster: Cluster) -> list[Host]:
    """The clients that a server tries to reach before it leads."""
    return clients(cluster)[:5]


def everybody(cluster: Cluster) -> list[Host]:
    """Servers and clients."""
    return [*servers(cluster), *clients(cluster)]


section = Section(
    "nfs",
    on=NFS,
    whole=everybody,
    runbook="Storage HA",
    about="The DAGs on two servers: one serves, the other follows and takes over.",
    roles=(NFS,),
    settings=Nfs,
    after=("python-build.start",),
    restarts=("nfs-server.service",),
)

SERVICE = Service(
    "nfs",
    section.secret(
        "vrrp_nfs_vip",
        "the password of VRRP for the NFS VIP",
        length=8,
        rule=keepalived.PASSWORD,
    ),
    check="nfs-healthy",
    interval=2,
    preempt=False,
    notify="nfs-notify",
    generation=f"{STATE}/priority",
)

section.may_find(*keepalived.CAUSES)

NETWORK = places("nfs")


def trees(cluster: Cluster) -> list[Tree]:
    """The directories that are shared."""
    logs = [Tree(airflow.LOGS, 2)] if cluster[Nfs].logs else []
    return [Tree(airflow.DAGS, 1), *logs]


def alone(cluster: Cluster) -> bool:
    """Whether there is only one server, so that no other follows it or takes over."""
    return len(servers(cluster)) == 1


def peer(host: Host, cluster: Cluster) -> Host:
    """The other server."""
    others = [server for server in servers(cluster) if server != host]
    if len(others) != 1:
        names = ", ".join(server.name for server in servers(cluster))
        raise RunbookError(
            f"The role nfs has the servers {names}; it needs exactly two, an active one and a "
            f"standby. Change {cluster.file.name}."
        )
    return others[0]


def vip(cluster: Cluster) -> Vip:
    """The address by which the share is known."""
    found = vips(cluster, "nfs")
    if len(found) != 1:
        raise RunbookError(
            f"{cluster.file.name} has {len(found)} VIPs of role nfs; the share needs exactly one."
        )
    return found[0]


def may_write(host: Host, tree: Tree, cluster: Cluster) -> bool:
    """Whether a host may write: all clients may write logs, and nfs.writers may write DAGs."""
    return tree.path == airflow.LOGS or host.name in cluster[Nfs].writers
