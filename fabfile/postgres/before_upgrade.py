"""What has to hold before any upgrade of the database begins."""

from __future__ import annotations

from runbook.declare.facts import Facts
from runbook.declare.step import Step
from runbook.declare.steps import precondition
from runbook.errors import RunbookError
from runbook.inventory.cluster import Cluster

from .common import members
from .etcd import ETCD
from .members import MEMBER, leader


def refuse_unless_whole(cluster: Cluster, facts: Facts, paused: bool = False) -> None:
    """Refuse unless every member runs, the replicas stream, and etcd has all its members.

    `paused`: Patroni may be paused, because an upgrade that was interrupted has paused it.
    """
    first = leader(cluster, facts)
    known, states = facts.known(MEMBER), facts.known(ETCD)
    wrong = [
        host.name
        for host in members(cluster)
        if host.name not in known
        or not known[host.name].healthy
        or host.name not in states
        or not states[host.name].quorum
        or (host != first and not known[first.name].streams(host.name))
    ]
    if wrong:
        raise RunbookError(
            f"{', '.join(wrong)} is not healthy; an update now could stop the database. "
            "See fab postgres.check."
        )
    if known[first.name].paused and not paused:
        raise RunbookError("Patroni is paused; end that first: see fab postgres.check.")


def no_backup_runs() -> Step:
    """A backup would fail halfway, because both ends need the same version of pgBackRest."""
    return precondition(
        "no backup is running",
        "! systemctl is-active -q 'pgbackrest-backup@*'",
        "echo 'A backup is running; wait for its end: systemctl list-units pgbackrest-backup@*'",
    )
