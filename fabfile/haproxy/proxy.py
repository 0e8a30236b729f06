"""HAProxy: writes go to the primary, reads to the replicas, browsers to a webserver."""

from __future__ import annotations

from runbook.declare import steps
from runbook.declare.step import Step, Steps, quote
from runbook.inventory.cluster import Cluster, Host

from ..shared.roles import HAPROXY
from .common import CONFIG, STATS, UNIT, databases, section, webservers
from .settings import Haproxy


def valid(file: str) -> str:
    """A command: HAProxy accepts this file. Its unit reads conf.d too, if there is one."""
    more = "/etc/haproxy/conf.d"
    return f"if [[ -d {more} ]]; then haproxy -c -f {file} -f {more}; else haproxy -c -f {file}; fi"


@section.task
def install(host: Host, cluster: Cluster) -> Steps:
    """Install HAProxy, the distribution's own."""
    yield steps.packages("haproxy")


@section.task
def configure(host: Host, cluster: Cluster) -> Steps:
    """The ports of the database and of the web UI, the statistics page; HAProxy runs.

    A change is taken up without a restart, after HAProxy itself accepted it.
    """
    yield steps.drop_in(UNIT, "haproxy/haproxy-airflow.conf")
    if cluster.selinux != "disabled":
        yield may_connect()
    yield steps.firewall_ports(*(port.number for port in HAPROXY.ports if "/" in port.number))
    yield from asks_after_silent_clients()
    yield steps.template(
        CONFIG,
        "haproxy/haproxy.cfg.j2",
        {
            "settings": cluster[Haproxy],
            "databases": databases(cluster),
            "webservers": webservers(cluster),
            "login": quote(f"admin:{cluster.secret(STATS)}"),
        },
        mode="0600",
        hide="stats auth ",
        validate=f"bash -c {quote(valid('$1'))} -",
    ).then(steps.reloaded(UNIT))
    yield steps.service(UNIT)


def asks_after_silent_clients() -> Steps:
    """Locks of a client that lost its power are free after 45 seconds.

    The kernel's own default is two hours, and HAProxy 1.8 has no setting for that (2.3 brought
    `clitcpka-idle`).
    """
    names = ("time", "intvl", "probes")
    yield from steps.sysctl(
        "the kernel asks after silent clients after 30 seconds",
        "/etc/sysctl.d/60-haproxy-airflow.conf",
        {f"net.ipv4.tcp_keepalive_{name}": value for name, value in zip(names, (30, 5, 3))},
    )


def may_connect() -> Step:
    """SELinux knows HAProxy's own ports only: checks would succeed, and sessions fail."""
    return steps.selinux_boolean("haproxy_connect_any")
