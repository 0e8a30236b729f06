"""A test restore: the newest backup is restored beside the database, and read completely."""

from __future__ import annotations

from collections.abc import Sequence

from runbook.declare.facts import Facts
from runbook.declare.steps import action
from runbook.declare.templates import script
from runbook.declare.work import Procedure, stage
from runbook.errors import RunbookError
from runbook.inventory.cluster import Cluster, Host, host_named

from .archive import recovery_command
from .common import MAJOR, binaries, members, refuse_another_major, section
from .figures import VERIFIED
from .members import MEMBER, replicas
from .repository import BACKUPS, the_repository
from .restored import room

UNIT = "postgresql-verify.service"
FOLDER = "/var/lib/pgsql/verify"


@section.procedure(
    needs=[MEMBER, BACKUPS, MAJOR],
    help={"host": "the database server that has room for it (default: a replica)"},
)
def backup_verify(
    hosts: Sequence[Host], cluster: Cluster, facts: Facts, *, host: str = ""
) -> Procedure:
    """Restore the newest backup aside on a server, and read all of it.

    The database goes on, and the copy is removed afterwards. pg_amcheck compares all tables and
    indexes of Airflow's database, and all rows are counted. fab postgres.check and cluster.status
    say when this last succeeded.
    """
    refuse_another_major(cluster, facts)
    if facts.of(BACKUPS, the_repository(cluster)).age is None:
        raise RunbookError("There is no backup to restore from.")
    others = replicas(cluster, facts) or members(cluster)
    chosen = host_named(host, members(cluster), "database server") if host else others[-1]
    test = script(
        "postgres/backup-verify.sh",
        stanza=cluster.name,
        programs=binaries(cluster),
        folder=FOLDER,
        unit=UNIT,
        result=VERIFIED,
        fetch=recovery_command(cluster),
    )
    yield stage(
        f"restore the newest backup aside on {chosen.name}",
        chosen,
        room(cluster, facts),
        action("the newest backup can be restored and read", test, 24 * 3600).with_output(),
    )
