"""Airflow's schema and its administrator: created once, on one server."""

from __future__ import annotations

from runbook.declare import steps
from runbook.declare.step import Step, Steps
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
    yield administrator(cluster)


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
