"""Point-in-time restore. Replaced data is moved aside on each server, never deleted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from time import strftime

from runbook.declare.facts import Facts
from runbook.declare.steps import moved_aside as moved_away
from runbook.declare.steps import service
from runbook.declare.work import Procedure, Question, asked_again, stage
from runbook.errors import MissingFact, RunbookError, UsageError
from runbook.inventory.cluster import Cluster, Host

from ..shared.versions import Versions
from . import pooler
from .backup import CERTIFICATE, TRUSTED, backup_keys, backup_network, participants
from .common import (
    CONFIGURED,
    HAS_DATABASE,
    MAJOR,
    ROLES,
    data,
    members,
    refuse_another_major,
    section,
)
from .database import password
from .etcd import ETCD, etcd
from .hold import HELD, held, released
from .install import install
from .members import MEMBER, in_its_place, leader
from .patroni import configured, running
from .pools import pooled
from .recover import forgotten, knows_the_cluster, leads
from .repository import BACKUPS, the_repository
from .restored import archived, full_backup, moved_aside, restored, room
from .transport import ALL_HELD, TRANSPORT, certificates, keys
from .versions import INSTALLED

MOMENT = re.compile(r"\d{4}-\d{2}-\d{2} \d{2}:\d{2}(:\d{2}(\.\d+)?)?[+-]\d{2}(:?\d{2})?")


@section.procedure(
    needs=[
        *(MEMBER, ETCD, BACKUPS, MAJOR, CONFIGURED, HAS_DATABASE, HELD),
        *(CERTIFICATE, TRUSTED, INSTALLED, TRANSPORT),
        *ALL_HELD,
    ],
    help={
        "to": "the point in time, such as '2026-11-22 09:30:00+00', or latest",
        "i_know": "accept the loss of what was written after that time",
        "onto_new_servers": "no server has the database any more; only the repository is left",
    },
)
def restore(
    hosts: Sequence[Host],
    cluster: Cluster,
    facts: Facts,
    *,
    to: str,
    i_know: bool = False,
    onto_new_servers: bool = False,
) -> Procedure:
    """Restore the database to a point in time: 'YYYY-MM-DD HH:MM:SS+00'. Asks first.

    What was written after that time is lost, so it needs --i-know. Stop Airflow first, because it
    writes. The present data directories stay on the servers under another name. Until its turn
    comes, no server starts its old data, not even after a reboot.

    With --onto-new-servers, all database servers are new, and everything that they need is set up
    before: packages, keys for the repository, etcd.
    """
    refuse_restore(cluster, facts, to, i_know)
    if onto_new_servers:
        refuse_servers_with_data(cluster, facts)
        yield from onto_new(cluster, facts, to)
        return
    first = restored_on(cluster, facts)
    others = [host for host in members(cluster) if host != first]
    yield stage("is there room?", members(cluster), room(cluster, facts))
    yield Question(
        f"The database is restored to {to}, first on {first.name}. It is down until that is done."
    )
    if facts.known(MEMBER).get(first.name):
        yield stage("the last WAL reaches the archive", first, archived())
    yield stage("stop the replicas", others, held())
    yield stage(f"stop {first.name}", first, held())
    now = strftime("%Y%m%d-%H%M%S")
    yield stage(
        f"restore on {first.name}",
        first,
        *restored(cluster, to, now),
        forgotten(cluster),
        released(),
        leads(first),
    )
    yield stage(
        "copy to the replicas",
        others,
        moved_aside(cluster, now),
        released(),
        service("patroni.service"),
        lambda host: in_its_place(host, cluster, "it follows the new leader"),
    )
    yield full_backup(cluster)


def onto_new(cluster: Cluster, facts: Facts, to: str) -> Procedure:
    """Set up new servers, restore on the first one, and copy to the others."""
    first, *others = members(cluster)
    repository = facts.of(BACKUPS, the_repository(cluster))
    yield Question(
        f"The database {cluster.name} is restored to {to} from {the_repository(cluster).name} onto "
        f"{', '.join(host.name for host in members(cluster))}, which have no database."
    )
    yield stage(
        "install PostgreSQL, etcd and Patroni",
        members(cluster),
        lambda host: install(host, cluster, facts),
        held(),
        room(cluster, facts),
    )
    yield stage(
        "keys for the repository",
        participants(cluster),
        lambda host: backup_keys(host, cluster, facts),
    )
    yield asked_again(CERTIFICATE)
    yield stage(
        "each server trusts the others",
        participants(cluster),
        lambda host: backup_network(host, cluster, facts),
    )
    yield stage("keys for the database", members(cluster), lambda host: keys(host, cluster, facts))
    yield asked_again(*ALL_HELD)
    yield stage(
        "certificates for the database",
        members(cluster),
        lambda host: certificates(host, cluster, facts),
    )
    yield stage("etcd begins", members(cluster), lambda host: etcd(host, cluster, facts))
    yield stage(
        "Patroni's settings",
        members(cluster),
        lambda host: configured(host, cluster, facts),
    )
    now = strftime("%Y%m%d-%H%M%S")
    yield stage(
        f"restore on {first.name}",
        first,
        *restored(cluster, to, now),
        knows_the_cluster(cluster, repository.system),
        forgotten(cluster),
        released(),
        leads(first),
        *(password(role, cluster.secret(secret)) for role, secret in ROLES.items()),
    )
    yield stage(
        "copy to the others",
        others,
        moved_aside(cluster, now),
        released(),
        lambda host: running(host, cluster),
    )
    yield stage(f"complete {first.name}", first, lambda host: running(host, cluster))
    if pooled(cluster):
        run = pooler.running
        yield stage("PgBouncer", pooled(cluster), lambda host: run(host, cluster, facts))
    yield full_backup(cluster)


def refuse_restore(cluster: Cluster, facts: Facts, to: str, i_know: bool) -> None:
    """Refuse without a point in time, a backup, all members, and consent to lose later writes."""
    refuse_another_major(cluster, facts)
    if not is_moment(to):
        raise UsageError(
            f"{to!r} is not a point in time; write 'YYYY-MM-DD HH:MM:SS+00', with the time zone."
        )
    if facts.of(BACKUPS, the_repository(cluster)).age is None:
        raise RunbookError("There is no backup to restore from.")
    refuse_without_backup_before(cluster, facts, to)
    away = [host.name for host in members(cluster) if host.name not in facts.known(ETCD)]
    if away:
        raise RunbookError(
            f"{', '.join(away)} cannot be reached; it could come back with the old data. "
            "Bring it back first, or take it out: fab postgres.remove"
        )
    if not i_know:
        raise UsageError(
            f"What was written after {to} will be lost. If that is intended, add --i-know."
        )


def refuse_without_backup_before(cluster: Cluster, facts: Facts, to: str) -> None:
    """Refuse a moment before the first backup, or one whose backup is of another major version."""
    wanted = cluster[Versions].postgresql
    good = [one for one in facts.of(BACKUPS, the_repository(cluster)).backups if not one.failed]
    before = [one for one in good if to == "latest" or one.stop < seconds(to)]
    if not before:
        raise RunbookError("No backup is older than that moment. See fab postgres.backups")
    if before[-1].major not in ("", wanted):
        raise RunbookError(
            f"The last backup before that moment is of PostgreSQL {before[-1].major}, and "
            f"{wanted} cannot use it. Name a later moment, or go back to PostgreSQL "
            f"{before[-1].major} first: fab postgres.upgrade --major --back"
        )


def is_moment(to: str) -> bool:
    """Whether this is `latest`, or a point in time that exists."""
    try:
        return to == "latest" or bool(MOMENT.fullmatch(to) and seconds(to))
    except ValueError:
        return False


def seconds(moment: str) -> float:
    """A point in time in seconds since 1970; ValueError if there is none like it."""
    day, clock, zone = re.split(r" |(?=[+-]\d{2}:?(?:\d{2})?$)", moment)
    clock = clock.partition(".")[0]
    form = "%Y-%m-%d %H:%M:%S%z" if clock.count(":") == 2 else "%Y-%m-%d %H:%M%z"
    whole = f"{day} {clock}{zone.replace(':', '').ljust(5, '0')}"
    return datetime.strptime(whole, form).timestamp()


def refuse_servers_with_data(cluster: Cluster, facts: Facts) -> None:
    """Refuse a server that has a database, unless an interrupted restore has put it there."""
    holding = [name for name, has in facts.known(HAS_DATABASE).items() if has]
    if holding and not any(facts.known(HELD).values()):
        raise RunbookError(
            f"{', '.join(holding)} has a database. Leave out --onto-new-servers, or move the data "
            f"aside there: {moved_away(data(cluster), 'old', 'postgres')}"
        )


def restored_on(cluster: Cluster, facts: Facts) -> Host:
    """The leader, or the first server if none leads."""
    try:
        return leader(cluster, facts)
    except MissingFact:
        return members(cluster)[0]
