"""How the share starts and stops with the whole cluster, and how it frees a server."""

from __future__ import annotations

from collections.abc import Sequence

from runbook.declare.facts import Facts
from runbook.declare.step import Step, Steps
from runbook.declare.steps import command, service, stopped
from runbook.declare.work import Procedure, stage
from runbook.inventory.cluster import Cluster, Host, among

from ..shared import keepalived
from ..shared.roles import NFS
from .common import NETWORK, RETURN, SCRIPTS, SYNC, USER, clients, section, servers, trees
from .common import vip as the_vip
from .mounts import reads
from .operate import failover
from .server import SERVER as NFS_SERVER
from .state import SERVER, active
from .vip import answers, asked, may_lead


@section.start(needs=[SERVER])
def start(hosts: Sequence[Host], cluster: Cluster, facts: Facts) -> Procedure:
    """Start the server that led last, then the other one, then mount on the clients."""
    known = facts.known(SERVER)
    own = among(servers(cluster), hosts)
    own.sort(key=lambda host: not (host.name in known and known[host.name].led))
    for host in own:
        units = (service(NFS_SERVER), asked(host), service(keepalived.SERVICE))
        yield stage(f"the share starts on {host.name}", host, *units)
        if host == own[0]:
            yield stage(f"{the_vip(cluster).name} answers", host, answers(cluster))
    if own:
        yield stage("every server of the share may lead", own, may_lead)
    mounting = among(clients(cluster), hosts)
    if servers(cluster) and mounting:
        yield stage("mount the share", mounting, lambda host: _mounted(cluster))


def _mounted(cluster: Cluster) -> Steps:
    """The share is mounted at Airflow's paths."""
    for tree in trees(cluster):
        yield service(f"{tree.unit}.automount")
        yield reads(tree)


@section.stop(needs=[NETWORK, SERVER])
def stop(hosts: Sequence[Host], cluster: Cluster, facts: Facts) -> Procedure:
    """Stop the standby once it has everything, then the active server, which leads again later."""
    own = among(servers(cluster), hosts)
    holder = active(cluster, facts) if own else None
    standbys = [host for host in own if host != holder]
    known = facts.known(SERVER)
    if holder in own and any(one.name in known and known[one.name].fit for one in standbys):
        yield stage("the standby has every change", holder, _copied())
    for chosen in (standbys, [host for host in own if host == holder]):
        if chosen:
            units = (keepalived.SERVICE, SYNC, RETURN, NFS_SERVER)
            names = ", ".join(host.name for host in chosen)
            yield stage(f"stop the share on {names}", chosen, *map(stopped, units))


def _copied() -> Step:
    """The last changes are on the other server, too."""
    push = f"runuser -u {USER} -- {SCRIPTS}/push"
    return command(
        "the standby lacks nothing",
        f"for _ in {{1..30}}; do lacks=$({push} --show) && [[ ! $lacks ]] && break; sleep 1; done",
        unless=f"lacks=$({push} --show) && [[ ! $lacks ]]",
        timeout=120,
    )


@section.leaders(needs=[NETWORK])
def leading(cluster: Cluster, facts: Facts) -> list[str]:
    """The server that holds the VIP of the share."""
    return keepalived.all_holding(cluster, NFS, facts)


@section.free(needs=[NETWORK, SERVER], after=["postgres"])
def free(hosts: Sequence[Host], cluster: Cluster, facts: Facts) -> Procedure:
    """The active server hands over."""
    if len(servers(cluster)) > 1 and active(cluster, facts) in hosts:
        yield from failover(hosts, cluster, facts)
