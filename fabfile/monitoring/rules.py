"""The files for Prometheus: targets, the job that reads them, and alert rules."""

from __future__ import annotations

import json
from typing import Any

from runbook.declare.facts import Facts
from runbook.inventory.cluster import Cluster, Host

from ..postgres.common import members
from ..postgres.transport import patroni_speaks
from ..rabbitmq.common import members as nodes
from ..shared import tls
from ..shared.transport import Speaks
from .alerts import WATCHED
from .common import PARTS, PORT, watched

TARGETS, RULES, SCRAPE, AUTHORITY = "targets.json", "rules.yml", "scrape.yml", "ca.crt"

INTERVAL = 15
"""Seconds between two looks of Prometheus."""


def files(cluster: Cluster, facts: Facts) -> dict[str, str]:
    """What Prometheus needs to know of the cluster, by file."""
    known = cluster.vault.knows(tls.CA)
    authority = {AUTHORITY: tls.trusted(cluster)} if known else {}
    return {
        TARGETS: json.dumps(endpoints(cluster, facts), indent=2) + "\n",
        RULES: as_yaml({"groups": groups(cluster)}),
        SCRAPE: as_yaml({"scrape_configs": [job(cluster, AUTHORITY)]}),
        **authority,
    }


def endpoints(cluster: Cluster, facts: Facts) -> list[dict[str, Any]]:
    """What offers metrics, in the format of Prometheus' file_sd_config."""
    found = [_endpoint("node", host, PORT, "http", cluster) for host in watched(cluster)]
    for host in members(cluster):
        over_tls = patroni_speaks(host, cluster, facts) == Speaks.TLS
        found.append(_endpoint("patroni", host, 8008, "https" if over_tls else "http", cluster))
    found += [_endpoint("rabbitmq", host, 15692, "http", cluster) for host in nodes(cluster)]
    return found


def _endpoint(job: str, host: Host, port: int, scheme: str, cluster: Cluster) -> dict[str, Any]:
    labels = {"cluster": cluster.name, "host": host.name, "job": job, "__scheme__": scheme}
    return {"targets": [f"{host.address}:{port}"], "labels": labels}


def job(cluster: Cluster, authority: str) -> dict[str, Any]:
    """The job that reads all of them; paths may be relative to the file that it is in.

    `authority`: a file with the CA, if there is one.
    """
    verified = {"tls_config": {"ca_file": authority}} if cluster.vault.knows(tls.CA) else {}
    return {
        "job_name": cluster.name,
        "scrape_interval": f"{INTERVAL}s",
        "file_sd_configs": [{"files": [TARGETS]}],
        **verified,
    }


def groups(cluster: Cluster) -> list[dict[str, Any]]:
    """The alert rules of each part."""
    found = [
        {
            "name": f"{cluster.name} {part.part}",
            "interval": f"{INTERVAL}s",
            "rules": [alert.rule(cluster, part.part) for alert in part.alerts(cluster)],
        }
        for part in (*PARTS, WATCHED)
    ]
    return [group for group in found if group["rules"]]


def as_yaml(data: Any) -> str:
    """A file of settings, with a line that says who writes it."""
    import yaml

    head = "# Written by `fab monitoring`: the next run replaces it.\n"
    return head + str(yaml.safe_dump(data, sort_keys=False, width=100, allow_unicode=True))
