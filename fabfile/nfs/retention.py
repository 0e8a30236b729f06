"""Snapshots of the DAGs every hour, out of reach of a mistaken rm -rf, and an end of old files.

Copying follows within a second, deletions as well, so the standby is no protection against them.
Both servers take snapshots, each of its own files: whichever is active has some.
"""

from __future__ import annotations

from typing import Annotated

from runbook.declare import steps
from runbook.declare.answers import Count, one
from runbook.declare.facts import Fact, Facts
from runbook.declare.probes import Findings
from runbook.declare.step import Steps
from runbook.inventory.cluster import Cluster, Host
from runbook.inventory.entry import named

from ..shared import timers
from ..shared.airflow import DAGS
from ..shared.roles import NFS
from ..shared.timers import HOUR, Timer
from .common import RESCUED, SNAPSHOTS, section, servers
from .settings import Nfs

SNAPSHOT = Timer("nfs-snapshot", "Take a snapshot of the DAGs", "*-*-* *:05", every=HOUR)
OLD_RESCUED = Timer("nfs-old-rescued", "Delete old rescued files", "*-*-* 04:45")

PROGRAMS = "/usr/libexec/airflow-runbook"
"""Not the folder of nfs.sync: of its steps, a plan for new servers knows nothing yet."""
TAKE = f"{PROGRAMS}/nfs-snapshot"

NO_SNAPSHOT = section.cause(
    "NFS_NO_SNAPSHOT", "what somebody removes from the share by mistake cannot be brought back"
)

Stamp = Annotated[str, named("snapshot: `20261130-140500`", "[0-9]{8}-[0-9]{6}")]


@section.task
def retention(host: Host, cluster: Cluster) -> Steps:
    """Take a snapshot of the DAGs every hour, and delete old rescued files.

    nfs.keep_days says after how many days snapshots and rescued files are deleted. Without a number
    for rescued files, these are never deleted.
    """
    kept = cluster[Nfs].keep_days
    yield steps.directory(PROGRAMS)
    if kept.snapshots:
        yield steps.directory(SNAPSHOTS, "0700")
        yield steps.template(TAKE, "nfs/snapshot", {}, mode="0755")
        about = {"program": TAKE, "folder": SNAPSHOTS, "days": kept.snapshots, "tree": DAGS}
        yield from timers.scheduled(SNAPSHOT, "nfs/nfs-snapshot.service.j2", about)
        yield steps.command(
            "there is a first snapshot",
            f"systemctl start {SNAPSHOT.name}.service",
            unless=f"ls {SNAPSHOTS}/*.tar.gz",
        )
    else:
        yield from timers.off(SNAPSHOT)
    if kept.rescued:
        program = f"{PROGRAMS}/nfs-old-rescued"
        yield steps.template(program, "nfs/old-rescued", {}, mode="0755")
        about = {"program": program, "folder": RESCUED, "days": kept.rescued}
        yield from timers.scheduled(OLD_RESCUED, "nfs/old-rescued.service.j2", about)
    else:
        yield from timers.off(OLD_RESCUED)


def due(cluster: Cluster) -> list[Timer]:
    """The timers that each server should have."""
    kept = cluster[Nfs].keep_days
    return [SNAPSHOT] * bool(kept.snapshots) + [OLD_RESCUED] * bool(kept.rescued)


RUNS = Fact(
    "when snapshots were taken",
    on=NFS,
    command=lambda cluster, host: timers.question(due(cluster)),
    parse=timers.answers,
    absent="it does not answer",
)


def cleaned(cluster: Cluster, facts: Facts) -> Findings:
    """A finding: snapshots are taken, and old files deleted, when they are to be."""
    wanted = {host.name: due(cluster) for host in servers(cluster)}
    title, known = "snapshots of the DAGs are taken on schedule", facts.known(RUNS)
    yield from timers.done(title, wanted, known, "fab nfs.retention", NO_SNAPSHOT)


def parse(text: str) -> dict[str, int]:
    """Parse the answer of KEPT: the size of each snapshot by its name, the oldest first."""
    pairs = (line.split() for line in text.splitlines())
    return {one(name, Stamp): one(size, Count) for name, size in pairs}


KEPT = Fact(
    "the snapshots of the DAGs",
    on=NFS,
    command=lambda cluster, host: f"[[ ! -x {TAKE} ]] || {TAKE} list {SNAPSHOTS}",
    parse=parse,
    absent="fab nfs.retention takes the first one",
)
