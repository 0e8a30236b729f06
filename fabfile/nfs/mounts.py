"""The clients: they mount the share at Airflow's paths, whichever server is active."""

from __future__ import annotations

from runbook.declare import steps
from runbook.declare.step import Step, Steps
from runbook.inventory.cluster import Cluster, Host

from ..shared.airflow import AIRFLOW_HOME, account
from .common import AS_USER, SENTINEL, Tree, clients, may_write, section, trees
from .common import vip as the_vip


@section.task(on=clients)
def mounts(host: Host, cluster: Cluster) -> Steps:
    """Mount the share through the VIP, on demand: a boot never waits for it.

    The mount is hard: while no server answers, readers wait, and continue when one does.
    """
    yield from account(cluster)
    yield steps.packages("nfs-utils")
    yield steps.directory(AIRFLOW_HOME, "0755", "airflow", "airflow")
    for tree in trees(cluster):
        writes = may_write(host, tree, cluster)
        context = {"tree": tree, "vip": the_vip(cluster), "writes": writes}
        yield nothing_hidden(tree)
        yield steps.unit(f"{tree.unit}.mount", "nfs/share.mount.j2", context).then(
            steps.restarted_if_running(f"{tree.unit}.mount")
        )
        yield steps.unit(f"{tree.unit}.automount", "nfs/share.automount.j2", context)
        yield steps.service(f"{tree.unit}.automount")
        yield reads(tree)


def nothing_hidden(tree: Tree) -> Step:
    """Refuse if the directory has files, which the mount would hide."""
    return steps.precondition(
        f"{tree.path} hides no files",
        f"grep -q ' {tree.path} ' /proc/self/mounts || [[ ! $({AS_USER} ls -A {tree.path}) ]]",
        f"""files=$({AS_USER} ls -A {tree.path} | paste -sd ' ')
echo "{tree.path} holds files of this server's own: $files."
echo "The share would hide them. Move them: mv {tree.path} {tree.path}.local\"""",
    )


def answered(command: str) -> str:
    """A test: the command succeeds within 5 seconds. It prints the first line; 137: no answer.

    A process that reads a share without a server waits, and cannot always be killed. It is left.
    """
    return f"""(read -r -t 5 word said < <(
  if text=$({command} 2>&1 </dev/null); then echo "yes $text"; else echo "no $text"; fi
) || exit 137
echo "$said"
[[ $word == yes ]])"""


def seen(tree: Tree) -> str:
    """A test: the sentinel can be read.

    What is open when the other server takes over fails once, and not again.
    """
    read = f"{AS_USER} cat {tree.path}/{SENTINEL}"
    return answered(f"{read} 2>/dev/null || {read}")


def reads(tree: Tree) -> Step:
    """Wait until the share answers here."""
    return steps.wait_for(
        f"{tree.path} shows the share",
        answered(f"{AS_USER} cat {tree.path}/{SENTINEL}"),
        timeout=60,
    )
