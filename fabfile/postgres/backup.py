"""pgBackRest on the servers that are backed up and on the one that keeps the backups.

They talk over TLS. Each makes its own key and certificate, and trusts exactly the certificates of
the others: no key ever leaves its server, and there is no authority to protect.
"""

from __future__ import annotations

from typing import Annotated

from runbook.declare import steps
from runbook.declare.answers import one
from runbook.declare.facts import Fact, Facts
from runbook.declare.step import Steps
from runbook.declare.templates import script
from runbook.inventory.cluster import Cluster, Host
from runbook.inventory.entry import named

from ..shared.firewall import let_in
from ..shared.roles import POSTGRES
from .common import BY_POSTGRES, MAJOR, data, members, refuse_another_major, section
from .settings import Postgres

TLS = "/etc/pgbackrest/tls"
PORT, PURPOSE = "8432/tcp", "pgBackRest, over TLS; each trusts the certificates of the others only"
PGBACKREST = f"{BY_POSTGRES} pgbackrest"


def repository_hosts(cluster: Cluster) -> list[Host]:
    """The server that keeps the backups; none if hosts.yaml names none."""
    name = cluster[Postgres].backup.host
    return [cluster.hosts[name]] if name else []


def participants(cluster: Cluster) -> list[Host]:
    """All servers that run pgBackRest; none without a place for backups."""
    repository = repository_hosts(cluster)
    return [*members(cluster), *repository] if repository else []


def keeper(cluster: Cluster, host: Host) -> list[Host]:
    """The server that keeps the backups (`postgres.backup.host`)."""
    return repository_hosts(cluster)


def backed_up(cluster: Cluster) -> list[Host]:
    """The servers that are backed up; none without a place for backups."""
    return members(cluster) if repository_hosts(cluster) else []


section.port(PORT, PURPOSE, keeper, on=backed_up)
section.port(PORT, PURPOSE, POSTGRES, on=repository_hosts)

Certificate = Annotated[
    str,
    named(
        "one certificate (PEM)",
        "-----BEGIN CERTIFICATE-----\\n(?:[A-Za-z0-9+/=]{1,64}\\n){1,100}-----END CERTIFICATE-----",
    ),
]

CERTIFICATE = Fact(
    "the backup certificate",
    on=participants,
    command=lambda cluster, host: f"{BY_POSTGRES} cat {TLS}/host.crt",
    parse=lambda text: one(text.strip(), Certificate),
    absent="fab postgres.backup-keys creates it",
)


@section.task(on=participants)
def backup_keys(host: Host, cluster: Cluster) -> Steps:
    """Install pgBackRest, a key and a certificate on every server involved in backups."""
    yield steps.packages("pgbackrest")
    yield steps.directory("/etc/pgbackrest", "0755")
    yield steps.directory(TLS, "0700", "postgres", "postgres")
    yield steps.command(
        f"{host.name} has a key and a certificate for backups",
        script("postgres/backup-key.sh", folder=TLS, name=host.name),
        unless=f"{BY_POSTGRES} openssl x509 -in {TLS}/host.crt -noout -checkend 2592000 "
        f"&& [[ -s {TLS}/host.key ]]",
    )


@section.task(on=participants, needs=[CERTIFICATE, MAJOR])
def backup_network(host: Host, cluster: Cluster, facts: Facts) -> Steps:
    """Set up pgBackRest and its TLS server, for this cluster's servers only."""
    refuse_another_major(cluster, facts)
    everybody = participants(cluster)
    repository = host in repository_hosts(cluster)
    restart = steps.restarted("pgbackrest.service")
    yield from let_in(host, cluster)
    yield steps.file(
        f"{TLS}/peers.crt",
        "\n".join(facts.of(CERTIFICATE, other) for other in everybody),
        owner="postgres",
        group="postgres",
    ).then(restart)
    context = {
        "cluster": cluster,
        "backup": cluster[Postgres].backup,
        "members": members(cluster),
        "repository": repository_hosts(cluster)[0],
        "tls": TLS,
        "data": data(cluster),
    }
    source = "pgbackrest-repository.conf.j2" if repository else "pgbackrest.conf.j2"
    yield steps.template("/etc/pgbackrest.conf", f"postgres/{source}", context).then(restart)
    yield steps.unit("pgbackrest.service", "postgres/pgbackrest.service.j2", {}).then(restart)
    yield steps.service("pgbackrest.service")
