"""The order in which servers reboot, and what each does before. Everything here can be planned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .. import keepalived, systemd
from ..engine.cluster import Cluster, Host, share_a_role
from ..engine.section import Fact, Facts, Procedure, stage
from ..engine.step import REBOOT, Step
from ..engine.steps import action
from ..haproxy import chapter as haproxy
from ..nfs import chapter as nfs
from ..nfs.operate import failover
from ..nfs.state import SERVER, active
from ..postgres import chapter as postgres
from ..postgres.members import MEMBER
from ..postgres.operate import handover
from ..rabbitmq import chapter as rabbitmq
from ..vitals import WHY_REBOOT
from .leg import Leg, among

PENDING = Fact(
    "why it has to reboot",
    on="all",
    command=lambda cluster, host: (
        f"""why=$({WHY_REBOOT})
if [[ $why ]]; then echo "$why"
elif type needs-restarting >/dev/null 2>&1 && ! needs-restarting -r >/dev/null 2>&1
then echo "libraries that everything uses are new"
else echo "it need not"
fi"""
    ),
    parse=lambda text: "" if text.strip() == "it need not" else text.strip(),
    absent="it does not answer",
)
"""Empty if nothing asks for it."""

PLACES = (MEMBER, nfs.NETWORK, SERVER, haproxy.NETWORK)
"""Facts that say who leads."""


def leaders(cluster: Cluster, facts: Facts) -> set[str]:
    """Who leads the database, serves the share, or holds an address."""
    found = {name for name, member in facts.known(MEMBER).items() if member.primary}
    for vip in cluster.vips.values():
        network = nfs.NETWORK if vip.role == "nfs" else haproxy.NETWORK
        found |= {host.name for host in keepalived.holders(cluster, vip, facts, network)}
    return found


def batches(hosts: Sequence[Host], cluster: Cluster, facts: Facts) -> list[list[Host]]:
    """Servers that may be away at the same time: no two of a role, and leaders last.

    The backup server is never away together with a server of the database.
    """
    last = leaders(cluster, facts)

    def conflict(one: Host, other: Host) -> bool:
        roles = set(one.roles) | set(other.roles)
        backups = cluster.postgres.backup.host in (one.name, other.name)
        return share_a_role(one, other) or (backups and "postgres" in roles)

    return cluster.apart(sorted(hosts, key=lambda host: host.name in last), conflict)


def in_turn(hosts: Sequence[Host], cluster: Cluster, facts: Facts) -> Procedure:
    """Hand over, end tasks, reboot."""
    yield from leaders_elsewhere(hosts, cluster, facts)
    yield from systemd.stop(among(systemd.hosts(cluster), hosts), cluster, facts)
    yield from no_queue_needs(hosts, cluster)
    again = replace(action("reboot", "systemctl reboot", timeout=60), reboots=True)
    yield stage("reboot", hosts, again.clearing(REBOOT))


def leaders_elsewhere(hosts: Sequence[Host], cluster: Cluster, facts: Facts) -> Procedure:
    """The database's leader and the active server of the share hand over."""
    members = postgres.members(cluster)
    for host in among(members, hosts):
        member = facts.known(MEMBER).get(host.name)
        if member and member.primary and len(members) > 1:
            yield stage(f"hand the database over from {host.name}", host, handover(host, cluster))
    if len(nfs.servers(cluster)) > 1 and active(cluster, facts) in hosts:
        yield from failover(hosts, cluster, facts)


def no_queue_needs(hosts: Sequence[Host], cluster: Cluster) -> Procedure:
    """Every queue keeps its majority without these nodes."""
    nodes = rabbitmq.members(cluster)
    if len(nodes) > 1 and among(nodes, hosts):
        yield stage("no queue needs this node", among(nodes, hosts), can_be_missed(cluster))


def services_restart(hosts: Sequence[Host], cluster: Cluster, facts: Facts) -> Procedure:
    """Hand over, so that the services of these servers may restart."""
    yield from leaders_elsewhere(hosts, cluster, facts)
    yield from no_queue_needs(hosts, cluster)


def can_be_missed(cluster: Cluster) -> Step:
    """Every queue keeps its majority without this node."""
    kind = (
        "await_online_synchronized_mirror"
        if rabbitmq.mirrored(cluster)
        else "await_online_quorum_plus_one"
    )
    return action("every queue does without it", f"rabbitmq-upgrade {kind} --timeout 120")


IN_TURN = Leg("reboot", (MEMBER, nfs.NETWORK, SERVER), in_turn)
BEFORE_RESTARTS = Leg("hand over", (MEMBER, nfs.NETWORK, SERVER), services_restart)
