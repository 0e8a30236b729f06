"""The share in a status, its drawing and a support bundle."""

from __future__ import annotations

from collections.abc import Sequence

from runbook.declare.facts import Facts
from runbook.declare.operations import Arrow, Marks
from runbook.declare.probes import Finding
from runbook.inventory.cluster import Cluster

from ..shared.airflow import AIRFLOW_HOME, DAGS
from ..shared.keepalived import told, vip_marks
from ..shared.roles import NFS
from .common import SETTINGS, STATE, section, servers
from .state import SERVER, active

section.collect(
    units=("nfs-*", "keepalived"),
    files=("/etc/nfs.conf", "/etc/exports.d/*", f"{SETTINGS}/settings", f"{STATE}/[agp]*"),
    commands=("exportfs -s", f"ls -la {AIRFLOW_HOME} {DAGS} | head -60"),
)


@section.status_line
def line(cluster: Cluster, facts: Facts, findings: Sequence[Finding]) -> str:
    """Which server is active, and what the standby lacks."""
    holder = active(cluster, facts)
    known = facts.known(SERVER)
    said = [f"{holder.name} is active" if holder else "no server is active"]
    for host in servers(cluster):
        if host == holder:
            continue
        server = known.get(host.name)
        if not server:
            said.append(f"{host.name} does not answer")
            continue
        lacks = known[holder.name].behind if holder and holder.name in known else None
        state = "is standby" if server.fit else "is not up to date"
        behind = "" if lacks is None else f" and lacks {len(lacks) or 'no'} files"
        said.append(f"{host.name} {state}{behind}")
    return ", ".join([*said, *told(cluster, NFS, facts)])


@section.drawn
def marks(cluster: Cluster, facts: Facts) -> Marks:
    """Which server holds the VIP, which follows, and in which direction files are copied."""
    held = vip_marks(cluster, NFS, facts)
    known = facts.known(SERVER)
    leading = [name for name, server in known.items() if server.copying == "active"]
    badges = {name: [*words] for name, words in held.badges.items()}
    for name, server in known.items():
        if name not in leading:
            badges.setdefault(name, []).append("standby" if server.fit else "not up to date")
    copies = [
        Arrow("copies", source, name, f"{source} copies to {name}")
        for source in leading
        for name in known
        if name not in leading
    ]
    return Marks(badges, (*held.arrows, *copies))
