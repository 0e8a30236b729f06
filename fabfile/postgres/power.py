"""How the database starts and stops with the whole cluster, and how it frees a server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated

from runbook.declare.answers import one
from runbook.declare.facts import Fact, Facts
from runbook.declare.step import Step
from runbook.declare.steps import precondition, service, stopped, wait_for
from runbook.declare.work import Procedure, stage
from runbook.inventory.cluster import Cluster, Host, among
from runbook.inventory.entry import named

from ..shared.roles import POSTGRES
from .common import PATRONICTL, binaries, data, members, rest, section
from .etcd import healthy
from .members import MEMBER, in_its_place
from .operate import handover

PATRONI = "patroni.service"


ClusterState = Annotated[str, named("state of a database", "[a-z ]{1,60}")]


def _state(text: str) -> str:
    """`pg_controldata`'s state: a replica was shut down in recovery, a leader was not."""
    return one(text.partition(":")[2].strip(), ClusterState)


LED = Fact(
    "who led the database last",
    on=POSTGRES,
    command=lambda cluster, host: (
        f"{binaries(cluster)}/pg_controldata -D {data(cluster)} | grep '^Database cluster state:'"
    ),
    parse=_state,
    absent="it has no database yet",
)


@section.start(needs=[MEMBER, LED], after=["rabbitmq"])
def start(hosts: Sequence[Host], cluster: Cluster, facts: Facts) -> Procedure:
    """Start etcd, then the server that led last, then those that follow it."""
    everybody = among(members(cluster), hosts)
    if not everybody:
        return
    yield stage("etcd has its quorum", everybody, service("etcd.service"), healthy)
    led = [host for host in everybody if facts.known(LED).get(host.name) == "shut down"]
    first = led if len(led) == 1 and not _leads(facts) else []
    for host in first:
        api = f"curl -sf -o /dev/null {rest(host)}/primary"
        title = f"the database starts on {host.name}, which led last"
        leading = wait_for(f"{host.name} leads", api, timeout=300)
        yield stage(title, host, service(PATRONI), leading)
    others = [host for host in everybody if host not in first]
    if others:
        title = "the database runs on the others"
        yield stage(title, others, service(PATRONI), lambda host: in_its_place(host, cluster))


def _leads(facts: Facts) -> bool:
    """Whether a server already accepts writes."""
    return any(member.primary for member in facts.known(MEMBER).values())


@section.stop(needs=[MEMBER])
def stop(hosts: Sequence[Host], cluster: Cluster, facts: Facts) -> Procedure:
    """Stop replicas, the leader, then etcd: a server that has stopped cannot be promoted.

    Patroni is not paused for that. A pause keeps PostgreSQL running when Patroni stops, and
    survives the power cycle: the database would stay down until the pause is ended.
    """
    known = facts.known(MEMBER)
    everybody = among(members(cluster), hosts)
    leaders = [one for one in everybody if one.name in known and known[one.name].primary]
    replicas = [one for one in everybody if one not in leaders]
    for title, chosen in (("stop the replicas", replicas), ("stop the leader", leaders)):
        if chosen:
            yield stage(title, chosen, _not_paused(), stopped(PATRONI))
    if everybody:
        title = "stop etcd, all members at the same time"
        yield stage(title, everybody, stopped("etcd.service"))


def _not_paused() -> Step:
    """Refuse if Patroni is paused: PostgreSQL would run until the power is switched off."""
    return precondition(
        "Patroni is not paused",
        f"! systemctl is-active -q {PATRONI} || "
        f"! timeout 20 {PATRONICTL} show-config 2>/dev/null | grep -qx 'pause: true'",
        f"echo 'Patroni is paused for maintenance; end that first: {PATRONICTL} resume'",
    )


@section.leaders(needs=[MEMBER])
def leading(cluster: Cluster, facts: Facts) -> Iterator[str]:
    """The server that leads the database."""
    return (name for name, member in facts.known(MEMBER).items() if member.primary)


@section.free(needs=[MEMBER])
def free(hosts: Sequence[Host], cluster: Cluster, facts: Facts) -> Procedure:
    """The leader hands over."""
    for host in among(members(cluster), hosts):
        member = facts.known(MEMBER).get(host.name)
        if member and member.primary and len(members(cluster)) > 1:
            yield stage(f"hand the database over from {host.name}", host, handover(host, cluster))
