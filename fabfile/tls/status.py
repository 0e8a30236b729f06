"""Certificates in a status, and as a table."""

from __future__ import annotations

from collections.abc import Sequence
from time import localtime, strftime
from typing import Any

from runbook.declare.facts import Facts
from runbook.declare.probes import Finding
from runbook.inventory.cluster import Cluster

from ..shared import authority, tls
from ..shared.authority import DAY
from .common import HELD, held, section

section.collect(files=(f"{tls.FOLDER}/*.crt",), commands=(f"ls -l {tls.FOLDER}",))


@section.table(needs=HELD)
def status(cluster: Cluster, facts: Facts) -> list[dict[str, Any]]:
    """List all certificates: of whom, for which names, until when, signed by which CA."""
    rows = []
    for host in cluster.hosts.values():
        for service, own in held(host, facts).items():
            row: dict[str, Any] = {"server": host.name, "service": service.name}
            try:
                found = authority.described(own.certificate)
            except ValueError:
                rows.append({**row, "": "no certificate"})
                continue
            names = (*sorted(found.subject.names), *sorted(found.subject.addresses))
            days = int((found.ends - own.at) // DAY)
            rows.append(
                {
                    **row,
                    "names": " ".join(names),
                    "until": strftime("%Y-%m-%d %H:%M:%S%z", localtime(found.ends)),
                    "days left": days,
                    "signed by": found.issuer.removeprefix("CN="),
                    "": tls.objection(service, host, cluster, own)
                    if cluster.vault.knows(tls.CA)
                    else "",
                }
            )
    return rows


@section.status_line
def line(cluster: Cluster, facts: Facts, findings: Sequence[Finding]) -> str:
    """How many certificates there are, and when the first one expires."""
    ends = []
    for fact in HELD:
        for own in facts.known(fact).values():
            if own.certificate:
                ends.append((authority.described(own.certificate).ends - own.at) / DAY)
    if not ends:
        return "no certificates"
    soonest = min(ends)
    when = "has expired" if soonest <= 0 else f"expires in {soonest:.0f} days"
    return f"{len(ends)} certificates, the first one {when}"
