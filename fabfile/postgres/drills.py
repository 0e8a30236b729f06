"""Drills of the database: it goes on without its leader, and without etcd."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from runbook.declare import steps
from runbook.declare.drills import (
    FREEZE,
    PARTITION,
    POWER_LOSS,
    Deed,
    Drill,
    Mark,
    Operation,
    Outage,
    Target,
    nothing,
)
from runbook.declare.facts import Facts
from runbook.declare.step import Steps
from runbook.inventory.cluster import Cluster, Host

from ..shared.loads import ROWS
from .backup import repository_hosts
from .common import BY_POSTGRES, data, members, section
from .members import MEMBER, leader
from .repository import BACKUPS
from .settings import Postgres

LOSS = Mark(seconds=15)
"""What the loss of the leader may cost."""

ETCD = "etcd.service"


def leading(cluster: Cluster, facts: Facts) -> Sequence[Host]:
    """The server that leads the database."""
    return [leader(cluster, facts)]


def leading_and_backups(cluster: Cluster, facts: Facts) -> Sequence[Host]:
    """That server, and the one that keeps the backups."""
    first = leader(cluster, facts)
    return [first, *(host for host in repository_hosts(cluster) if host != first)]


def majority_of_etcd(cluster: Cluster, facts: Facts) -> Sequence[Host]:
    """A majority of etcd's members, if possible without that of the leader."""
    everybody = sorted(members(cluster), key=lambda host: host == leader(cluster, facts))
    return everybody[: len(everybody) // 2 + 1]


LEADER = Target(leading, (MEMBER,))


@section.drills
def drills(cluster: Cluster) -> Iterator[Drill]:
    """What may happen to the leader and to etcd."""
    if len(members(cluster)) < 2:
        return
    lease = (
        f"a leader that falls silent is replaced when its lease ends, up to "
        f"{cluster[Postgres].ttl} s later (postgres.ttl, at least 20); with a shorter one, a busy "
        "network would cost a leader that is well"
    )
    for kind, sentence in (
        (POWER_LOSS, "The server that leads the database loses its power."),
        (FREEZE, "The server that leads the database freezes, and its connections stay open."),
        (PARTITION, "The server that leads the database is cut off from all others."),
    ):
        yield Drill(
            f"leader-{kind}", sentence, LEADER, Outage(kind), (ROWS,), LOSS, watch=40, trade=lease
        )
    if repository_hosts(cluster):
        yield Drill(
            "leader-and-backups",
            "The server that leads the database and the one with the backups lose their power.",
            Target(leading_and_backups, (MEMBER,)),
            Outage(POWER_LOSS),
            (ROWS,),
            LOSS,
            watch=40,
            trade=lease,
        )
    yield Drill(
        "postmaster-kill",
        "PostgreSQL's main process is killed where it leads.",
        LEADER,
        Deed(postmaster_killed, nothing),
        (ROWS,),
        LOSS,
        watch=40,
    )
    yield Drill(
        "leader-switchover",
        "Another server is told to lead the database.",
        LEADER,
        Operation("postgres.switchover"),
        (ROWS,),
        watch=15,
    )
    yield Drill(
        "etcd-member-stop",
        "etcd stops on the server that leads the database.",
        LEADER,
        Deed(etcd_stopped, etcd_runs, soft=True),
        (ROWS,),
        watch=40,
    )
    yield Drill(
        "etcd-quorum-loss",
        "etcd stops on a majority of its members.",
        Target(majority_of_etcd, (MEMBER,)),
        Deed(etcd_stopped, etcd_runs),
        (ROWS,),
        watch=40,
        trade="writes go on, but as long as etcd has no quorum no other server can take over",
    )


def postmaster_killed(host: Host, cluster: Cluster) -> Steps:
    """The user postgres kills it: root follows no number that postgres has written down."""
    pid = f'"$(head -n 1 {data(cluster)}/postmaster.pid)"'
    yield steps.action(
        "PostgreSQL's main process is killed", f"{BY_POSTGRES} bash -c 'kill -KILL {pid}'"
    )


def etcd_stopped(host: Host, cluster: Cluster) -> Steps:
    """etcd does not run."""
    yield steps.stopped(ETCD)


def etcd_runs(host: Host, cluster: Cluster) -> Steps:
    """etcd runs."""
    yield steps.service(ETCD)


@section.before_hard_drills(needs=[BACKUPS])
def without_backup(cluster: Cluster, facts: Facts) -> Iterable[str]:
    """There has to be a backup of the database, before its servers are treated badly."""
    known = facts.known(BACKUPS).values()
    if members(cluster) and not any(repository.age is not None for repository in known):
        yield "there is no backup of the database (fab postgres.backup)"
