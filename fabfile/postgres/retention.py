"""Dumps that airflow.upgrade left on the database servers go after postgres.keep_days.dumps."""

from __future__ import annotations

from runbook.declare import steps
from runbook.declare.facts import Fact, Facts
from runbook.declare.probes import Findings
from runbook.declare.step import Steps
from runbook.inventory.cluster import Cluster, Host

from ..shared import timers
from ..shared.roles import POSTGRES
from ..shared.timers import Timer
from .common import DUMPS, SCRIPTS, section
from .settings import Postgres

OLD_DUMPS = Timer("postgres-old-dumps", "Delete old dumps of the database", "*-*-* 04:30")

PILES_UP = section.cause("PG_DUMPS_STAY", "dumps of former upgrades take up the database's disk")


@section.task(on=POSTGRES)
def retention(host: Host, cluster: Cluster) -> Steps:
    """Delete old dumps of airflow.upgrade every night, after postgres.keep_days.dumps.

    Without that setting, nothing is deleted; the newest dump on a server always stays.
    """
    days = cluster[Postgres].keep_days.dumps
    if not days:
        yield from timers.off(OLD_DUMPS)
        return
    program = f"{SCRIPTS}/old-dumps"
    yield steps.directory(SCRIPTS)
    yield steps.template(program, "postgres/old-dumps", {}, mode="0755")
    context = {"program": program, "folder": DUMPS, "days": days}
    yield from timers.scheduled(OLD_DUMPS, "postgres/old-dumps.service.j2", context)


def due(cluster: Cluster) -> list[Timer]:
    """The timers that each server should have."""
    return [OLD_DUMPS] * bool(cluster[Postgres].keep_days.dumps)


RUNS = Fact(
    "when old dumps were deleted",
    on=POSTGRES,
    command=lambda cluster, host: timers.question(due(cluster)),
    parse=timers.answers,
    absent="nothing is deleted there",
)


def cleaned(cluster: Cluster, facts: Facts) -> Findings:
    """A finding: old dumps are deleted, if they are to be."""
    everywhere = {host.name: due(cluster) for host in cluster.group(POSTGRES)}
    title, known = "old dumps are deleted on schedule", facts.known(RUNS)
    yield from timers.done(title, everywhere, known, "fab postgres.retention", PILES_UP)
