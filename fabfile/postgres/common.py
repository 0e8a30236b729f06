"""What the modules of this section share: names, paths, passwords."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from runbook.declare.answers import YesNo, one
from runbook.declare.facts import Fact, Facts
from runbook.declare.section import Section
from runbook.declare.steps import reloaded
from runbook.errors import RunbookError
from runbook.inventory.cluster import Cluster, Host

from ..shared import tls
from ..shared.roles import HAPROXY, POSTGRES
from ..shared.versions import Versions
from .settings import Postgres


def with_repository(cluster: Cluster) -> list[Host]:
    """The servers of the database cluster, and the one that keeps its backups."""
    repository = cluster[Postgres].backup.host
    return [
        host for host in cluster.hosts.values() if POSTGRES in host.roles or host.name == repository
    ]


def backup_and_member(one: Host, other: Host, cluster: Cluster) -> bool:
    """The backup server is never down at the same time as a server of the database."""
    return one.name == cluster[Postgres].backup.host and POSTGRES in {*one.roles, *other.roles}


section = Section(
    "postgres",
    on=POSTGRES,
    whole=with_repository,
    runbook="Database HA",
    about="PostgreSQL on three servers: Patroni fails over, etcd decides who leads.",
    roles=(POSTGRES,),
    settings=Postgres,
    after=("python-build.start", "tls"),
    restarts=("patroni.service", "etcd.service", "pgbouncer.service"),
    accounts=("postgres", "etcd", "pgbackrest", "pgbouncer"),
    conflict=backup_and_member,
    goes_on=True,
)

SUPERUSER = section.secret("postgres_superuser", "PostgreSQL's superuser postgres")
REPLICATION = section.secret(
    "postgres_replication", "the role replicator, with which replicas follow"
)
REWIND = section.secret("postgres_rewind", "the role rewinder, with which an old leader rejoins")
AIRFLOW = section.secret("postgres_airflow", "the role airflow, the owner of the database")
BACKUP_KEY = section.secret(
    "postgres_backup",
    "the repository of backups, if postgres.backup.encrypted; without it no restore is possible",
    length=64,
)
REST_API = section.secret("patroni_restapi", "Patroni's REST API, for changes")

ROLES = {
    "postgres": SUPERUSER,
    "replicator": REPLICATION,
    "rewinder": REWIND,
    "airflow": AIRFLOW,
}
"""Roles of the database and their passwords."""

ETCD_CONF = "/etc/etcd/etcd.conf"


def proxies(host: Host, cluster: Cluster) -> Iterable[str]:
    """Where clients reach the database through HAProxy, which hands on what it cannot read."""
    vips = [vip for vip in cluster.vips.values() if vip.role == HAPROXY]
    return tls.places([*cluster.group(HAPROXY), *vips])


MAKE = "postgres.keys postgres.certificates"
ETCD_TLS = tls.service("etcd", POSTGRES, "etcd", MAKE, client=True)
PATRONI_TLS = tls.service("patroni", POSTGRES, "postgres", MAKE, client=True)
SESSIONS_TLS = tls.service("postgresql", POSTGRES, "postgres", MAKE, also=proxies)
PATRONI_READS = reloaded("patroni.service")
"""Patroni reads its settings and its certificate again."""

PATRONI = "/etc/patroni/patroni.yml"
PATRONICTL = f"patronictl -c {PATRONI}"
SCRIPTS = "/usr/libexec/postgres-ha"
DUMPS = "/var/lib/pgsql/airflow-dumps"
"""Where airflow.upgrade dumps the database."""
APART = "etcd-apart.service"
BY_POSTGRES = "runuser -u postgres --"
"""How root works in folders of the user postgres: with only the rights that postgres has there."""
PSQL = f"{BY_POSTGRES} psql -X -q -A -t -v ON_ERROR_STOP=1"


def rest(host: Host) -> str:
    """Words for curl on the servers of the database: the URL of Patroni's REST API on one of them.

    Patroni's settings say whether it speaks TLS, so the words are right while that changes, too.
    """
    return (
        _words(f'grep -qs "^  verify_client: " {PATRONI}', f"{tls.for_clients()} https", "http")
        + f"://{host.address}:8008"
    )


OVER_TLS = f'grep -qs "^ETCD_LISTEN_CLIENT_URLS=.*https:" {ETCD_CONF}'
"""A test: etcd on this server listens with TLS."""


def etcd_url(address: str) -> str:
    """Words for curl, as root on the servers of the database: the URL of etcd on one of them."""
    over_tls = f"{tls.for_clients(ETCD_TLS)} https"
    return f"{_words(OVER_TLS, over_tls, 'http')}://{address}:2379"


def etcdctl(servers: Sequence[Host] = ()) -> str:
    """The command etcdctl, as root on the servers of the database, for some of them or this one."""
    addresses = [host.address for host in servers] or ["127.0.0.1"]

    def options(scheme: str) -> str:
        return "--endpoints=" + ",".join(f"{scheme}://{one}:2379" for one in addresses)

    files = f"--cacert={tls.TRUSTED} --cert={ETCD_TLS.certificate} --key={ETCD_TLS.key}"
    return "etcdctl " + _words(OVER_TLS, f"{files} {options('https')}", options("http"))


def _words(test: str, so: str, otherwise: str) -> str:
    """Words of a command that depend on a test."""
    return f"$({test} && echo {so} || echo {otherwise})"


CONFIGURED = Fact(
    "whether Patroni has been set up",
    on=POSTGRES,
    command=lambda cluster, host: f"[[ -e {PATRONI} ]] && echo yes || echo no",
    parse=lambda text: one(text.strip(), YesNo) == "yes",
    absent="it does not answer",
)


HAS_DATABASE = Fact(
    "whether it has a database",
    on=POSTGRES,
    command=lambda cluster, host: (
        f"if [[ -e {data(cluster)}/PG_VERSION ]]; then echo yes; else echo no; fi"
    ),
    parse=lambda text: text.strip() == "yes",
    absent="it does not answer",
)


def _major(text: str) -> str:
    running = re.search(r'"server_version": ?([0-9]{1,2})[0-9]{4}\b', text)
    configured = re.search(r"^ *bin_dir: /usr/pgsql-([0-9]{1,2})/bin$", text, re.MULTILINE)
    found = running or configured
    return found[1] if found else ""


MAJOR = Fact(
    "the major version of PostgreSQL",
    on=POSTGRES,
    command=lambda cluster, host: (
        f"curl -s -m 3 {rest(host)}/patroni; echo\ngrep '^ *bin_dir: ' {PATRONI} 2>/dev/null || :"
    ),
    parse=_major,
    absent="it does not answer",
)
"""Of the running server, else of Patroni's settings; empty if there is no cluster yet."""


