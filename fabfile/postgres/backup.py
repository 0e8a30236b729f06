"""pgBackRest on the servers that are backed up and on the one that keeps the backups.

They talk over TLS. Each makes its own key and certificate, and trusts exactly the certificates of
the others: no key ever leaves its server, and there is no authority to protect.
"""

from __future__ import annotations

import re
from typing import Annotated

from runbook.declare import steps
from runbook.declare.answers import one
from runbook.declare.facts import Fact, Facts
from runbook.declare.step import Step, Steps
from runbook.declare.templates import script
from runbook.errors import RunbookError
from runbook.inventory.cluster import Cluster, Host
from runbook.inventory.entry import named

from ..shared.firewall import let_in
from ..shared.roles import POSTGRES
from .common import (
    BACKUP_KEY,
    BY_POSTGRES,
    HAS_DATABASE,
    MAJOR,
    data,
    members,
    refuse_another_major,
    section,
)
from .settings import Postgres
from .versions import BACKUP, INSTALLED, installed_alike

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


KEEPS = Fact(
    "whether the repository keeps backups of this database",
    on=repository_hosts,
    command=lambda cluster, host: (
        f"if [[ -s {cluster[Postgres].backup.path}/backup/{cluster.name}/backup.info ]]; then "
        "echo yes; else echo no; fi"
    ),
    parse=lambda text: text.strip() == "yes",
    absent="it does not answer",
)


def refuse_to_begin_empty(cluster: Cluster, facts: Facts) -> None:
    """Refuse to create an empty database if the repository has backups of a lost one."""
    if any(facts.known(HAS_DATABASE).values()) or not facts.asked(KEEPS):
        return
    for keeper in repository_hosts(cluster):
        if facts.of(KEEPS, keeper):
            path = cluster[Postgres].backup.path
            raise RunbookError(
                f"{keeper.name} keeps backups of the database {cluster.name}, but no server has "
                "it. To restore it: fab postgres.restore latest --onto-new-servers --i-know. To "
                f"begin with an empty one instead: mv {path} {path}.old on {keeper.name}"
            )


def keeper(cluster: Cluster, host: Host) -> list[Host]:
    """The server that keeps the backups (`postgres.backup.host`)."""
    return repository_hosts(cluster)


def backed_up(cluster: Cluster) -> list[Host]:
    """The servers that are backed up; none without a place for backups."""
    return members(cluster) if repository_hosts(cluster) else []


section.port(PORT, PURPOSE, keeper, on=backed_up)
section.port(PORT, PURPOSE, POSTGRES, on=repository_hosts)

PEM = "-----BEGIN CERTIFICATE-----\\n(?:[A-Za-z0-9+/=]{1,64}\\n){1,100}-----END CERTIFICATE-----"

Certificate = Annotated[
    str,
    named("one certificate (PEM)", PEM),
]

CERTIFICATE = Fact(
    "the backup certificate",
    on=participants,
    command=lambda cluster, host: f"{BY_POSTGRES} cat {TLS}/host.crt",
    parse=lambda text: one(text.strip(), Certificate),
    absent="fab postgres.backup-keys creates it",
)


def by_name(text: str) -> dict[str, str]:
    """The certificates in peers.crt: each follows a line with the name of its server."""
    found = re.findall(rf"^# ([a-z0-9.-]+)\n({PEM})$", text, re.MULTILINE)
    return dict(found)


TRUSTED = Fact(
    "the backup certificates that it trusts",
    on=participants,
    command=lambda cluster, host: f"{BY_POSTGRES} cat {TLS}/peers.crt",
    parse=by_name,
    absent="fab postgres.backup-network writes them",
)


def certificates(host: Host, cluster: Cluster, facts: Facts) -> str:
    """The certificates of all servers, for this one.

    Of a server that cannot be reached, it is the one that this server trusts already, or else the
    one that all others trust. One that has never been set up is left out.
    """
    blocks = []
    for peer in participants(cluster):
        text = facts.known(CERTIFICATE).get(peer.name) or _kept(host, peer, facts)
        if text:
            blocks.append(f"# {peer.name}\n{text}")
    return "\n".join(blocks)


