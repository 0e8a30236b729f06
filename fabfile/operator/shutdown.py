"""The way down: what stops after what, as stages. Everything here can be planned."""

from __future__ import annotations

from collections.abc import Sequence

from .. import systemd
from ..engine.cluster import Cluster, Host
from ..engine.section import Facts, Procedure, stage
from ..engine.step import Step
from ..engine.steps import action, command, required
from ..haproxy import chapter as haproxy
from ..keepalived import SERVICE as KEEPALIVED
from ..nfs import chapter as nfs
from ..nfs.server import SERVER as NFS_SERVER
from ..nfs.state import SERVER, active
from ..postgres import chapter as postgres
from ..postgres.members import MEMBER
from ..rabbitmq import chapter as rabbitmq
from .leg import Leg, among


def airflow(hosts: Sequence[Host], cluster: Cluster, facts: Facts) -> Procedure:
    """Schedulers first, workers when their tasks are done; then the clients leave the share."""
    yield from systemd.stop(among(systemd.hosts(cluster), hosts), cluster, facts)
    clients = among(nfs.clients(cluster), hosts)
    if nfs.servers(cluster) and clients:
        yield stage("leave the share", clients, *map(unmounted, nfs.trees(cluster)))


def unmounted(tree: nfs.Tree) -> Step:
    """A hard mount without a server would hang, and the shutdown with it."""
    units = f"{tree.unit}.automount {tree.unit}.mount"
    return command(
        f"{tree.path} is not mounted",
        f"systemctl stop {units}",
        unless=f"! systemctl is-active -q {units}",
        timeout=120,
    )


def entry_points(hosts: Sequence[Host], cluster: Cluster, facts: Facts) -> Procedure:
    """The address of the web and the database, and the proxies behind it."""
    own = [*haproxy.proxies(cluster), *haproxy.candidates(cluster)]
    chosen = among(list(dict.fromkeys(host.name for host in own)), hosts)
    if chosen:
        yield stage("take the entry points down", chosen, off(KEEPALIVED), off(haproxy.UNIT))


def database(hosts: Sequence[Host], cluster: Cluster, facts: Facts) -> Procedure:
    """Replicas, the leader, etcd: who is stopped cannot be promoted.

    Patroni is not paused for that. Its pause lets PostgreSQL run on when Patroni stops, and
    outlives the power cycle: the database would stay down until somebody ends it.
    """
    known = facts.known(MEMBER)
    everybody = among(postgres.members(cluster), hosts)
    leaders = [one for one in everybody if one.name in known and known[one.name].primary]
    replicas = [one for one in everybody if one not in leaders]
    for title, chosen in (("stop the replicas", replicas), ("stop the leader", leaders)):
        if chosen:
            yield stage(title, chosen, not_paused(), off(PATRONI))
    if everybody:
        yield stage("stop etcd, all members at the same time", everybody, off("etcd.service"))


PATRONI = "patroni.service"


def not_paused() -> Step:
    """A paused Patroni would leave PostgreSQL to the power switch."""
    return required(
        "Patroni is not paused",
        f"! systemctl is-active -q {PATRONI} || "
        f"! timeout 20 {postgres.PATRONICTL} show-config 2>/dev/null | grep -qx 'pause: true'",
        f"echo 'Patroni is paused for maintenance; end that first: {postgres.PATRONICTL} resume'",
    )


def queue(hosts: Sequence[Host], cluster: Cluster, facts: Facts) -> Procedure:
    """One node after the other; the last to stop is the first to start."""
    for host in reversed(among(rabbitmq.members(cluster), hosts)):
        yield stage(f"stop RabbitMQ on {host.name}", host, off(rabbitmq.SERVICE))


def share(hosts: Sequence[Host], cluster: Cluster, facts: Facts) -> Procedure:
    """The standby, after it has everything; then the active server, which leads again later."""
    servers = among(nfs.servers(cluster), hosts)
    holder = active(cluster, facts) if servers else None
    standbys = [host for host in servers if host != holder]
    known = facts.known(SERVER)
    if holder in servers and any(one.name in known and known[one.name].fit for one in standbys):
        yield stage("the standby has every change", holder, copied())
    for chosen in (standbys, [host for host in servers if host == holder]):
        if chosen:
            units = (KEEPALIVED, nfs.SYNC, nfs.RETURN, NFS_SERVER)
            names = ", ".join(host.name for host in chosen)
            yield stage(f"stop the share on {names}", chosen, *map(off, units))


def copied() -> Step:
    """The last changes are on the other server, too."""
    push = f"runuser -u {nfs.USER} -- {nfs.SCRIPTS}/push"
    return command(
        "the standby lacks nothing",
        f"for _ in {{1..30}}; do lacks=$({push} --show) && [[ ! $lacks ]] && break; sleep 1; done",
        unless=f"lacks=$({push} --show) && [[ ! $lacks ]]",
        timeout=120,
    )


def off(unit: str) -> Step:
    """The unit does not run, nor is it about to; whether it starts at boot is left as it is."""
    return command(
        f"{unit} has stopped",
        f"systemctl stop {unit}",
        unless=f"[[ $(systemctl is-active {unit}) =~ ^(inactive|failed|unknown)$ ]]",
        timeout=600,
    )


def power(hosts: Sequence[Host], cluster: Cluster, facts: Facts) -> Procedure:
    """All servers, three seconds after they have said so."""
    switch = "systemd-run --quiet --on-active=3 systemctl poweroff"
    yield stage("switch the servers off", hosts, action("it switches itself off", switch))


STOPS = (
    Leg("airflow", (), airflow),
    Leg("haproxy", (), entry_points),
    Leg("postgres", (MEMBER,), database),
    Leg("rabbitmq", (), queue),
    Leg("nfs", (nfs.NETWORK, SERVER), share),
)
"""In this order: what uses something stops before what it uses."""
