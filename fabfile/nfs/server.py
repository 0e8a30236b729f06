"""The servers: the trees, and who may mount them."""

from __future__ import annotations

from runbook.declare import steps
from runbook.declare.step import Step, Steps, quote
from runbook.inventory.cluster import Cluster, Host

from ..shared.airflow import AIRFLOW_HOME, Ids, account
from ..shared.firewall import let_in
from .common import (
    AS_USER,
    RESCUED,
    SENTINEL,
    STATE,
    USER,
    Tree,
    clients,
    may_write,
    section,
    trees,
)

SERVER = "nfs-server.service"

NOT_FOR_V4 = ("rpcbind.service", "rpcbind.socket", "rpc-statd.service")
"""What only NFSv3 needs (RHEL 8, "Configuring an NFSv4-only server")."""


@section.task
def server(host: Host, cluster: Cluster) -> Steps:
    """Export the DAGs' directory by NFSv4 to the servers that run a part of Airflow.

    Both servers use the same `fsid`; otherwise clients would get stale handles after a failover.
    On a client, root has the rights of airflow; every other account keeps its own.
    """
    yield from account(cluster)
    yield steps.packages("nfs-utils", "rsync")
    yield steps.directory(AIRFLOW_HOME, "0755", USER, USER)
    yield steps.directory(STATE, "0755", USER, USER)
    if cluster.selinux != "disabled":
        yield from labelled()
    yield steps.directory(RESCUED, "0750", USER, USER)
    for tree in trees(cluster):
        yield from its_own(tree, cluster)
    yield steps.block("/etc/nfs.conf", "Airflow HA", NFS_CONF).then(steps.restarted(SERVER))
    yield steps.drop_in("nfs-mountd.service", "nfs/v4only.conf")
    yield steps.masked(*NOT_FOR_V4)
    yield steps.file("/etc/exports.d/airflow.exports", exports(cluster)).then(
        steps.reloaded(SERVER)
    )
    yield from let_in(host, cluster)
    yield steps.service(SERVER)


def labelled() -> Steps:
    """SELinux allows keepalived to read its priority file, and mountd to read any tree."""
    yield steps.selinux_context(STATE, "keepalived_var_run_t", USER)
    yield steps.selinux_boolean("nfs_export_all_ro")


NFS_CONF = ("[nfsd]", "vers3=n", "grace-time=10", "lease-time=10")
"""After a restart clients wait for the grace period; the default is 90 seconds (nfsd(8))."""


def its_own(tree: Tree, cluster: Cluster) -> Steps:
    """The tree with a sentinel, which is created once: without it nothing is copied or served.

    The empty mount point of a disk that is not mounted must not be taken for the tree.
    """
    sentinel = f"{tree.path}/{SENTINEL}"
    made = f"{STATE}/made-{tree.unit}"
    yield steps.precondition(
        f"{tree.path} is the tree that was made here",
        f"[[ ! -e {quote(made)} || -s {sentinel} ]]",
        f"echo '{tree.path} has no {SENTINEL}: is its disk mounted? Nothing was changed.'\n"
        f"echo 'To start again with an empty tree: rm {quote(made)}'",
        early=True,
    )
    yield steps.directory(tree.path, "0755", USER, USER)
    yield in_place(tree, cluster, sentinel, made)


def in_place(tree: Tree, cluster: Cluster, sentinel: str, made: str) -> Step:
    """The sentinel, and the note that it was created."""
    return steps.command(
        f"{tree.path} has its sentinel",
        f"{AS_USER} tee {sentinel} <<<'shared by {cluster.name}' >/dev/null\n"
        f"{AS_USER} touch {quote(made)}",
        unless=f"[[ -s {sentinel} && -e {quote(made)} ]]",
    )


def exports(cluster: Cluster) -> str:
    """Who may mount what; the same text on both servers."""
    squash = f"root_squash,anonuid={cluster[Ids].uid},anongid={cluster[Ids].gid}"
    return "\n".join(
        f"{tree.path} {' '.join(callers)}"
        for tree in trees(cluster)
        if (
            callers := [
                f"{host.address}({'rw' if may_write(host, tree, cluster) else 'ro'},sync,"
                f"no_subtree_check,{squash},fsid={tree.fsid})"
                for host in clients(cluster)
            ]
        )
    )
