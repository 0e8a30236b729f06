"""How PostgreSQL reaches the WAL archive, and what it is told when the archive does not answer."""

from __future__ import annotations

from runbook.declare import steps
from runbook.declare.step import Steps, quote
from runbook.inventory.cluster import Cluster, Host

from .common import SCRIPTS
from .settings import Postgres

SCRIPT = f"{SCRIPTS}/pgbackrest-wal"
"""Its name contains pgbackrest, which pgBackRest's own check wants to see in archive_command."""

DROPPED = "/var/lib/pgsql/wal-dropped"
"""A file that the program writes when it gives up WAL that the repository does not take."""


def script(host: Host, cluster: Cluster) -> Steps:
    """The program behind archive_command and restore_command, and how much WAL may wait for it."""
    yield steps.directory(SCRIPTS)
    yield steps.template(SCRIPT, "postgres/pgbackrest-wal", {}, mode="0755")
    yield steps.file(f"{SCRIPTS}/wal-queue", str(queue(host, cluster)))


def queue(host: Host, cluster: Cluster) -> int:
    """How many WAL files may wait for the repository, before the oldest is given up."""
    gigabytes = cluster[Postgres].backup.queue
    megabytes = gigabytes * 1000 if gigabytes else host.disk_mb // 2
    return max(megabytes // 16, 64)


def archive_command(cluster: Cluster) -> str:
    """Archive a WAL file; PostgreSQL keeps it and tries again unless this exits with 0."""
    return _command(cluster, "push", "%p") if cluster[Postgres].backup.host else "/bin/true"


def restore_command(cluster: Cluster) -> str:
    """Fetch a WAL file for a member of the cluster; empty without an archive.

    An archive that does not answer counts as one without the file: a member has all acknowledged
    rows from streaming (docs/postgres.md, "When the backup server is away").
    """
    return _command(cluster, "get", '%f "%p"') if cluster[Postgres].backup.host else ""


def recovery_command(cluster: Cluster) -> str:
    """Fetch a WAL file for a restore, which must not end because the archive does not answer."""
    return _command(cluster, "recover", '%f "%p"')


def _command(cluster: Cluster, verb: str, files: str) -> str:
    """A missing script is an ordinary failure: exit code 127 would stop a standby."""
    about = f"{quote(cluster.name)} {quote(str(cluster[Postgres].backup.host))}"
    return f"test -x {SCRIPT} && {SCRIPT} {verb} {about} {files}"
