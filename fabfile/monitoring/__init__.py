"""Monitoring: what the servers tell Prometheus, and when it alerts."""

from __future__ import annotations

from . import check, exporters, server, targets
from .common import section

section.order(exporters.exporters, server.server, targets.targets)

__all__ = ["check", "section"]
