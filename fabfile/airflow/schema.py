"""The schema of Airflow's database: its version, its dump, and its migration."""

from __future__ import annotations

from runbook.declare.facts import Facts
from runbook.declare.step import Step
from runbook.declare.steps import action, command, precondition
from runbook.declare.templates import script
from runbook.errors import RunbookError
from runbook.inventory.cluster import Cluster

from ..postgres.common import DUMPS, PSQL, binaries
from ..shared.versions import Versions
from .common import SCHEMA, SCRIPTS
from .database import PRESENT
from .state import State, present

BETWEEN = (
    *("375a816bbbf4", "f7bf2a57d0a6", "bd5dfbe21f88", "10b52ebd31f7", "88344c1d9134"),
    *("1fd565369930", "d75389605139", "ab34f260b71c", "8e1c784a4fc7", "b4078ac230a1"),
    "ee1467d4aa35",
)
"""Schemas on the way from 2.7.3 to 2.9.0: each is committed, and a migration may stop there."""


def known(facts: Facts) -> State:
    """The state of the database; RunbookError if there is none, or if its schema is unknown."""
    state = present(facts)
    if not state:
        raise RunbookError(
            "The database has no leader, or no Airflow schema yet. See fab postgres.check; "
            "fab airflow.database creates the schema."
        )
    if state.schema not in (*SCHEMA.values(), *BETWEEN):
        raise RunbookError(
            f"The database has the schema {state.schema}, which belongs to neither Airflow "
            f"{' nor '.join(SCHEMA)}. Nothing was changed."
        )
    return state


def other_version(cluster: Cluster) -> str:
    """The other supported version, from which it comes or to which it could go back."""
    return next(version for version in SCHEMA if version != cluster[Versions].airflow)


def newer(cluster: Cluster) -> str:
    """The newer of the two versions: its binaries know both schemas."""
    versions = (cluster[Versions].airflow, other_version(cluster))
    return max(versions, key=lambda version: [int(part) for part in version.split(".")])


def room() -> Step:
    """There is room for the dump, which is compressed and so smaller than the database."""
    size = f"need=$({PSQL} -d airflow -c \"select pg_database_size('airflow') / 1048576 + 100\")"
    free = f"have=$(df --output=avail -m {DUMPS.rpartition('/')[0]} | tail -1)"
    return precondition(
        f"room for the dump below {DUMPS.rpartition('/')[0]}",
        f"{size} && {free} && ((have >= need))",
        f"""{size}
{free}
echo "The dump may take $need MB there, and $have are free. Make room, or remove older dumps:"
ls -l {DUMPS} 2>/dev/null || :""",
    )


def dumped(cluster: Cluster) -> Step:
    """A dump of the database, readable only by the user postgres, and written atomically."""
    return action(
        f"the database is in {DUMPS}",
        script(
            "airflow/dump.sh",
            folder=DUMPS,
            programs=binaries(cluster),
            name=f"before-{cluster[Versions].airflow}",
        ),
        timeout=6 * 3600,
    ).with_output()


def changed(program: str, cluster: Cluster) -> Step:
    """Migrate the schema, up or down, with `program`: `airflow` of the newer version."""
    wanted = cluster[Versions].airflow
    airflow = f"{SCRIPTS}/as-airflow {program} db"
    forwards = f"{airflow} migrate\n{airflow} check-migrations -t 60"
    back = f"{airflow} downgrade --to-version {wanted} --yes"
    return command(
        f"the schema of Airflow {wanted}",
        forwards if wanted == newer(cluster) else back,
        unless=f"[[ {PRESENT} == {SCHEMA[wanted]} ]]",
        timeout=6 * 3600,
    )
