"""The database that Airflow uses, and the passwords of all roles."""

from __future__ import annotations

from runbook.declare.facts import Facts
from runbook.declare.step import Step, Steps, quote
from runbook.declare.steps import command, with_stdin
from runbook.inventory.cluster import Cluster, Host

from .common import CONFIGURED, PSQL, ROLES, refuse_new_passwords, section
from .members import MEMBER, leader


@section.task(needs=[MEMBER, CONFIGURED])
def database(host: Host, cluster: Cluster, facts: Facts) -> Steps:
    """Create role and database `airflow` on the leader, and set passwords."""
    refuse_new_passwords(cluster, facts)
    if host != leader(cluster, facts):
        return
    yield command(
        "role airflow exists",
        f"{PSQL} -c 'create role airflow login'",
        unless=answers("select from pg_roles where rolname = 'airflow' and rolcanlogin"),
    )
    for role, secret in ROLES.items():
        yield password(role, cluster.secret(secret))
    yield command(
        "database airflow exists",
        f"{PSQL} -c \"create database airflow owner airflow encoding 'UTF8'\"",
        unless=answers("select from pg_database where datname = 'airflow'"),
    )
    yield command(
        "database airflow belongs to role airflow",
        f"{PSQL} -c 'alter database airflow owner to airflow'",
        unless=answers(
            "select from pg_database where datname = 'airflow' and datdba = 'airflow'::regrole"
        ),
    )
    extension = "pg_stat_statements"
    yield command(
        f"the statements that take the most time are counted ({extension})",
        f"{PSQL} -d airflow -c 'create extension {extension}'",
        unless=answers(f"select from pg_extension where extname = '{extension}'", "airflow"),
    )


def answers(query: str, database: str = "postgres") -> str:
    """A test: the query finds exactly one row."""
    return f'[[ $({PSQL} -d {database} -c "select count(*) from ({query}) found") == 1 ]]'


def password(role: str, value: str) -> Step:
    """A role's password, tried by logging in; set in a session that logs no statement."""
    replication = "replication=true " if role == "replicator" else ""
    question = "IDENTIFY_SYSTEM" if replication else "select 1"
    literal = value.replace("'", "''")
    return with_stdin(
        f"the password of role {role} is the one in secrets.yaml",
        PSQL,
        f"""set log_statement = 'none';
set log_min_duration_statement = -1;
set log_min_error_statement = 'panic';
set pg_stat_statements.track_utility = 'off';
set password_encryption = 'scram-sha-256';
alter role {role} password '{literal}';
""",
        unless=f"PGPASSWORD={quote(value)} psql -X -w -q "
        f"'host=127.0.0.1 user={role} dbname=postgres {replication}' -c '{question}'",
    )
