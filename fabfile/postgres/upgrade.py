"""Updates of PostgreSQL, Patroni, etcd and pgBackRest, one database server at a time.

Another major version of PostgreSQL is a procedure of its own (major.py, major_back.py).
"""

from __future__ import annotations

from collections.abc import Sequence

from runbook.declare import steps
from runbook.declare.facts import Facts
from runbook.declare.step import Step, Steps
from runbook.declare.steps import command, wait_for
from runbook.declare.work import Procedure, Question, stage
from runbook.errors import UsageError
from runbook.inventory.cluster import Cluster, Host

from . import pooler
from .backup import participants, repository_hosts
from .before_upgrade import no_backup_runs, refuse_unless_whole
from .common import MAJOR, members, refuse_another_major, rest, section
from .etcd import ETCD, healthy, settings_folder
from .figures import runs_installed
from .hold import HELD
from .major import to_another_major
from .major_back import to_the_former_major
from .major_record import DIRECTORIES, RECORDED
from .members import MEMBER, in_its_place, leader, replicas
from .operate import handover
from .patroni import present
from .pools import pooled
from .repository import BACKUPS, folder
from .settings import Postgres
from .transport import TRANSPORT
from .versions import BACKUP, INSTALLED, newest, packages


@section.procedure(
    needs=[MEMBER, ETCD, MAJOR, BACKUPS, INSTALLED, HELD, RECORDED, DIRECTORIES, TRANSPORT],
    help={
        "major": "change to another major version of PostgreSQL: versions.postgresql of hosts.yaml",
        "back": "with --major: use the data from before the upgrade again",
        "i_know": "with --major: Airflow is not tested with that version, or there is no backup "
        "server; with --back: what was written since is lost",
    },
)
def upgrade(
    hosts: Sequence[Host],
    cluster: Cluster,
    facts: Facts,
    *,
    major: bool = False,
    back: bool = False,
    i_know: bool = False,
) -> Procedure:
    """Update PostgreSQL, Patroni, etcd and pgBackRest. Asks first.

    To the newest versions of the repositories. Replicas are first; then the leader hands over and
    is last: about two seconds without writes. Restarts also what runs in an older version than the
    installed one. PostgreSQL keeps its major version.

    With --major, PostgreSQL alone changes to the major version in hosts.yaml, by pg_upgrade. Stop
    Airflow first. All servers stop; one is upgraded in place, and the others copy it. Their old
    data stays: with --back they use it again, and what was written since is lost. If it is
    interrupted, rerun the command to complete it.
    """
    if back and not major:
        raise UsageError("--back undoes an upgrade to another major version: --major --back")
    if major:
        change = to_the_former_major if back else to_another_major
        yield from change(cluster, facts, i_know)
        return
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
            lambda host: repository_folder(host, cluster),
            runs_anew(),
        )
    for host in order:
        yield from updated(host, cluster, facts)
    if order:
        yield stage(f"hand over from {first.name}", first, handed_over(first, cluster))
    yield from updated(first, cluster, facts)


def repository_folder(host: Host, cluster: Cluster) -> Steps:
    """The repository's folder is postgres' again, after an update has reset its mode and owner."""
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
    if pooled(cluster):
        yield pooler.runs_anew()


def handed_over(first: Host, cluster: Cluster) -> Step:
    """Another server leads, unless there is nothing to do on this one."""
    step = handover(first, cluster)
    words = " ".join(packages(cluster))
    programs = ("etcd", "Patroni", "PostgreSQL")
    runs = " &&\n".join(runs_installed(first, cluster, program) for program in programs)
    nothing = f"dnf -q --refresh --disableplugin=versionlock check-update {words}"
    test = f"{step.test} || {{ {nothing} &&\n{runs}; }}"
    return command(step.title, step.apply, test, timeout=step.timeout)
