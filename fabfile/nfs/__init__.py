"""The runbook's Storage HA: NFS on the servers with role `nfs`, and the mounts of its clients.

The parts are imported in the chapter's order, which is the order in which their tasks run.
"""

from __future__ import annotations

# isort: off
from . import server, sync, vip, mounts
from . import check, operate

# isort: on
from .chapter import section

__all__ = ["check", "mounts", "operate", "section", "server", "sync", "vip"]
