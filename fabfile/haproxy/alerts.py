"""What the monitoring reads on the proxies, and when it alerts."""

from __future__ import annotations

from runbook.declare.probes import ERROR, WARN
from runbook.inventory.cluster import Cluster

from ..shared.metrics import HOST, Alert, Alerts, Reading, Watched
from ..shared.roles import HAPROXY
from .check import DOWN, NO_DATABASE, NO_SPARE, SENT_AWAY, WEB_DOWN
from .common import candidates, databases, proxies, webservers
from .view import VIEW

READINGS = (Reading("proxy", HAPROXY, VIEW.command),)


def alerts(cluster: Cluster) -> Alerts:
    """The proxies answer, and lead to a primary and to webservers."""
    if not proxies(cluster):
        return
    answers = "max by (host) (runbook_proxy_answers)"
    yield Alert(
        DOWN,
        ERROR,
        f"{answers} == 0",
        f"HAProxy on {HOST} is down or hangs",
        f"fab -H {HOST} haproxy",
        wait=30,
    )
    if databases(cluster):
        yield Alert(
            NO_DATABASE,
            ERROR,
            'sum by (host) (runbook_proxy_server_up{backend="primary"}) == 0',
            f"HAProxy on {HOST} knows no primary",
            "fab postgres.check",
            wait=30,
        )
    for server in webservers(cluster):
        up = f'runbook_proxy_server_up{{backend="webservers",server="{server.name}"}}'
        yield Alert(
            WEB_DOWN,
            ERROR,
            f"max({up}) == 0",
            f"the webserver of {server.name} does not answer the proxies",
            f"fab -H {server.name} systemd.start; fab airflow.check",
            host=server.name,
        )
    yield Alert(
        SENT_AWAY,
        WARN,
        "max by (host) (runbook_proxy_away) == 1",
        f"{HOST} holds the VIP only if no other server can, because of fab haproxy.failover",
        f"fab haproxy.failover --to {HOST}",
        wait=3600,
    )
    if len(candidates(cluster)) > 1:
        fit = f"{answers} == 1 and max by (host) (runbook_keepalived_runs) == 1"
        yield Alert(
            NO_SPARE,
            WARN,
            f"count({fit}) == 1",
            "only one server can hold the VIP",
            "fab haproxy",
        )


WATCHED = Watched("haproxy", READINGS, alerts)
