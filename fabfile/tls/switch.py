"""From clear to TLS and back, while everything runs: one service of one server after the other.

Each stage leaves a cluster in which all reach each other, so it may be interrupted anywhere: the
same command continues, and the opposite one goes back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from runbook.declare import steps
from runbook.declare.facts import Facts
from runbook.declare.step import Step, Steps
from runbook.declare.steps import command, wait_for
from runbook.declare.work import Procedure, Question, Stage, asked_again, stage
from runbook.errors import RunbookError, UsageError
from runbook.inventory.cluster import Cluster, Host

from ..haproxy import proxy
from ..haproxy.common import HEALTH, proxies
from ..haproxy.web import door
from ..postgres import patroni, snapshots, transport
from ..postgres.before_upgrade import refuse_unless_whole
from ..postgres.common import etcdctl, members, rest
from ..postgres.etcd import ETCD, RESTART, configuration, healthy, listed, peer, peer_at
from ..postgres.members import MEMBER, in_its_place, leader, replicas, serves
from ..postgres.operate import handover
from ..postgres.pools import pooled
from ..postgres.rotate import in_place
from ..postgres.settings import Postgres
from ..postgres.transport import SERVICES, TRANSPORT
from ..shared import tls
from ..shared.transport import Speaks, beyond
from . import switch_services as services
from .common import section

CLEAR, BOTH, TLS = Speaks

TARGETS = {"tls": TLS, "clear": CLEAR}


@section.procedure(
    needs=[
        TRANSPORT,
        ETCD,
        MEMBER,
        proxy.ASKS,
        *(one.held for one in SERVICES),
        *services.NEEDS,
    ],
    help={"to": "tls or clear"},
)
def switch(hosts: Sequence[Host], cluster: Cluster, facts: Facts, *, to: str = "tls") -> Procedure:
    """Change the cluster from clear to TLS, or back with --to clear. Asks first.

    The database stays up: etcd's members restart one after the other; so does Patroni, with a
    handover of about two seconds. Airflow restarts server by server; workers end their tasks first.
    If it is interrupted, rerun the command. Afterwards set tls.enabled in hosts.yaml accordingly,
    for servers that come later. How RabbitMQ's nodes speak with each other is changed by
    `fab rabbitmq.switch-nodes`.
    """
    if to not in TARGETS:
        raise UsageError(f"--to {to} is neither tls nor clear.")
    target = TARGETS[to]
    refuse_unless_ready(cluster, facts)
    services.refuse_unless_all_answer(cluster, facts)
    yield Question(services.question(cluster, target))
    yield from prepared(cluster, facts)
    yield from (to_tls if target == TLS else to_clear)(cluster, facts)


def to_tls(cluster: Cluster, facts: Facts) -> Procedure:
    """First all servers understand TLS, then their clients use it, then nothing else is left."""
    yield from etcd_as(BOTH, TLS, cluster, facts)
    yield from patroni_restarts_as(BOTH, TLS, cluster, facts)
    yield from etcd_as(TLS, TLS, cluster, facts)
    if any(_patroni(host, facts) < TLS for host in members(cluster)):
        yield from proxies_as(BOTH, cluster, facts)
    yield from patroni_reads(TLS, TLS, cluster, facts)
    yield from proxies_as(TLS, cluster, facts)
    yield from services.to_tls(cluster, facts)


def to_clear(cluster: Cluster, facts: Facts) -> Procedure:
    """The same, backwards."""
    yield from services.to_clear(cluster, facts)
    if any(_patroni(host, facts) > BOTH for host in members(cluster)):
        yield from proxies_as(BOTH, cluster, facts)
    yield from patroni_reads(BOTH, CLEAR, cluster, facts)
    yield from proxies_as(CLEAR, cluster, facts)
    yield from etcd_as(BOTH, CLEAR, cluster, facts)
    yield from patroni_restarts_as(CLEAR, CLEAR, cluster, facts)
    yield from etcd_as(CLEAR, CLEAR, cluster, facts)


def refuse_unless_ready(cluster: Cluster, facts: Facts) -> None:
    """Refuse unless the database and all proxies are there, and well."""
    known = facts.known(TRANSPORT)
    if not any(one.etcd is not None or one.patroni is not None for one in known.values()):
        raise RunbookError("There is no database yet. It begins as tls.enabled in hosts.yaml says.")
    refuse_unless_whole(cluster, facts)
    without = [host.name for host in pooled(cluster) if facts.of(TRANSPORT, host).pooler is None]
    if without:
        raise RunbookError(
            f"{', '.join(without)} has no PgBouncer, which {cluster.file.name} asks for. To set it "
            "up: fab postgres"
        )
    away = [host.name for host in proxies(cluster) if host.name not in facts.known(proxy.ASKS)]
    if away:
        raise RunbookError(
            f"{', '.join(away)} does not answer; it would no longer find the database. "
            "See fab haproxy.check."
        )


def _etcd(host: Host, facts: Facts) -> Speaks:
    return facts.of(TRANSPORT, host).etcd or CLEAR


def _patroni(host: Host, facts: Facts) -> Speaks:
    return facts.of(TRANSPORT, host).patroni or CLEAR


def prepared(cluster: Cluster, facts: Facts) -> Procedure:
    """Keys, certificates, and programs that use them where they are needed."""
    yield stage(
        "keys for etcd and Patroni",
        members(cluster),
        lambda host: (step for one in SERVICES for step in tls.keys(one)),
    )
    yield asked_again(*(one.held for one in SERVICES))
    yield stage(
        "certificates",
        members(cluster),
        lambda host: transport.certified(host, cluster, facts),
        lambda host: patroni.own_etcd_first(),
        lambda host: patroni.apart(),
        lambda host: snapshots.etcd_snapshots(host, cluster),
    )


def etcd_as(state: Speaks, target: Speaks, cluster: Cluster, facts: Facts) -> Iterator[Stage]:
    """etcd on each server, one after the other, listens in this way, also to its peers."""
    for host in members(cluster):
        if not beyond(_etcd(host, facts), state, target):
            yield stage(
                f"etcd on {host.name} speaks {state.spoken}",
                host,
                lambda one: restarted(one, cluster, facts, state),
            )


def at_once(step: Step, then: str) -> Step:
    """A file, and the command by which its service uses it: what asks the service reads the file.

    A run that is interrupted in between would leave a service that nobody finds.
    """
    return replace(step, apply=f"{step.apply}\n{then}", notify=(), timeout=300)


def restarted(host: Host, cluster: Cluster, facts: Facts, speaks: Speaks) -> Steps:
    """etcd runs with other settings; the others know before how its peers' listener speaks.

    Until it has restarted, they do not reach it; it reaches them. It is asked itself: whether the
    others speak TLS still, its own settings do not say.
    """
    there, ctl = peer(host, speaks), etcdctl()
    for own in listed(facts):
        if own.at == peer_at(host):
            yield command(
                f"etcd's members reach {host.name} at {there}",
                f"{ctl} member update {own.id} --peer-urls={there}",
                unless=f"{ctl} member list | grep ', {there},' >/dev/null",
                timeout=60,
            )
    yield at_once(configuration(host, cluster, speaks), "systemctl restart etcd").clearing(RESTART)
    if speaks == BOTH:
        yield answers_in_clear(host)
    yield healthy(host)


def answers_in_clear(host: Host) -> Step:
    """etcd also serves clients in clear: 3.4, if it listens both ways, does so on some starts only.

    Measured with 3.4.23: at about half of its starts; 3.5.16 at all.
    """
    asked = f"etcdctl --endpoints=http://{host.address}:2379 endpoint health"
    again = f"""for _ in {{1..10}}; do
  if {asked}; then break; fi
  systemctl restart etcd