def refuse_another_major(cluster: Cluster, facts: Facts) -> None:
    """Refuse another major version, with which a restarted server could not use its data."""
    wanted = cluster[Versions].postgresql
    for name, major in facts.known(MAJOR).items():
        if major and major != wanted:
            way = "To upgrade" if int(major) < int(wanted) else "To go back after an upgrade"
            back = "" if int(major) < int(wanted) else " --back"
            raise RunbookError(
                f"The database cluster runs PostgreSQL {major} (on {name}), but "
                f"{cluster.file.name} asks for {wanted}, which cannot use its data. {way}: fab "
                f"postgres.upgrade --major{back}. Otherwise set versions.postgresql to "
                f'"{major}".'
            )


def refuse_new_passwords(cluster: Cluster, facts: Facts) -> None:
    """Refuse to run without secrets.yaml: a database that exists would get new passwords."""
    if any(facts.known(CONFIGURED).values()) and not cluster.vault.knows(SUPERUSER):
        raise RunbookError(
            f"The database has passwords, but {cluster.vault.file} has none of them. Copy that "
            "file here from the machine that set up the cluster. New ones would lock Airflow out."
        )


def binaries(cluster: Cluster, major: str = "") -> str:
    """Where PGDG puts PostgreSQL's programs; those of another major version if one is named."""
    return f"/usr/pgsql-{major or cluster[Versions].postgresql}/bin"


def data(cluster: Cluster, major: str = "") -> str:
    """PostgreSQL's data directory; that of another major version if one is named."""
    return f"/var/lib/pgsql/{major or cluster[Versions].postgresql}/data"


def members(cluster: Cluster) -> list[Host]:
    """The servers of the database cluster."""
    return cluster.group(POSTGRES)


def key(cluster: Cluster, name: str) -> str:
    """Where Patroni keeps something in etcd."""
    return f"/service/{cluster.name}/{name}"
