"""Findings about single database servers: the archive, connections, data pages, versions."""

from __future__ import annotations

from collections.abc import Mapping

from runbook.declare.facts import Facts
from runbook.declare.probes import ERROR, OK, UNKNOWN, WARN, Finding, Findings, Verdict
from runbook.inventory.cluster import Cluster
from runbook.output.quantities import duration

from .backup import repository_hosts
from .common import members, section
from .figures import FIGURES, Figures
from .members import leading
from .repository import BACKUPS
from .settings import Postgres

ARCHIVE = section.cause("PG_ARCHIVE_FAILS", "WAL accumulates on the leader until its disk is full")
DROPPED = section.cause(
    "PG_WAL_DROPPED", "no restore to a moment between then and the next backup is possible"
)
CONNECTIONS = section.cause(
    "PG_CONNECTIONS", "when none are left, Airflow's services cannot connect"
)
PAGES = section.cause("PG_CHECKSUMS", "the disk has changed data; queries that read it fail")
AGE = section.cause(
    "PG_WRAPAROUND", "PostgreSQL stops accepting writes when no transaction numbers are left"
)
VERSIONS = section.cause("PG_OLD_VERSION_RUNS", "an installed update is not in use")
WATCHDOG = section.cause("PG_WATCHDOG", "a leader that hangs is not reset")
ONE_COPY = section.cause(
    "PG_ONE_COPY", "rows that are acknowledged now are lost if the leader's disk is lost"
)

SLOW, STUCK = 300, 1800
"""Seconds that the oldest WAL file waits for the archive before it is a warning, an error.

A file is finished at least every minute (archive_timeout), and archived within seconds.
"""

CROWDED, FULL = 80, 95
"""Percentage of the connections in use."""

LAST_NUMBERS = 1_500_000_000
"""An age that is an error; at 2.1 billion, PostgreSQL stops accepting writes."""


def about_servers(cluster: Cluster, facts: Facts) -> Findings:
    """What the figures of the servers show."""
    figures = facts.known(FIGURES)
    yield from archive(cluster, facts)
    if figures:
        yield from dropped(figures, facts)
        yield connections(figures)
        yield pages(figures)
    yield from wraparound(cluster, facts)
    yield from versions(figures)
    yield from watchdog(cluster, facts)
    yield from copies(cluster, facts)


def archive(cluster: Cluster, facts: Facts) -> Findings:
    """The leader's WAL reaches the repository: no attempt failed, and no file waits for long."""
    first = leading(cluster, facts)
    if not first or not repository_hosts(cluster):
        return
    yield Finding(
        "WAL reaches the archive",
        archived(facts.known(FIGURES).get(first.name)),
        fix="fab postgres.backup-repository",
        cause=ARCHIVE,
        about=tuple(host.name for host in repository_hosts(cluster)),
    )


def archived(leader: Figures | None) -> Verdict:
    """Whether WAL leaves this leader."""
    if leader is None or leader.archiving is None:
        return Verdict(UNKNOWN, "the leader's PostgreSQL does not answer")
    waits = f"{leader.waiting} files wait, the oldest for {duration(leader.oldest)}"
    if not leader.archiving:
        sentence = f"the last attempt failed; WAL stays on the leader until it succeeds; {waits}"
        return Verdict(ERROR, sentence)
    if leader.waiting and leader.oldest > SLOW:
        return Verdict(ERROR if leader.oldest > STUCK else WARN, waits)
    return Verdict(OK)


def dropped(figures: Mapping[str, Figures], facts: Facts) -> Findings:
    """WAL that was given up to keep the disk from filling, and no backup since."""
    backups = [one for known in facts.known(BACKUPS).values() for one in known.backups]
    newest = max((one.start for one in backups if not one.failed), default=0)
    for name, one in figures.items():
        if one.dropped and one.dropped >= newest:
            sentence = f"{name} has given up WAL that the repository did not take"
            verdict = Verdict(ERROR, sentence)
            fix = "when the repository works again: fab postgres.backup --type full"
            yield Finding("the archive of WAL has no gap", verdict, fix, DROPPED)


