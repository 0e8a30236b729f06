"""Findings about backups: there are some, and the newest of each type is not older than planned."""

from __future__ import annotations

import re
from typing import Optional

from runbook.declare.facts import Facts
from runbook.declare.probes import ERROR, OK, WARN, Finding, Findings, Verdict
from runbook.inventory.cluster import Cluster
from runbook.output.quantities import duration

from .backup import repository_hosts
from .common import section
from .figures import FIGURES
from .repository import BACKUPS, Repository
from .settings import Postgres

BACKUP = section.cause(
    "PG_BACKUP", "a mistake that is replicated, such as a dropped table, cannot be undone"
)

DAY = 24 * 3600

GRACE = 6 * 3600
"""Seconds that a scheduled backup may take, and start late."""

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

WEEKLY = re.compile(
    r"(?:(?P<days>[a-z.,]+) +)?(?:\*-\*-\* +)?\d{1,2}:\d{2}(?::\d{2})?(?: +[a-z/_]+)?"
)
"""A calendar expression of systemd with days of the week and one time of the day."""


def backed_up(cluster: Cluster, facts: Facts) -> Findings:
    """There is a backup, and the newest one of each type is on schedule."""
    title, first = "the database is backed up", "fab postgres.backup-repository"
    if not repository_hosts(cluster):
        sentence = f"{cluster.file.name} has no postgres.backup.host"
        yield Finding(title, Verdict(WARN, sentence), cause=BACKUP)
        return
    [keeper, *_] = repository_hosts(cluster)
    repository = facts.known(BACKUPS).get(keeper.name)
    if not repository:
        verdict = Verdict(ERROR, "the repository does not answer")
        yield Finding(title, verdict, fix=first, cause=BACKUP, about=(keeper.name,))
    elif repository.age is None:
        yield Finding(title, Verdict(ERROR, "there is no backup yet"), fix=first, cause=BACKUP)
    else:
        yield from on_schedule(title, repository, cluster)


def on_schedule(title: str, repository: Repository, cluster: Cluster) -> Findings:
    """The newest backup of any type, and the newest full one."""
    planned = cluster[Postgres].backup
    any_type = longest_gap(planned.full, planned.differential) or 8 * DAY
    yield Finding(
        title,
        punctual("backup", repository.age, any_type),
        fix="see journalctl -u pgbackrest-backup@diff there, then: fab postgres.backup",
        cause=BACKUP,
    )
    full = punctual("full backup", repository.age_of("full"), longest_gap(planned.full) or 35 * DAY)
    if full.level != OK:
        yield Finding(
            "full backups are made on schedule",
            full,
            fix="see journalctl -u pgbackrest-backup@full there, then: fab postgres.backup "
            "--type full",
            cause=BACKUP,
        )


def verified(facts: Facts) -> Findings:
    """The last test restore was a success, and not long ago."""
    results = [one.verified for one in facts.known(FIGURES).values() if one.verified]
    repositories = list(facts.known(BACKUPS).values())
    if not repositories:
        return
    title, fix = "a test restore has succeeded", "fab postgres.backup-verify"
    if not results:
        yield Finding(title, Verdict(OK, f"none was made yet: {fix}"))
        return
    good, when = max(results, key=lambda result: result[1])
    age = max(0, repositories[0].now - when)
    sentence = f"{duration(age)} ago"
    if not good:
        verdict = Verdict(ERROR, f"the last one failed, {sentence}")
    else:
        verdict = Verdict(WARN if age > 35 * DAY else OK, sentence)
    yield Finding(title, verdict, fix=fix, cause=BACKUP)


def snapshots(facts: Facts) -> Findings:
    """Each member of etcd has been copied lately."""
    repositories = list(facts.known(BACKUPS).values())
    late = [
        name
        for name, one in facts.known(FIGURES).items()
        if repositories and one.snapshot and repositories[0].now - one.snapshot > 2 * DAY + GRACE
    ]
    if late:
        verdict = Verdict(WARN, f"the newest copy on {', '.join(late)} is older than two days")
        fix = "see journalctl -u etcd-snapshot there"
        yield Finding("what etcd holds is copied every day", verdict, fix=fix, cause=BACKUP)


def punctual(what: str, age: Optional[int], gap: int) -> Verdict:
    """A backup that is missed once is a warning, twice an error."""
    if age is None:
        return Verdict(ERROR, f"there is no {what}")
    if age <= gap + GRACE:
        return Verdict(OK, f"{age // 3600} hours ago")
    sentence = f"the newest {what} is {duration(age)} old, and one is due every {duration(gap)}"
    return Verdict(ERROR if age > 2 * gap + GRACE else WARN, sentence)


def longest_gap(*calendars: str) -> Optional[int]:
    """The longest time between two runs in seconds; None if an expression is not understood."""
    days: set[int] = set()
    for calendar in calendars:
        found = weekdays(calendar.lower().strip())
        if not found:
            return None
        days |= found
    ordered = sorted(days)
    following = [*ordered[1:], ordered[0] + len(DAYS)]
    return DAY * max(after - before for before, after in zip(ordered, following))


def weekdays(calendar: str) -> set[int]:
    """The days of the week on which a calendar expression elapses; empty if it is another kind."""
    if calendar == "daily":
        return set(range(len(DAYS)))
    if calendar == "weekly":
        return {0}
    match = WEEKLY.fullmatch(calendar)
    if not match:
        return set()
    if not match["days"]:
        return set(range(len(DAYS)))
    found: set[int] = set()
    for part in match["days"].split(","):
        first, _, last = part.partition("..")
        ends = [DAYS.index(day[:3]) for day in (first, last or first) if day[:3] in DAYS]
        if len(ends) < 2:
            return set()
        found |= {day % 7 for day in range(ends[0], ends[1] + (7 if ends[1] < ends[0] else 0) + 1)}
    return found
