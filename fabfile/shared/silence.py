"""A server that does not answer: its codes, what is left of its roles, and the way back."""

from __future__ import annotations

from collections.abc import Collection

from runbook.declare.probes import Cause
from runbook.inventory.cluster import Cluster, Host

DOWN = Cause("HOST_DOWN", "")
HANGS = Cause("HOST_HANGS", "")
UNREACHABLE = Cause("HOST_UNREACHABLE", "unknown; the host may be running")
NO_ACCESS = Cause("HOST_NO_ACCESS", "unknown; the host is running")
CAUSES = (DOWN, HANGS, UNREACHABLE, NO_ACCESS)


def left(host: Host, cluster: Cluster, away: Collection[str]) -> str:
    """How many of its kind are left, for each of its roles."""
    told = []
    for role in cluster.roles_of(host):
        everybody = cluster.group(role)
        there = [other for other in everybody if other.name not in away]
        if there:
            told.append(f"{len(there)} of {len(everybody)} {role.label}s left")
        else:
            told.append(f"no {role.label} left: {role.loss or 'its work is not done'}")
    return "; ".join(sorted(told, key=lambda text: not text.startswith("no "))) or "one host fewer"


def way_back(host: Host, kind: Cause, cluster: Cluster) -> str:
    """What to do about a host that did not answer."""
    user = cluster.user(host)
    again = "inv cluster.status --wait 300"
    if kind == DOWN:
        return f"power {host.name} on, or plug it in; it comes back by itself: {again}"
    if kind == HANGS:
        return f"wait if it is booting; else look at its console, and reset it if needed: {again}"
    if kind == NO_ACCESS:
        return f"fab -H {host.name} ssh.bootstrap"
    port = cluster.ssh_port(host)
    way = f"ssh -p {port} {user}@{host.address}"
    return f"fix the connection from here (network, firewall, ssh): {way}"
