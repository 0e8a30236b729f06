"""The order in which servers reboot, and what each does before. Everything here can be planned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .. import keepalived, systemd
from ..engine.cluster import Cluster, Host
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
    """Servers that may be away at the same time: no two of a role, and leaders last."""
    last = leaders(cluster, facts)
    return cluster.apart(sorted(hosts, key=lambda host: host.name in last))


def in_turn(hosts: Sequence[Host], cluster: Cluster, facts: Facts) -> Procedure:
    """Hand over, end tasks, reboot."""
    members = postgres.members(cluster)
    for host in among(members, hosts):
        member = facts.known(MEMBER).get(host.name)
        if member and member.primary and len(members) > 1:
            yield stage(f"hand the database over from {host.name}", host, handover(host, cluster))
    if len(nfs.servers(cluster)) > 1 and active(cluster, facts) in hosts:
        yield from failover(hosts, cluster, facts)
    yield from systemd.stop(among(systemd.hosts(cluster), hosts), cluster, facts)
    nodes = rabbitmq.members(cluster)
    if len(nodes) > 1 and among(nodes, hosts):
        yield stage("no queue needs this node", among(nodes, hosts), can_be_missed(cluster))
    again = replace(action("reboot", "systemctl reboot", timeout=60), reboots=True)
    yield stage("reboot", hosts, again.clearing(REBOOT))


def can_be_missed(cluster: Cluster) -> Step:
    """Every queue keeps its majority without this node."""
    kind = (
        "await_online_synchronized_mirror"
        if rabbitmq.mirrored(cluster)
        else "await_online_quorum_plus_one"
    )
    return action("every queue does without it", f"rabbitmq-upgrade {kind} --timeout 120")


IN_TURN = Leg("reboot", (MEMBER, nfs.NETWORK, SERVER), in_turn)
