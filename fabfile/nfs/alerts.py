"""What the monitoring reads on servers and clients of the share, and when it alerts."""

from __future__ import annotations

from runbook.declare.probes import ERROR, WARN
from runbook.inventory.cluster import Cluster, Host

from ..shared.metrics import HOST, Alert, Alerts, Reading, Watched
from ..shared.roles import NFS
from .check import (
    BEHIND,
    COPIES,
    MOUNT,
    NOBODY,
    NOT_COPYING,
    RESCUED_FILES,
    TOO_LONG,
)
from .common import RESCUED, alone, clients, servers, trees, vip
from .mounts import seen
from .state import SERVER


def _mounted(cluster: Cluster, host: Host) -> str:
    return "\n".join(
        f"if {{ {seen(tree)}\n}} >/dev/null; then echo 'yes {tree.path}'; "
        f"else echo 'no {tree.path}'; fi"
        for tree in trees(cluster)
    )


READINGS = (
    Reading("share", NFS, SERVER.command),
    Reading("mounts", clients, _mounted),
)


def alerts(cluster: Cluster) -> Alerts:
    """One server serves and copies, the other is up to date, and clients see the files."""
    if not servers(cluster):
        return
    for tree in trees(cluster):
        yield Alert(
            MOUNT,
            ERROR,
            f'max by (host) (runbook_share_readable{{path="{tree.path}"}}) == 0',
            f"{HOST} cannot read {tree.path}",
            f"systemctl restart {tree.unit}.mount on {HOST}",
        )
    yield Alert(
        RESCUED_FILES,
        WARN,
        "max by (host) (runbook_share_rescued_files) > 0",
        f"{{{{ $value }}}} files wait in {RESCUED} of {HOST}",
        "copy back the files that you need, then remove them there",
    )
    if not alone(cluster):
        yield from copying(cluster)


def copying(cluster: Cluster) -> Alerts:
    """The holder of the VIP copies to the standby, which lacks nothing for long."""
    held = f'max by (host) (runbook_vip_held{{vip="{vip(cluster).name}"}})'
    copies = "max by (host) (runbook_share_copying)"
    yield Alert(
        NOBODY,
        ERROR,
        f"(sum({held}) or vector(0)) == 0",
        "no server is active",
        "fab nfs.vip",
        wait=30,
    )
    yield Alert(
        NOT_COPYING,
        ERROR,
        f"{copies} == 0 and {held} == 1",
        f"{HOST} is active but does not copy: journalctl -u nfs-sync there shows why",
        "fab nfs.resync",
    )
    yield Alert(
        COPIES,
        ERROR,
        f"{copies} == 1 and {held} == 0",
        f"{HOST} copies but is not active",
        f"systemctl stop nfs-sync on {HOST}",
    )
    yield Alert(
        BEHIND,
        ERROR,
        f"max by (host) (runbook_share_lacking_seconds) > {TOO_LONG}",
        "the standby lacks files, the oldest for {{ $value | humanizeDuration }}",
        "fab nfs.resync",
    )
    yield Alert(
        BEHIND,
        ERROR,
        "max by (host) (runbook_share_fit) == 0",
        f"{HOST} may not lead until it has been brought up to date",
        "fab nfs.resync",
        about="fit",
    )


WATCHED = Watched("nfs", READINGS, alerts)
