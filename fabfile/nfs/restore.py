"""Bring files of the DAGs back from a snapshot."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import Any

from runbook.declare.facts import Facts
from runbook.declare.step import Step, quote
from runbook.declare.steps import action
from runbook.declare.templates import script
from runbook.declare.work import Procedure, Question, stage
from runbook.errors import RunbookError, UsageError
from runbook.inventory.cluster import Cluster, Host

from ..shared.airflow import DAGS
from .common import NETWORK, RESCUED, SNAPSHOTS, USER, section, servers
from .retention import KEPT
from .state import SERVER, the_active

MOMENT = re.compile(r"(\d{4})-?(\d\d)-?(\d\d)(?:[ T-]?(\d\d):?(\d\d)(?::?(\d\d))?)?")
"""`2026-11-30 14:05`, or the name of a snapshot."""


@section.table(needs=[KEPT])
def snapshots(cluster: Cluster, facts: Facts) -> list[dict[str, Any]]:
    """List the snapshots of the DAGs, the source of fab nfs.restore-files."""
    return [
        {"snapshot": name, "server": host.name, "kB": round(size / 1000, 1)}
        for host in servers(cluster)
        for name, size in facts.known(KEPT).get(host.name, {}).items()
    ]


@section.procedure(
    needs=[NETWORK, SERVER, KEPT],
    help={
        "path": "a file or folder below /app1/airflow/dags; . is all of it",
        "at": "as it was then: '2026-11-30 14:05', in the servers' time zone (default: newest)",
    },
)
def restore_files(
    hosts: Sequence[Host], cluster: Cluster, facts: Facts, *, path: str, at: str = ""
) -> Procedure:
    """Bring a file or folder of the DAGs back as it was in a snapshot. Asks first.

    What is different there now is kept in /app1/airflow/rescued, and what the snapshot does not
    have stays. fab nfs.snapshots lists the snapshots.
    """
    wanted = below(path)
    server = the_active(cluster, facts)
    name = taken_before(at, facts.known(KEPT).get(server.name, {}), server)
    what = f"{DAGS}/{wanted}" if wanted else DAGS
    yield Question(f"{what} becomes what it was in the snapshot {name} of {server.name}.")
    yield stage(f"files come back on {server.name}", server, brought_back(wanted, name))


def brought_back(path: str, name: str) -> Step:
    """What a snapshot has at a path of the DAGs."""
    commands = script(
        "nfs/restore.sh",
        archive=f"{SNAPSHOTS}/{name}.tar.gz",
        tree=DAGS,
        path=path,
        rescued=RESCUED,
        user=USER,
    )
    shown = f"gzip -dc {SNAPSHOTS}/{name}.tar.gz | tar -tv {quote('./' + path) if path else ''}"
    title = f"{path or 'all of it'} as in the snapshot {name}"
    return action(title, commands, timeout=3600).showing(f"{shown} | tail -n 1000").with_output()


def below(path: str) -> str:
    """A path below the DAGs, without them; empty for all of them."""
    given = PurePosixPath(path)
    if (
        given.is_absolute()
        and given != PurePosixPath(DAGS)
        and PurePosixPath(DAGS) not in (given.parents)
    ):
        raise UsageError(f"{path} is not below {DAGS}; snapshots have the DAGs only.")
    parts = given.relative_to(DAGS).parts if given.is_absolute() else given.parts
    if ".." in parts or not path or not path.isprintable():
        raise UsageError(f"{path!r} is not a path below {DAGS}.")
    return "/".join(parts)


def taken_before(at: str, names: Iterable[str], server: Host) -> str:
    """The newest snapshot that was taken until then."""
    known = sorted(names)
    if not known:
        raise RunbookError(
            f"{server.name} has no snapshot. fab nfs.retention takes the first one; snapshots of "
            "the other server can be used after fab nfs.failover."
        )
    match = MOMENT.fullmatch(at) if at else None
    if at and not match:
        raise UsageError(f"--at {at} is not a time; write it like '2026-11-30 14:05'.")
    if not match:
        return known[-1]
    year, month, day, hour, minute, second = match.groups()
    last = f"{year}{month}{day}-{hour or '23'}{minute or '59'}{second or '59'}"
    fitting = [name for name in known if name <= last]
    if not fitting:
        raise UsageError(f"The oldest snapshot of {server.name} is {known[0]}.")
    return fitting[-1]
