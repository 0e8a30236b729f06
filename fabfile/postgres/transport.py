"""How etcd and Patroni speak: in clear, over TLS, or both while `fab tls.switch` changes that.

What is on the servers decides; `tls.enabled` of hosts.yaml decides only for what does not exist.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Optional

from runbook.declare.answers import lines_of
from runbook.declare.facts import Fact, Facts
from runbook.declare.step import Steps
from runbook.declare.templates import script
from runbook.inventory.cluster import Cluster, Host

from ..shared import tls
from ..shared.roles import POSTGRES
from .common import (
    ETCD_CONF,
    ETCD_TLS,
    PATRONI,
    PATRONI_READS,
    PATRONI_TLS,
    members,
    section,
)


class Speaks(IntEnum):
    """How a service speaks; what is lower can be reached by every client that is higher.

    BOTH, etcd: it listens both ways, and its peers speak in clear. BOTH, Patroni: it uses etcd over
    TLS and trusts the others' certificates, while its own REST API is still in clear.
    """

    CLEAR = 0
    BOTH = 1
    TLS = 2

    @property
    def word(self) -> str:
        """Its name, as settings and answers have it."""
        return self.name.lower()


@dataclass(frozen=True)
class Transport:
    """How etcd and Patroni on a server are set up to speak; None for what is not set up."""

    etcd: Optional[Speaks] = None
    patroni: Optional[Speaks] = None


WORDS = {"none": None, **{one.word: one for one in Speaks}}


def parse(text: str) -> Transport:
    """Parse the answer of TRANSPORT: two words."""
    etcd, patroni = lines_of(text, 2, 2)
    return Transport(WORDS[etcd], WORDS[patroni])


TRANSPORT = Fact(
    "how etcd and Patroni speak",
    on=POSTGRES,
    command=lambda cluster, host: script("postgres/transport.sh", etcd=ETCD_CONF, patroni=PATRONI),
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


def wanted(cluster: Cluster) -> Speaks:
    """How a new cluster is to speak."""
    return Speaks.TLS if cluster[tls.Tls].enabled else Speaks.CLEAR


def encrypted(host: Host, cluster: Cluster, facts: Facts) -> bool:
    """Whether etcd or Patroni on a server needs a certificate."""
    speaks = (etcd_speaks(host, cluster, facts), patroni_speaks(host, cluster, facts))
    return max(speaks) > Speaks.CLEAR


SERVICES: Sequence[tls.Service] = (ETCD_TLS, PATRONI_TLS)


@section.task(needs=[TRANSPORT])
def keys(host: Host, cluster: Cluster, facts: Facts) -> Steps:
    """Make the private keys of etcd and Patroni, unless they speak in clear."""
    if encrypted(host, cluster, facts):
        for one in SERVICES:
            yield from tls.keys(one)


@section.task(needs=[TRANSPORT, *(one.held for one in SERVICES)])
def certificates(host: Host, cluster: Cluster, facts: Facts) -> Steps:
    """Sign the certificates of etcd and Patroni, unless they speak in clear.

    etcd reads its certificate for each connection; Patroni reads it again when told to.
    """
    if encrypted(host, cluster, facts):
        yield from certified(host, cluster, facts)


def certified(host: Host, cluster: Cluster, facts: Facts, anew: bool = False) -> Steps:
    """Both services have a certificate; Patroni reads a new one at once."""
    yield from tls.certified(ETCD_TLS, host, cluster, facts, anew)
    yield tls.certificate(PATRONI_TLS, host, cluster, facts, anew).then(PATRONI_READS)
