"""Back to the major version before an upgrade, as long as a server has its data untouched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from time import strftime

from runbook.declare.facts import Facts
from runbook.declare.step import Step
from runbook.declare.steps import command, service
from runbook.declare.templates import script
from runbook.declare.work import Procedure, Question, Stage, stage
from runbook.errors import RunbookError, UsageError
from runbook.inventory.cluster import Cluster, Host, host_named

from ..shared.versions import Versions
from .backup import participants, repository_hosts
from .common import BY_POSTGRES, MAJOR, binaries, data, members, with_repository
from .hold import HELD, held, released
from .install import pgdg
from .major import archives_again, identified, pgbackrest_of, stanza_upgraded
from .major_before import dump_folder, refuse_without_all
from .major_record import (
    BACK,
    DIRECTORIES,
    RECORDED,
    Record,
    forgotten_record,
    reached,
    recorded,
    upgraded_in_place,
)
from .members import MEMBER, claiming, in_its_place
from .patroni import in_etcd, present
from .recover import forgotten, leads
from .restored import full_backup


def to_the_former_major(cluster: Cluster, facts: Facts, i_know: bool) -> Procedure:
    """All servers use the old version again: nothing is lost until the new one has started."""
    record = recorded(cluster, facts)
    if not record:
        raise RunbookError("No upgrade to another major version is recorded; nothing to undo.")
    wanted = cluster[Versions].postgresql
    if wanted != record.old:
        raise UsageError(
            f"{cluster.file.name} asks for PostgreSQL {wanted}. Set versions.postgresql to "
            f'"{record.old}" first, which is where --back leads.'
        )
    refuse_without_all(cluster, facts)
    refuse_without_majority(record, cluster, facts)
    if record.started:
        yield from from_a_replica(record, cluster, facts, i_know)
    else:
        yield from as_if_nothing_happened(record, cluster, facts)


def refuse_without_majority(record: Record, cluster: Cluster, facts: Facts) -> None:
    """Refuse if only a minority of the servers knows of the upgrade: data is moved aside for it."""
    agree = [one for one in facts.known(RECORDED).values() if one and one.plan == record.plan]
    if record.position and 2 * len(agree) <= len(members(cluster)):
        raise RunbookError(
            f"Only {len(agree)} of {len(members(cluster))} servers know of the upgrade to "
            f"PostgreSQL {record.new}. Nothing was changed."
        )


def as_if_nothing_happened(record: Record, cluster: Cluster, facts: Facts) -> Procedure:
    """The new version has not started: the old one goes on where it stopped."""
    first = upgraded_in_place(record, cluster)
    others = [host for host in members(cluster) if host != first]
    yield Question(
        f"PostgreSQL {record.old} goes on where it stopped, with {first.name} as leader. Nothing "
        "is lost."
    )
    noted = reached(BACK, f"{first.name} {record.when}")
    yield stage("note what is being done", members(cluster), noted)
    yield stage(f"{first.name}'s old data is usable again", first, undone(record, cluster))
    yield from settings(cluster, facts)
    known = [identified(cluster), in_etcd(cluster)]
    if any(facts.known(HELD).values()):
        known.append(forgotten(cluster))
    yield stage("etcd knows the old database", first, *known)
    if not claiming(cluster, facts):
        yield stage(f"{first.name} leads", first, released(), leads(first))
    yield from following([*others, first], cluster)
    yield stage("forget the upgrade", members(cluster), forgotten_record())


def undone(record: Record, cluster: Cluster) -> Step:
    """pg_control has its name again, and the new data directory is out of the way."""
    old, new = data(cluster, record.old), data(cluster, record.new)
    undo = script(
        "postgres/major-undo.sh",
        **{"old": binaries(cluster, record.old), "new": binaries(cluster, record.new)},
        **{"from": old, "to": new},
    )
    return command(
        f"{old} can be used by PostgreSQL {record.old}",
        undo,
        unless=f"[[ -e {old}/global/pg_control && ! -e {new}/PG_VERSION ]]",
        timeout=900,
    )


def from_a_replica(record: Record, cluster: Cluster, facts: Facts, i_know: bool) -> Procedure:
    """The new version has written: a replica leads with the data that it had at the stop."""
    chosen = untouched(record, cluster, facts)
    if not i_know:
        raise UsageError(
            f"What was written since PostgreSQL {record.new} started will be lost: {chosen.name} "
            "leads with the data from before. If that is intended, add --i-know."
        )
    when = record.back[1] if record.back else strftime("%Y%m%d-%H%M%S")
    record = replace(record, back=(chosen.name, when))
    others = [host for host in members(cluster) if host != chosen]
    if goes_on_there(chosen, record, facts):
        yield Question(f"The way back to PostgreSQL {record.old} goes on; {chosen.name} leads.")
    else:
        yield from led_by(chosen, record, cluster, facts)
    for keeper in repository_hosts(cluster):
        yield stage("the repository knows the old version", keeper, stanza_upgraded(cluster))
    yield from following(others, cluster)
    if repository_hosts(cluster):
        yield archives_again(chosen)
        yield full_backup(cluster)
    yield stage("forget the upgrade", members(cluster), forgotten_record())


def goes_on_there(chosen: Host, record: Record, facts: Facts) -> bool:
    """Whether this server leads with the old version already."""
    member, major = facts.known(MEMBER).get(chosen.name), facts.known(MAJOR).get(chosen.name)
    return bool(member and member.primary and major == record.old)


def led_by(chosen: Host, record: Record, cluster: Cluster, facts: Facts) -> Procedure:
    """All servers stop, what the new version has is put away, and this server leads."""
    when = record.back[1] if record.back else record.when
    yield Question(
        f"PostgreSQL {record.old} goes on with the data that {chosen.name} had at "
        f"{record.position}, before {record.new} started. The database is down until then. The "
        f"data of {record.new} stays in {aside(cluster, record.new, when)} on each server."
    )
    yield stage("note what is being done", members(cluster), reached(BACK, f"{chosen.name} {when}"))
    former = upgraded_in_place(record, cluster)
    for last in claiming(cluster, facts)[:1] or [former]:
        first = [host for host in members(cluster) if host != last]
        yield stage(f"stop all but {last.name}", first, held())
        yield stage(f"stop {last.name}", last, held())
    yield stage(
        f"the data of PostgreSQL {record.new} is put away",
        members(cluster),
        put_away(cluster, record.new, when),
        lambda host: used_in_place(host, former, cluster, record),
    )
    yield from settings(cluster, facts)
    yield stage(
        "etcd knows the old database",
        chosen,
        identified(cluster),
        in_etcd(cluster),
        forgotten(cluster),
    )
    yield stage(f"{chosen.name} leads", chosen, released(), leads(chosen))


def untouched(record: Record, cluster: Cluster, facts: Facts) -> Host:
    """A replica with its data as it was when all stopped; once chosen, it stays that one."""
    if record.back:
        return host_named(record.back[0], members(cluster), "database server")
    for host in members(cluster):
        own = facts.known(DIRECTORIES).get(host.name, {}).get(record.old)
        stopped = own and own.state == "shut down in recovery"
        if host.name != record.leader and own and stopped and own.checkpoint == record.position:
            return host
    raise RunbookError(
        f"No replica has PostgreSQL {record.old}'s data as it was when all servers stopped, at "
        f"{record.position or 'an unknown position'}. What is left is the dump in "
        f"{dump_folder(record)} on {record.leader}, and the backups."
    )


def aside(cluster: Cluster, major: str, when: str) -> str:
    """Where data that is given up stays."""
    return f"{data(cluster, major)}.given-up-{when}"


def put_away(cluster: Cluster, major: str, when: str) -> Step:
    """A data directory has another name, and an empty one is in its place."""
    path, kept = data(cluster, major), aside(cluster, major, when)
    return command(
        f"what was in {path} is in {kept}",
        f"{BY_POSTGRES} mv -T {path} {kept}\n{BY_POSTGRES} mkdir -m 0700 {path}",
        unless=f"[[ -e {kept} || ! -e {path}/PG_VERSION ]]",
    )


def used_in_place(host: Host, former: Host, cluster: Cluster, record: Record) -> Iterator[Step]:
    """The old data of the upgraded server shares its files with the new: it is put away as well."""
    if host == former and record.back:
        yield put_away(cluster, record.old, record.back[1])


def settings(cluster: Cluster, facts: Facts) -> Iterator[Stage]:
    """Repositories, Patroni and pgBackRest are those of the old version again."""
    yield stage("repositories", with_repository(cluster), lambda host: pgdg(cluster))
    yield stage("settings of Patroni", members(cluster), lambda host: present(host, cluster, facts))
    yield stage(
        "settings of pgBackRest",
        participants(cluster) or members(cluster),
        lambda host: pgbackrest_of(host, cluster),
    )


def following(others: list[Host], cluster: Cluster) -> Iterator[Stage]:
    """The other servers follow, with the data that they have or with a copy."""
    if others:
        yield stage(
            "the others follow",
            others,
            released(),
            service("patroni.service"),
            lambda host: in_its_place(host, cluster, "it follows the leader"),
        )
