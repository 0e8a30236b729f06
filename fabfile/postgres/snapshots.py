"""A daily copy of what etcd holds, kept for a week on each of its members."""

from __future__ import annotations

from runbook.declare import steps
from runbook.declare.step import Steps
from runbook.inventory.cluster import Cluster, Host

from .common import SCRIPTS, section

FOLDER = "/var/lib/etcd/snapshots"


@section.task
def etcd_snapshots(host: Host, cluster: Cluster) -> Steps:
    """Keep daily copies of what etcd holds, for a week.

    That is the settings of Patroni, and the identifier of the database. `fab
    postgres.etcd-recover` does without them: hosts.yaml has the settings, and the database its
    identifier.
    """
    yield steps.directory(SCRIPTS)
    yield steps.template(f"{SCRIPTS}/etcd-snapshot", "postgres/etcd-snapshot", {}, mode="0755")
    yield steps.unit("etcd-snapshot.service", "postgres/etcd-snapshot.service.j2", {})
    again = steps.restarted("etcd-snapshot.timer")
    yield steps.unit("etcd-snapshot.timer", "postgres/etcd-snapshot.timer", {}).then(again)
    yield steps.service("etcd-snapshot.timer").clearing(again)
    yield steps.command(
        "there is a first copy of what etcd holds",
        "systemctl start etcd-snapshot",
        unless=f"[[ $(runuser -u etcd -- find {FOLDER} -name '*.db' -print -quit 2>/dev/null) ]]",
    )