def _kept(host: Host, peer: Host, facts: Facts) -> str:
    """The certificate under which others know a server that cannot be reached."""
    trusted = facts.known(TRUSTED)
    if peer.name in trusted.get(host.name, {}):
        return trusted[host.name][peer.name]
    known = {one[peer.name] for one in trusted.values() if peer.name in one}
    return known.pop() if len(known) == 1 else ""


@section.task(on=participants, needs=[INSTALLED])
def backup_keys(host: Host, cluster: Cluster, facts: Facts) -> Steps:
    """Install pgBackRest, a key and a certificate on every server involved in backups."""
    yield from installed_alike(host, BACKUP, facts)
    yield steps.directory("/etc/pgbackrest", "0755")
    yield steps.directory(TLS, "0700", "postgres", "postgres")
    yield steps.command(
        f"{host.name} has a key and a certificate for backups",
        script("postgres/backup-key.sh", folder=TLS, name=host.name),
        unless=f"{BY_POSTGRES} openssl x509 -in {TLS}/host.crt -noout -checkend 2592000 "
        f"&& [[ -s {TLS}/host.key ]]",
    )


@section.task(on=participants, needs=[CERTIFICATE, TRUSTED, MAJOR])
def backup_network(host: Host, cluster: Cluster, facts: Facts) -> Steps:
    """Set up pgBackRest and its TLS server, for this cluster's servers only."""
    refuse_another_major(cluster, facts)
    restart = steps.restarted("pgbackrest.service")
    if host in repository_hosts(cluster):
        yield same_encryption(cluster)
    yield from let_in(host, cluster)
    facts.of(CERTIFICATE, host)
    yield steps.file(
        f"{TLS}/peers.crt",
        certificates(host, cluster, facts),
        owner="postgres",
        group="postgres",
    ).then(restart)
    yield configuration(host, cluster)
    yield steps.unit("pgbackrest.service", "postgres/pgbackrest.service.j2", {}).then(restart)
    yield steps.service("pgbackrest.service")


def configuration(host: Host, cluster: Cluster) -> Step:
    """pgBackRest's settings; they name the data directory of the wanted major version."""
    repository = host in repository_hosts(cluster)
    encrypted = cluster[Postgres].backup.encrypted
    context = {
        "cluster": cluster,
        "backup": cluster[Postgres].backup,
        "members": members(cluster),
        "repository": repository_hosts(cluster)[0],
        "tls": TLS,
        "data": data(cluster),
        "cipher": cluster.secret(BACKUP_KEY) if repository and encrypted else "",
    }
    source = "pgbackrest-repository.conf.j2" if repository else "pgbackrest.conf.j2"
    private = {"mode": "0640", "group": "postgres", "hide": "cipher-pass="} if encrypted else {}
    conf = steps.template("/etc/pgbackrest.conf", f"postgres/{source}", context, **private)
    return conf.then(steps.restarted("pgbackrest.service"))


def same_encryption(cluster: Cluster) -> Step:
    """A repository is encrypted from its beginning, or not at all."""
    backup = cluster[Postgres].backup
    info = f"{backup.path}/archive/{cluster.name}/archive.info"
    is_encrypted = f"[[ $(head -c 8 {info}) == Salted__ ]]"
    test = is_encrypted if backup.encrypted else f"! {is_encrypted}"
    return steps.precondition(
        "the repository is " + ("encrypted" if backup.encrypted else "not encrypted"),
        f"[[ ! -s {info} ]] || {test}",
        f"echo 'The repository in {backup.path} was created otherwise. Set postgres.backup.path'\n"
        "echo 'to a new directory, or set postgres.backup.encrypted back.'",
    )
