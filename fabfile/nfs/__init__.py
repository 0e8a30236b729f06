"""The runbook's Storage HA: NFS on the servers with role `nfs`, and the mounts of its clients."""

from __future__ import annotations

from . import (
    check,
    drills,
    mounts,
    operate,
    power,
    preflight,
    restore,
    retention,
    server,
    status,
    sync,
    vip,
)
from .common import section

section.order(
    server.server,
    sync.sync_keys,
    sync.sync,
    vip.vip,
    mounts.mounts,
    retention.retention,
    check.status,
    restore.snapshots,
    restore.restore_files,
    operate.failover,
    operate.resync,
    operate.lead,
)

__all__ = ["drills", "power", "preflight", "section", "status"]