done
{asked}"""
    return command(f"etcd on {host.name} answers in clear, too", again, unless=asked, timeout=180)


def patroni_restarts_as(state: Speaks, target: Speaks, cluster: Cluster, facts: Facts) -> Procedure:
    """Patroni on each server, the leader last, uses etcd in this way, for which it restarts."""
    first = leader(cluster, facts)
    view = facts.of(MEMBER, first)
    order = sorted(replicas(cluster, facts), key=lambda host: view.is_synchronous(host.name))
    for host in (*order, first):
        if beyond(_patroni(host, facts), state, target):
            continue
        sessions = transport.sessions_speak(host, cluster, facts)
        title = f"Patroni on {host.name} uses etcd {'in clear' if state == CLEAR else 'over TLS'}"
        if _patroni(host, facts) == state:
            settings = patroni.configuration(host, cluster, state, sessions)
            yield stage(title, host, settings, lambda one: patroni_restarted(one, cluster))
            continue
        if host == first and len(members(cluster)) > 1:
            yield stage(f"hand over from {host.name}", host, handover(host, cluster))
        yield from out_of_the_way(host, cluster, state, sessions, title)


def out_of_the_way(
    host: Host, cluster: Cluster, state: Speaks, sessions: Speaks, title: str
) -> Procedure:
    """Patroni restarts with other settings, while no commit waits for this server."""
    aside = cluster[Postgres].synchronous_mode and len(members(cluster)) > 2
    settings = patroni.configuration(host, cluster, state, sessions)
    if aside:
        away = patroni.configuration(host, cluster, state, sessions, aside=True)
        away = away.then(patroni.RESTART)
        yield stage(f"no commit waits for {host.name}", host, away)
    yield stage(
        title,
        host,
        *([not_synchronous(host)] if aside else [settings.then(patroni.RESTART)]),
        lambda one: patroni_restarted(one, cluster),
    )
    if aside:
        yield stage(f"commits may wait for {host.name} again", host, settings)


def not_synchronous(host: Host) -> Step:
    """Another server is the synchronous standby."""
    test = f"! curl -sf -o /dev/null {rest(host)}/sync"
    return wait_for(f"another server than {host.name} is the synchronous standby", test)


def patroni_restarted(host: Host, cluster: Cluster) -> Steps:
    """Patroni runs with its settings, and the server leads or follows again."""
    again = f"systemctl restart patroni\nuntil {serves(host)}; do sleep 0.5; done"
    yield steps.restarted_if_noted("patroni.service", patroni.RESTART, again, timeout=900)
    yield in_its_place(host, cluster)


def patroni_reads(state: Speaks, target: Speaks, cluster: Cluster, facts: Facts) -> Iterator[Stage]:
    """Patroni's REST API on each server, one after the other, speaks in this way."""
    for host in members(cluster):
        if beyond(_patroni(host, facts), state, target):
            continue
        how = "TLS" if state == TLS else "in clear"
        title = f"Patroni's REST API on {host.name} speaks {how}"
        sessions = transport.sessions_speak(host, cluster, facts)
        settings = patroni.configuration(host, cluster, state, sessions)
        yield stage(title, host, at_once(settings, "systemctl reload patroni"))
        if _patroni(host, facts) != state:
            yield stage(f"{host.name} answers, and all know where", host, in_place(host, cluster))


def proxies_as(speaks: Speaks, cluster: Cluster, facts: Facts) -> Iterator[Stage]:
    """HAProxy asks Patroni in this way, and finds the leader."""
    found = f"curl -sf -m 2 '{HEALTH}/stats;csv' | grep -qE '^primary,[^,]*,.*,UP,'"
    if proxies(cluster):
        yield stage(
            f"HAProxy asks Patroni {speaks.spoken}",
            proxies(cluster),
            lambda host: proxy.configuration(cluster, speaks, door(host, cluster, facts)),
        )
        yield stage(
            "HAProxy knows the leader", proxies(cluster), wait_for("it finds the leader", found)
        )
