"""What the modules of this section share: ports, passwords, the VIP's service."""

from __future__ import annotations

from collections.abc import Iterable

from runbook.declare.section import Section
from runbook.inventory.cluster import Cluster, Host

from ..shared import keepalived, tls
from ..shared.keepalived import Service, places
from ..shared.roles import HAPROXY, POSTGRES, WEBSERVER
from .settings import Haproxy

section = Section(
    "haproxy",
    on=HAPROXY,
    runbook="Load balancer HA",
    about="One address for the database and the web UI, whichever server answers.",
    roles=(HAPROXY,),
    settings=Haproxy,
    after=("python-build.start", "tls"),
    restarts=("haproxy.service",),
    accounts=("haproxy",),
)

STATS = section.secret("haproxy_stats", "the user admin of HAProxy's statistics page")

CONFIG = "/etc/haproxy/haproxy.cfg"
UNIT = "haproxy.service"
WRITE, READ, WEB, HTTPS = 5000, 5001, 8081, 443
PEM = f"{tls.FOLDER}/haproxy.pem"
"""Certificate and key in one file, as HAProxy 1.8 needs them."""
HEALTH = "http://127.0.0.1:8405"
"""HAProxy's address on its own server only: /up for keepalived, /stats for `check`."""

AWAY = "/run/keepalived-away"
"""A file: where it exists, the VIP moves to the other server; a reboot removes it."""

SERVICE = Service(
    "haproxy",
    section.secret(
        "vrrp_airflow_vip",
        "the password of VRRP for the main VIP",
        length=8,
        rule=keepalived.PASSWORD,
    ),
    check="haproxy-up",
    away=AWAY,
)

section.may_find(*keepalived.CAUSES)

NETWORK = places("haproxy")


def _vips(host: Host, cluster: Cluster) -> Iterable[str]:
    return tls.places(vip for vip in cluster.vips.values() if host.name in vip.members)


HAPROXY_TLS = tls.service(
    "haproxy", HAPROXY, "root", "haproxy.keys haproxy.certificates", also=_vips
)


def proxies(cluster: Cluster) -> list[Host]:
    """The servers that run HAProxy."""
    return cluster.group(HAPROXY)


def candidates(cluster: Cluster) -> list[Host]:
    """The servers that may hold the VIP."""
    return keepalived.candidates(cluster, "haproxy")


def databases(cluster: Cluster) -> list[Host]:
    """The servers behind the ports of the database."""
    return cluster.group(POSTGRES)


def webservers(cluster: Cluster) -> list[Host]:
    """The servers behind the port of the web UI."""
    return cluster.group(WEBSERVER)
