"""Another CA for the cluster, while everything runs: both are trusted in between."""

from __future__ import annotations

from collections.abc import Sequence

from runbook.declare.facts import Facts
from runbook.declare.step import Step, Steps
from runbook.declare.steps import command, reloaded
from runbook.declare.work import Procedure, Question, asked_again, stage
from runbook.errors import RunbookError
from runbook.inventory.cluster import Cluster, Host

from ..haproxy.common import UNIT as HAPROXY
from ..haproxy.common import proxies
from ..postgres.before_upgrade import refuse_unless_whole
from ..postgres.common import members
from ..postgres.etcd import ETCD, healthy
from ..postgres.members import MEMBER
from ..rabbitmq.common import RABBITMQ_TLS
from ..rabbitmq.transport import READS
from ..shared import tls
from ..shared.tls import CA, FORMER_CA, NEXT_CA
from .common import HELD, TRUSTS, held, section
from .renew import renewed


@section.procedure(needs=[TRUSTS, ETCD, MEMBER, *HELD])
def rotate_ca(hosts: Sequence[Host], cluster: Cluster, facts: Facts) -> Procedure:
    """Change to a new CA, or to the one of `fab tls.use-ca`. Asks first.

    All servers trust the old one and the new one first; then all certificates are signed by the
    new one; then the old one is forgotten. etcd's members restart twice, one after the other. If it
    is interrupted, rerun the command.
    """
    refuse_unless_possible(cluster, facts)
    vault = cluster.vault
    yield Question("All servers change to another CA. No service stops.")
    if not vault.knows(FORMER_CA):
        if not vault.knows(NEXT_CA):
            vault.renew(NEXT_CA)
        yield from all_trust(cluster, facts, "the old CA and the new one")
        vault.put(FORMER_CA, cluster.secret(CA))
        vault.put(CA, cluster.secret(NEXT_CA))
        vault.forget(NEXT_CA)
        yield asked_again(*HELD)
    for host in cluster.hosts.values():
        if held(host, facts):
            yield from renewed(host, cluster, facts, anew=False)
    vault.forget(FORMER_CA)
    yield asked_again(*HELD)
    yield from all_trust(cluster, facts, "the new CA only")


def refuse_unless_possible(cluster: Cluster, facts: Facts) -> None:
    """Refuse while a server that trusts the CA may be missing, or the database is not well."""
    if not cluster.vault.knows(CA):
        raise RunbookError(f"{cluster.vault.file} has no {CA.name}; fab tls makes a CA.")
    cluster.vault.refuse_overridden(CA)
    away = [host.name for host in cluster.hosts.values() if host.name not in facts.known(TRUSTS)]
    if away:
        raise RunbookError(
            f"{', '.join(away)} does not answer; it would not know the new CA. Bring it back first."
        )
    if any(held(host, facts) for host in members(cluster)):
        refuse_unless_whole(cluster, facts)


def all_trust(cluster: Cluster, facts: Facts, which: str) -> Procedure:
    """Every server trusts the CAs of secrets.yaml, and so does what runs there.

    HAProxy, RabbitMQ and Patroni read them again. Patroni does so for a certificate that is new to
    it.
    """
    there = [host for host in cluster.hosts.values() if facts.known(TRUSTS).get(host.name)]
    yield stage(f"all servers trust {which}", there, lambda host: trusts(host, cluster, facts))
    for host in members(cluster):
        if held(host, facts):
            yield stage(
                f"etcd on {host.name} trusts {which}", host, restarted_since(), healthy(host)
            )
            yield from renewed(host, cluster, facts, anew=True)


def trusts(host: Host, cluster: Cluster, facts: Facts) -> Steps:
    """The file of CAs; HAProxy reads it when it reloads, RabbitMQ when it is told to."""
    step = tls.trust_file(cluster)
    if host in proxies(cluster):
        step = step.then(reloaded(HAPROXY))
    if RABBITMQ_TLS in held(host, facts):
        step = step.then(READS)
    yield step


def restarted_since() -> Step:
    """etcd has started after the file of CAs was written."""
    started = '$(date -d "$(systemctl show -p ActiveEnterTimestamp --value etcd)" +%s)'
    return command(
        "etcd has read the CAs",
        "systemctl restart etcd",
        unless=f"(({started} > $(stat -c %Y {tls.TRUSTED})))",
        timeout=120,
    )
