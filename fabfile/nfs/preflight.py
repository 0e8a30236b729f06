"""What the share needs of the servers, and what would suffer from it."""

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
    """No exports that lose NFSv3, no keepalived of somebody else."""
    if NFS not in host.roles:
        return
    yield probe(
        "no foreign exports",
        "sed -n 's/^\\(\\/[^ ]*\\) .*/\\1/p' /etc/exports 2>/dev/null",
        none("is exported, too: from then on by NFSv4 alone, and through a standby", WARN),
        fix="move it to another server, or have its clients mount with vers=4",
    )
    yield keepalived.no_other()