def connections(figures: Mapping[str, Figures]) -> Finding:
    """Every server has connections left."""
    worst, sentence = OK, ""
    for name, one in figures.items():
        if one.connections is None or not one.allowed:
            continue
        used = 100 * one.connections // one.allowed
        level = ERROR if used >= FULL else WARN if used >= CROWDED else OK
        said = f"{name} has {one.connections} of {one.allowed}"
        if level != OK:
            worst = ERROR if ERROR in (level, worst) else WARN
            sentence = f"{sentence}, {said}" if sentence else said
    return Finding(
        "connections are left",
        Verdict(worst, sentence),
        fix="close what does not need them: select * from pg_stat_activity; or set max_connections "
        "in postgres.parameters, then: fab postgres.settings postgres.restart",
        cause=CONNECTIONS,
    )


def pages(figures: Mapping[str, Figures]) -> Finding:
    """No server has read a page whose checksum is wrong."""
    damaged = [name for name, one in figures.items() if one.corrupt]
    title = "no data page is damaged"
    if not damaged:
        return Finding(title, Verdict(OK))
    counted = ", ".join(f"{name} has read {figures[name].corrupt}" for name in damaged)
    return Finding(
        title,
        Verdict(ERROR, f"{counted} with wrong checksums since its statistics were reset"),
        fix="replace or check its disk; on a replica: fab postgres.reinit HOST; if it leads, first "
        "fab postgres.switchover; then select pg_stat_reset() in each database there",
        cause=PAGES,
    )


def wraparound(cluster: Cluster, facts: Facts) -> Findings:
    """Vacuum freezes rows in time."""
    first = leading(cluster, facts)
    leader = facts.known(FIGURES).get(first.name) if first else None
    if not leader or leader.age is None:
        return
    level = OK
    if leader.age > LAST_NUMBERS:
        level = ERROR
    elif leader.age > 2 * leader.freezes:
        level = WARN
    sentence = f"the oldest is {leader.age} transactions old; vacuum should act at {leader.freezes}"
    yield Finding(
        "old rows are frozen in time",
        Verdict(level, "" if level == OK else sentence),
        fix="end what holds vacuum back: an old transaction (pg_stat_activity), a prepared one "
        "(pg_prepared_xacts), a replication slot (pg_replication_slots); then vacuumdb --freeze -a",
        cause=AGE,
    )


def versions(figures: Mapping[str, Figures]) -> Findings:
    """What runs is what is installed."""
    late = False
    for name, one in figures.items():
        for program, (runs, installed) in one.outdated.items():
            late = True
            yield Finding(
                f"{name} runs the installed {program}",
                Verdict(WARN, f"it runs {runs}, installed is {installed}"),
                fix="fab postgres.upgrade",
                cause=VERSIONS,
                about=(name,),
            )
    if figures and not late:
        yield Finding("what runs is what is installed", Verdict(OK))


def watchdog(cluster: Cluster, facts: Facts) -> Findings:
    """The leader's watchdog is armed, where there is one."""
    first = leading(cluster, facts)
    leader = facts.known(FIGURES).get(first.name) if first else None
    if not first or not leader:
        return
    title = "the leader's watchdog is armed"
    if leader.watchdog == "none":
        yield Finding(title, Verdict(OK, f"{first.name} has no watchdog device"))
        return
    idle = Verdict(WARN, f"Patroni on {first.name} does not use /dev/watchdog")
    yield Finding(
        title,
        Verdict(OK) if leader.watchdog == "armed" else idle,
        fix=f"see journalctl -u patroni on {first.name}; it has to be able to write /dev/watchdog: "
        "fab postgres.switchover, then systemctl restart patroni there",
        cause=WATCHDOG,
    )


def copies(cluster: Cluster, facts: Facts) -> Findings:
    """Rows have a second copy before they are acknowledged, as synchronous_mode promises."""
    settings, first = cluster[Postgres], leading(cluster, facts)
    if not first or not settings.synchronous_mode or len(members(cluster)) == 1:
        return
    standbys = [
        name
        for name, one in first.cluster.items()
        if one.get("role") in {"sync_standby", "quorum_standby"} and one.get("state") == "streaming"
    ]
    title = "acknowledged rows have two copies"
    if standbys:
        yield Finding(title, Verdict(OK))
        return
    if settings.synchronous_mode_strict:
        verdict = Verdict(ERROR, "no standby is synchronous, so commits wait")
    else:
        verdict = Verdict(
            WARN, "acknowledged rows have one copy: no standby is synchronous, and commits go on"
        )
    yield Finding(title, verdict, fix="fab postgres.patroni", cause=ONE_COPY)
