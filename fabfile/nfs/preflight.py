"""Requirements of the share on the servers, and exports that it would affect."""

from __future__ import annotations

from runbook.declare.probes import WARN, Probes, probe
from runbook.inventory.cluster import Cluster, Host
from runbook.inventory.schema import SSH

from ..preflight.foreign import none
from ..shared import keepalived
from ..shared.roles import NFS
from ..shared.sources import EPEL, EPEL_KEY
from .common import USER, section, witnesses

for source in (EPEL, EPEL_KEY):
    section.fetches(source)

section.login(lambda cluster, host: USER, by=NFS)
section.port(SSH, "SSH, by key: each server of the share copies to the other", NFS)
section.port(SSH, "SSH: whether a server of the share is alone on the network", NFS, on=witnesses)


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
