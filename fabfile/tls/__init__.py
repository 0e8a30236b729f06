"""TLS between the servers: the cluster's CA, its certificates, and the way to TLS and back."""

from __future__ import annotations

from . import check, renew, rotate, status, switch, trust
from .common import section

section.order(
    trust.trust,
    status.status,
    switch.switch,
    renew.renew,
    rotate.rotate_ca,
    trust.use_ca,
    trust.use_web,
)

__all__ = ["check", "section"]
