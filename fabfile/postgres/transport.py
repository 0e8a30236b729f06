"""How the services of the database speak: in clear, over TLS, or both during `fab tls.switch`.

What is on the servers decides; `tls.enabled` of hosts.yaml decides only for what does not exist.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

from runbook.declare.answers import lines_of
from runbook.declare.facts import Fact, Facts
from runbook.declare.step import Steps
from runbook.declare.steps import reloaded
from runbook.declare.templates import script
from runbook.inventory.cluster import Cluster, Host

from ..shared import tls
from ..shared.roles import POSTGRES
from ..shared.transport import WORDS, Speaks, wanted
from ..shared.versions import Versions
from .common import (
    ETCD_CONF,
    ETCD_TLS,
    PATRONI,
    PATRONI_READS,
    PATRONI_TLS,
    SESSIONS_TLS,
    members,
    section,
)
from .pools import INI, POOLER_TLS, UNIT, pooled


@dataclass(frozen=True)
class Transport:
    """How a server of the database is set up to speak; None for what is not set up.

    BOTH, etcd: it listens both ways, and its peers speak in clear. BOTH, Patroni: it uses etcd over
    TLS and trusts the others' certificates, while its own REST API is still in clear; with a
    certificate of its own it could not ask those that are (request.py of Patroni 3 and 4: it hands
    assert_hostname to connections in clear). `sessions`:
    those of PostgreSQL's clients; with TLS, also its replicas verify the leader. `pooler`: those of
    PgBouncer's, if hosts.yaml asks for it.
    """

    etcd: Optional[Speaks] = None
    patroni: Optional[Speaks] = None
    sessions: Optional[Speaks] = None
    pooler: Optional[Speaks] = None


def parse(text: str) -> Transport:
    """Parse the answer of TRANSPORT: four words."""
    return Transport(*(WORDS[word] for word in lines_of(text, 4, 4)))


def words(etcd: object, patroni: object, pooler: object = "/dev/null") -> str:
    """The command that reads these words in files of a server."""
    files = {"etcd": etcd, "patroni": patroni, "pooler": pooler}
    return script("postgres/transport.sh", **files, unit=UNIT)


TRANSPORT = Fact(
    "how the servers of the database speak",
    on=POSTGRES,
    command=lambda cluster, host: words(ETCD_CONF, PATRONI, *([INI] if pooled(cluster) else [])),
    parse=parse,
    absent="it does not answer",
)


def etcd_speaks(host: Host, cluster: Cluster, facts: Facts) -> Speaks:
    """How etcd on a server speaks, or has to if it is new: as the others, or as hosts.yaml says."""
    known = facts.known(TRANSPORT)
    own = known[host.name].etcd if host.name in known else None
    others = [one.etcd for one in known.values() if one.etcd is not None]
    return own if own is not None else min(others, default=wanted(cluster))


def patroni_speaks(host: Host, cluster: Cluster, facts: Facts) -> Speaks:
    """How Patroni on a server speaks, or has to if it is new: as the others, or else as etcd."""
    known = facts.known(TRANSPORT)
    own = known[host.name].patroni if host.name in known else None
    others = [one.patroni for one in known.values() if one.patroni is not None]
    if own is not None:
        return own
    return min(others, default=etcd_speaks(host, cluster, facts))


def rest_speaks(cluster: Cluster, facts: Facts) -> Speaks:
    """How the REST APIs of all servers speak, for clients of them: BOTH if they differ."""
    found = {patroni_speaks(host, cluster, facts) for host in members(cluster)}
    over_tls = {one == Speaks.TLS for one in found}
    return Speaks.BOTH if len(over_tls) > 1 else Speaks.TLS if True in over_tls else Speaks.CLEAR


def sessions_speak(host: Host, cluster: Cluster, facts: Facts) -> Speaks:
    """How PostgreSQL on a server speaks, or has to if it is new: as the others, or as Patroni."""
    known = facts.known(TRANSPORT)
    own = known[host.name].sessions if host.name in known else None
    others = [one.sessions for one in known.values() if one.sessions is not None]
    if own is not None:
        return own
    as_patroni = Speaks.TLS if patroni_speaks(host, cluster, facts) else Speaks.CLEAR
    return min(others, default=as_patroni)


def encrypted(host: Host, cluster: Cluster, facts: Facts) -> bool:
    """Whether etcd, Patroni or PostgreSQL on a server needs a certificate."""
    return any(ask(host, cluster, facts) for ask in (etcd_speaks, patroni_speaks, sessions_speak))


SERVICES: Sequence[tls.Service] = (ETCD_TLS, PATRONI_TLS, SESSIONS_TLS)
"""Those that every server of the database has; PgBouncer has one where it runs."""
ALL_HELD = tuple(one.held for one in (*SERVICES, POOLER_TLS))


@section.task(needs=[TRANSPORT])
def keys(host: Host, cluster: Cluster, facts: Facts) -> Steps:
    """Make the private keys of the database, unless it speaks in clear."""
    if encrypted(host, cluster, facts):
        for one in tls.all_on((*SERVICES, POOLER_TLS), host, cluster):
            yield from tls.keys(one)


@section.task(needs=[TRANSPORT, *ALL_HELD])
def certificates(host: Host, cluster: Cluster, facts: Facts) -> Steps:
    """Sign the certificates of the database, unless it speaks in clear.

    They are those of etcd, Patroni and PostgreSQL, and of PgBouncer if `postgres.pooler` asks for
    it. etcd reads its certificate for each connection; the others read theirs again when told to.
    """
    if encrypted(host, cluster, facts):
        yield from certified(host, cluster, facts)
        if host in pooled(cluster):
            yield from pooler_certified(host, cluster, facts)


def pooler_certified(host: Host, cluster: Cluster, facts: Facts, anew: bool = False) -> Steps:
    """PgBouncer has a certificate, and reads a new one at once; its clients stay connected."""
    yield from tls.trust(cluster)
    yield tls.certificate(POOLER_TLS, host, cluster, facts, anew).then(reloaded(UNIT))


def certified(host: Host, cluster: Cluster, facts: Facts, anew: bool = False) -> Steps:
    """All three have a certificate; Patroni and PostgreSQL read a new one at once."""
    yield from tls.certified(ETCD_TLS, host, cluster, facts, anew)
    for one in (PATRONI_TLS, SESSIONS_TLS):
        yield tls.certificate(one, host, cluster, facts, anew).then(PATRONI_READS)


SESSIONS_OVER_TLS = f"grep -qs '^    - hostssl ' {PATRONI}"
"""A test: PostgreSQL on this server refuses sessions in clear."""


def verify(cluster: Cluster) -> str:
    """How replicas verify the leader, whose address they know (libpq 15, "sslmode").

    Earlier releases do not compare addresses with those of the certificate.
    """
    return "verify-full" if int(cluster[Versions].postgresql) >= 15 else "verify-ca"
