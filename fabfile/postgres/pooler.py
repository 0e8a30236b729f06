"""PgBouncer beside every PostgreSQL: clients share few connections, one transaction at a time."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

from runbook.declare import steps
from runbook.declare.facts import Facts
from runbook.declare.step import Step, Steps
from runbook.declare.steps import command, with_stdin
from runbook.inventory.cluster import Cluster, Host

from ..shared.airflow import connections
from ..shared.firewall import let_in
from ..shared.roles import HAPROXY
from ..shared.tls import FOLDER
from ..shared.transport import Speaks
from .common import MAKE, PSQL, SCRIPTS, section
from .database import answers
from .members import MEMBER, leader
from .pools import CONSOLE, LOGINS, POOLER_TLS, PORT, SETTINGS, UNIT, USER, pooled, size
from .settings import Postgres
from .transport import TRANSPORT, sessions_speak
from .versions import INSTALLED, POOLER, installed_alike

section.port(
    f"{PORT}/tcp", "PgBouncer: scram-sha-256, from HAProxy's servers only", HAPROXY, on=pooled
)


@section.task(needs=[MEMBER, INSTALLED, TRANSPORT])
def pooler(host: Host, cluster: Cluster, facts: Facts) -> Steps:
    """Run PgBouncer beside PostgreSQL, if `postgres.pooler` asks for it.

    It serves its clients over TLS if PostgreSQL beside it does. If hosts.yaml does not ask for it,
    it is stopped as soon as it has no clients. A change of its settings takes effect while clients
    are connected.
    """
    if not cluster[Postgres].pooler:
        yield off()
        return
    if host == leader(cluster, facts):
        yield from logins()
    yield from running(host, cluster, facts)


def running(host: Host, cluster: Cluster, facts: Facts) -> Steps:
    """PgBouncer runs with its settings, and speaks as PostgreSQL beside it does."""
    restart, reload = steps.restarted(UNIT), steps.reloaded(UNIT)
    speaks = sessions_speak(host, cluster, facts)
    yield from installed_alike(host, POOLER, facts)
    if speaks:
        yield has_certificate()
    yield from let_in(host, cluster)
    yield steps.drop_in(UNIT, "postgres/pgbouncer-airflow.conf.j2").then(restart)
    yield steps.directory(SCRIPTS)
    source = "postgres/pgbouncer/role-changed"
    yield steps.template(f"{SCRIPTS}/pgbouncer-role-changed", source, {}, mode="0755")
    # A name without a password: whose it is, the account says.
    users = steps.file(f"{SETTINGS}/userlist.txt", '"postgres" ""', mode="0640", group=USER)
    yield users.then(reload)
    yield from configuration(cluster, speaks)
    yield steps.service(UNIT).clearing(restart, reload)


def configuration(cluster: Cluster, speaks: Speaks) -> Steps:
    """PgBouncer's settings, with which it serves its clients in this way."""
    context = {
        "proxies": cluster.group(HAPROXY),
        "port": PORT,
        "user": USER,
        "size": size(cluster),
        "logins": LOGINS,
        "clients": max(1000, 2 * connections(cluster)),
        "tls": POOLER_TLS if speaks else None,
        "host_entry": "hostssl" if speaks == Speaks.TLS else "host",
        "mode": "require" if speaks == Speaks.TLS else "allow",
    }
    for name in ("pg_hba.conf", "pgbouncer.ini"):
        path, source = f"{SETTINGS}/{name}", f"postgres/pgbouncer/{name}.j2"
        file = steps.template(path, source, context, mode="0640", group=USER)
        yield file.then(steps.reloaded(UNIT))


def has_certificate() -> Step:
    """Go no further without a certificate: PgBouncer would not start, or go on in clear.

    This is no precondition, which would end the plan of a run that makes them.
    """
    return command(
        "PgBouncer has a key and a certificate",
        f"echo 'There are none in {FOLDER}. To make them: fab {MAKE}'\nexit 1",
        unless=f"[[ -s {POOLER_TLS.key} && -s {POOLER_TLS.certificate} ]]",
    )


def off() -> Step:
    """PgBouncer runs no longer than it has clients: HAProxy's sessions end later than its ports."""
    step = steps.service_off(UNIT)
    used = f"{CONSOLE} 'show clients' | grep -q '^C,airflow,'"
    return replace(
        step,
        title="PgBouncer neither runs nor starts at boot, unless it has clients",
        test=f"{step.test} || {{ unit_is {UNIT} active && {used}; }}",
    )


VERIFIER = """
  select rolname::text, rolpassword from pg_authid
  where rolname = name and rolname = 'airflow' and rolcanlogin
"""

LOOK_UP = f"""create schema if not exists {USER};
revoke all on schema {USER} from public;
grant usage on schema {USER} to {USER};
create or replace function {USER}.verifier(inout name text, out verifier text)
  language sql stable security definer set search_path = pg_catalog, pg_temp
  as $${VERIFIER}$$;
revoke all on function {USER}.verifier(text) from public;
grant execute on function {USER}.verifier(text) to {USER};
"""


def logins() -> Steps:
    """PgBouncer may look up the SCRAM verifier of the role airflow, and nothing else.

    PostgreSQL knows PgBouncer by its account, so there is no password. With the verifier, it
    recognises the password of a client, and with what the client has proved, it logs in as airflow.
    """
    yield command(
        f"role {USER} exists",
        f"{PSQL} -c 'create role {USER} login'",
        unless=answers(f"select from pg_roles where rolname = '{USER}' and rolcanlogin"),
    )
    # Operators on exactly these types: role airflow may define others in its own database.
    digest = sha256(VERIFIER.encode()).hexdigest()
    found = (
        "select from pg_proc where proname = 'verifier' "
        f"and pronamespace = (select oid from pg_namespace where nspname = '{USER}') "
        "and proowner = (select oid from pg_roles where rolname = 'postgres') "
        f"and prosecdef and encode(sha256(prosrc::bytea), 'hex') = '{digest}' "
        "and proconfig[1] = 'search_path=pg_catalog, pg_temp' "
        f"and proacl::text = '{{postgres=X/postgres,{USER}=X/postgres}}'"
    )
    yield with_stdin(
        "PgBouncer can look up the verifier of role airflow",
        f"{PSQL} -1 -d airflow",
        LOOK_UP,
        unless=answers(found, "airflow"),
    )


def runs_anew() -> Step:
    """PgBouncer is the program that is installed."""
    program = f"$(systemctl show -p MainPID --value {UNIT})"
    runs = f"[[ $(readlink /proc/{program}/exe) == /usr/bin/pgbouncer ]]"
    return command(
        "PgBouncer runs the installed version",
        f"systemctl restart {UNIT}",
        unless=f"unit_is {UNIT} active && {runs}",
    )
