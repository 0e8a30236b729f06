"""Minor updates of PostgreSQL, Patroni, etcd and pgBackRest, one database server at a time."""

from __future__ import annotations

from collections.abc import Sequence

from runbook.declare import steps
from runbook.declare.facts import Facts
from runbook.declare.step import Step, Steps
from runbook.declare.steps import command, precondition, wait_for
from runbook.declare.work import Procedure, Question, stage
from runbook.errors import RunbookError
from runbook.inventory.cluster import Cluster, Host

from .backup import participants, repository_hosts
from .common import MAJOR, members, refuse_another_major, rest, section
from .etcd import ETCD, healthy, settings_folder
from .figures import runs_installed
from .members import MEMBER, in_its_place, leader, replicas
from .operate import handover
from .patroni import present
from .repository import folder
from .settings import Postgres
from .transport import TRANSPORT
from .versions import BACKUP, newest, packages


@section.procedure(needs=[MEMBER, ETCD, MAJOR, TRANSPORT])
def upgrade(hosts: Sequence[Host], cluster: Cluster, facts: Facts) -> Procedure:
    """Update PostgreSQL (its minor version), Patroni, etcd and pgBackRest. Asks first.

    To the newest versions of the repositories. Replicas are first; then the leader hands over and
    is last: about two seconds without writes. Restarts also what runs in an older version than the
    installed one. Another major version is refused.
    """
    refuse_another_major(cluster, facts)
    refuse_unless_whole(cluster, facts)
    first = leader(cluster, facts)
    order = replicas(cluster, facts)
    order.sort(key=lambda host: facts.known(MEMBER)[first.name].is_synchronous(host.name))
    yield Question(
        "PostgreSQL, Patroni and etcd are updated on "
        f"{', '.join(host.name for host in [*order, first])}, in this order. "
        f"{first.name} hands over before its turn."
    )
    if repository_hosts(cluster):
        yield stage("no backup is running", repository_hosts(cluster), no_backup_runs())
        yield stage(
            "pgBackRest, on all servers at the same time",
            participants(cluster),
            *newest(BACKUP),
            lambda host: again_ours(host, cluster),
            runs_anew(),
        )
    for host in order:
        yield from updated(host, cluster, facts)
    if order:
        yield stage(f"hand over from {first.name}", first, handed_over(first, cluster))
    yield from updated(first, cluster, facts)


def refuse_unless_whole(cluster: Cluster, facts: Facts) -> None:
    """Refuse unless every member runs, the replicas stream, and etcd has all its members."""
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
    if known[first.name].paused:
        raise RunbookError("Patroni is paused; end that first: see fab postgres.check.")


def no_backup_runs() -> Step:
    """A backup would fail halfway, because both ends need the same version of pgBackRest."""
    return precondition(
        "no backup is running",
        "! systemctl is-active -q 'pgbackrest-backup@*'",
        "echo 'A backup is running; wait for its end: systemctl list-units pgbackrest-backup@*'",
    )


def again_ours(host: Host, cluster: Cluster) -> Steps:
    """An update gives the repository's folder back the mode of the package."""
    if host in repository_hosts(cluster):
        yield folder(cluster)


def runs_anew() -> Step:
    """pgBackRest's server is the program that is installed, a moment after its start."""
    program = "$(systemctl show -p MainPID --value pgbackrest)"
    installed = f"[[ $(readlink /proc/{program}/exe) == /usr/bin/pgbackrest ]]"
    return command(
        "pgBackRest's server runs the installed version",
        f"systemctl restart pgbackrest\nuntil {installed}; do sleep 0.2; done",
        unless=f"unit_is pgbackrest.service active && {installed}",
        timeout=60,
    )


def updated(host: Host, cluster: Cluster, facts: Facts) -> Procedure:
    """One server has the newest packages and runs them, while commits do not wait for it."""
    synchronous = cluster[Postgres].synchronous_mode and len(members(cluster)) > 2
    if synchronous:
        yield stage(
            f"no commit waits for {host.name}",
            host,
            present(host, cluster, facts, aside=True),
        )
    yield stage(f"update {host.name}", host, lambda one: brought_up(one, cluster, synchronous))
    if synchronous:
        yield stage(f"commits may wait for {host.name} again", host, present(host, cluster, facts))


def brought_up(host: Host, cluster: Cluster, synchronous: bool) -> Steps:
    """The newest packages are installed and run, first etcd, then Patroni with PostgreSQL."""
    api = rest(host)
    if synchronous:
        other = f"! curl -sf -o /dev/null {api}/sync"
        yield wait_for(f"another server than {host.name} is the synchronous standby", other)
    yield from newest(packages(cluster))
    yield settings_folder()
    yield command(
        "etcd runs the installed version",
        "systemctl restart etcd",
        unless=runs_installed(host, cluster, "etcd"),
    )
    yield healthy(host)
    both = (runs_installed(host, cluster, program) for program in ("Patroni", "PostgreSQL"))
    yield command(
        "Patroni and PostgreSQL run the installed version",
        f"systemctl restart patroni\nuntil curl -sf -o /dev/null {api}/health; do sleep 1; done",
        unless=" &&\n".join(both),
        timeout=900,
    )
    yield in_its_place(host, cluster)
    yield steps.service("patroni.service")


def handed_over(first: Host, cluster: Cluster) -> Step:
    """Another server leads, unless there is nothing to do on this one."""
    step = handover(first, cluster)
    words = " ".join(packages(cluster))
    programs = ("etcd", "Patroni", "PostgreSQL")
    runs = " &&\n".join(runs_installed(first, cluster, program) for program in programs)
    nothing = f"dnf -q --refresh --disableplugin=versionlock check-update {words}"
    test = f"{step.test} || {{ {nothing} &&\n{runs}; }}"
    return command(step.title, step.apply, test, timeout=step.timeout)
