"""The runbook's entry points: HAProxy and the main VIP on the servers with role `haproxy`."""

from __future__ import annotations

from . import check, drills, operate, power, preflight, proxy, status, vip, web
from .common import section

section.order(
    proxy.install,
    web.keys,
    web.certificates,
    proxy.configure,
    vip.vip,
    check.status,
    operate.failover,
)

__all__ = ["drills", "power", "preflight", "section", "status"]
