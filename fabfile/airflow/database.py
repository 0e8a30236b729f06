"""Airflow's schema and its administrator: created once, on one server."""

from __future__ import annotations

from runbook.declare import steps
from runbook.declare.step import Step, Steps, quote
from runbook.inventory.cluster import Cluster, Host
from runbook.secrets.vault import Secret

from ..shared.versions import Versions
from .common import ADMIN, CLI, SCHEMA, SCRIPTS, SQL, database_answers, first_scheduler, section
from .settings import Airflow

ACCOUNT = f"{SCRIPTS}/airflow-account"
PRESENT = (
    f"$({SQL} \"select version_num from alembic_version where to_regclass('alembic_version') "
    'is not null" 2>/dev/null || :)'
)


@section.task(on=first_scheduler)
def database(host: Host, cluster: Cluster) -> Steps:
    """Create the schema, and the administrator with the password of secrets.yaml.

    A schema of another version is not changed: fab airflow.upgrade migrates it.
    """
    version = cluster[Versions].airflow
    wanted = SCHEMA[version]
    yield database_answers(cluster)
    yield steps.precondition(
        f"the schema is Airflow {version}'s, or there is none",
        f"found={PRESENT}; [[ ! $found || $found == {wanted} ]]",
        f"""echo "The database has the schema {PRESENT}, but Airflow {version} needs {wanted}."
echo 'Another version of Airflow created it. To migrate it: fab airflow.upgrade'""",
    )
    yield steps.command(
        f"the schema of Airflow {version}",
        f"{CLI} db migrate",
        unless=f"[[ {PRESENT} == {wanted} ]]",
        timeout=1800,
    )
    yield vacuumed_often()
    yield administrator(cluster)


BUSY = ("dag", "dag_run", "job", "serialized_dag", "task_instance", "trigger", "xcom")
"""Tables whose rows are changed all the time: heartbeats, states, the last time of parsing."""

OFTEN = {
    "autovacuum_vacuum_scale_factor": "0.02",
    "autovacuum_vacuum_threshold": "500",
    "autovacuum_analyze_scale_factor": "0.02",
    "autovacuum_analyze_threshold": "500",
}
"""Vacuum after changes to 2 % of the rows, not 20 % (PostgreSQL 15, "Automatic Vacuuming")."""


def vacuumed_often() -> Step:
    """Autovacuum visits the tables that change most before their dead rows slow queries down."""
    names = ", ".join(f"'{name}'" for name in BUSY)
    wanted = [f"{key}={value}" for key, value in OFTEN.items()]
    left = (
        f"select relname from pg_class where relkind = 'r' and relname in ({names}) "
        f"and relnamespace = 'public'::regnamespace "
        f"and not coalesce(reloptions, '{{}}') @> '{{{','.join(wanted)}}}'"
    )
    changes = "; ".join(f"alter table if exists {name} set ({', '.join(wanted)})" for name in BUSY)
    return steps.command(
        "autovacuum visits the busiest tables often",
        f"{SQL} {quote(changes)}",
        unless=f"found=$({SQL} {quote(left)}) && [[ ! $found ]]",
    )


def administrator(cluster: Cluster) -> Step:
    """The web UI's administrator."""
    return account(cluster[Airflow].admin, "Admin", ADMIN, cluster)


def account(name: str, role: str, secret: Secret, cluster: Cluster) -> Step:
    """A user of the web UI with this role, and the password that is read from standard input."""
    return steps.with_stdin(
        f"user {name} with the password of secrets.yaml",
        f"{SCRIPTS}/as-airflow {ACCOUNT} {name} {role}",
        cluster.secret(secret),
        unless=f"printf '%s' \"$text\" | {ACCOUNT} --check {name} {role}",
    )
