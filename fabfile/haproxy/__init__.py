"""The runbook's entry points: HAProxy and the main VIP on the servers with role `haproxy`.

The parts are imported in the chapter's order, which is the order in which their tasks run.
"""

from __future__ import annotations

# isort: off
from . import proxy, vip
from . import check, operate

# isort: on
from .chapter import section

__all__ = ["check", "operate", "proxy", "section", "vip"]
