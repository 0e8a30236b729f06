"""Requirements of the share on the servers, and exports that it would affect."""

from __future__ import annotations

from runbook.declare.probes import WARN, Probes, probe
from runbook.declare.requirements import SSH
from runbook.inventory.cluster import Cluster, Host

from ..preflight.foreign import none
from ..shared import keepalived
from ..shared.roles import NFS
from ..shared.sources import EPEL, EPEL_KEY
from .common import USER, clients, section

for source in (EPEL, EPEL_KEY):
    section.fetches(source)

section.login(lambda cluster, host: USER, by=NFS)
section.calls(clients, NFS, "2049/tcp")
section.calls(NFS, NFS, SSH)
section.calls(NFS, lambda cluster: clients(cluster)[:5], SSH)


@section.preflight
def preflight(host: Host, cluster: Cluster) -> Probes:
    """Check for exports that would lose NFSv3, and for a keepalived of other software."""
    if NFS not in host.roles:
        return
    yield probe(
        "no foreign exports",
        "sed -n 's/^\\(\\/[^ ]*\\) .*/\\1/p' /etc/exports 2>/dev/null",
        none("is exported, too: then by NFSv4 only, and interrupted by each failover", WARN),
        fix="move it to another server, or have its clients mount with vers=4",
    )
    yield keepalived.no_other()
