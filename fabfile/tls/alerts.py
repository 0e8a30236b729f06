"""What the monitoring reads of certificates, and when it alerts."""

from __future__ import annotations

from runbook.declare.probes import ERROR, WARN
from runbook.inventory.cluster import Cluster

from ..shared.authority import DAY
from ..shared.metrics import HOST, Alert, Alerts, Reading, Watched
from ..shared.tls import FOLDER, Tls
from .check import AUTHORITY, AUTHORITY_WARNS, EXPIRED, EXPIRES
from .common import SERVICES

READINGS = (
    Reading(
        "certificates",
        "all",
        lambda cluster, host: (
            f"""for file in {FOLDER}/*.crt; do
  ends=$(openssl x509 -noout -enddate -in "$file") || continue
  name=${{file##*/}}
  echo "$(date -d "${{ends#*=}}" +%s) ${{name%.crt}}"
done"""
        ),
    ),
)


def alerts(cluster: Cluster) -> Alerts:
    """No certificate, and not the CA either, expires soon."""
    if not cluster[Tls].enabled:
        return
    left = "{{ $value | humanizeDuration }}"
    for service in SERVICES:
        ends = f'runbook_certificate_expires_seconds{{name="{service.name}"}}'
        rest = f"min by (host) ({ends} - time())"
        fix = f"fab -H {HOST} {service.again}"
        soon = f"{rest} < {cluster[Tls].renew_before * DAY:.0f} > 0"
        says = f"the certificate of {service.name} on {HOST} expires in {left}"
        yield Alert(EXPIRES, WARN, soon, says, fix, wait=600, about=service.name)
        says = f"the certificate of {service.name} on {HOST} has expired"
        yield Alert(EXPIRED, ERROR, f"{rest} <= 0", says, fix, about=service.name)
    rest = 'min(runbook_certificate_expires_seconds{name="ca"}) - time()'
    fix = "fab tls.rotate-ca"
    soon = f"{rest} < {AUTHORITY_WARNS * DAY:.0f} > 0"
    yield Alert(AUTHORITY, WARN, soon, f"the cluster's CA expires in {left}", fix, wait=600)
    yield Alert(AUTHORITY, ERROR, f"{rest} <= 0", "the cluster's CA has expired", fix)


WATCHED = Watched("tls", READINGS, alerts)
