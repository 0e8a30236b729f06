"""HAProxy: writes go to the primary, reads to the replicas, browsers to a webserver."""

from __future__ import annotations

from ..base import PORTS
from ..engine import steps
from ..engine.cluster import Cluster, Host
from ..engine.step import Step, Steps, quote
from .chapter import CONFIG, STATS, UNIT, databases, section, webservers


def valid(file: str) -> str:
    """A command: HAProxy accepts this file. Its unit reads conf.d too, if there is one (RHEL 9)."""
    return f"haproxy -c -f {file} $([[ ! -d /etc/haproxy/conf.d ]] || echo -f /etc/haproxy/conf.d)"


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
    yield steps.firewall_ports(*PORTS["haproxy"])
    yield from asks_after_silent_clients()
    yield steps.template(
        CONFIG,
        "haproxy/haproxy.cfg.j2",
        {
            "settings": cluster.haproxy,
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

    HAProxy 1.8 has no setting for that (2.3 brought `clitcpka-idle`), so the kernel's own counts.
    """
    path = "/etc/sysctl.d/60-haproxy-airflow.conf"
    names = " ".join(f"net.ipv4.tcp_keepalive_{one}" for one in ("time", "intvl", "probes"))
    yield steps.template(path, "haproxy/sysctl.conf", {})
    yield steps.command(
        "the kernel asks after silent clients after 30 seconds",
        f"sysctl -q -p {path}",
        unless=f"[[ $(echo $(sysctl -n {names})) == '30 5 3' ]]",
    )


def may_connect() -> Step:
    """SELinux knows HAProxy's own ports only: checks would succeed, and sessions fail."""
    return steps.command(
        "SELinux lets HAProxy reach the database",
        "setsebool -P haproxy_connect_any 1",
        unless="[[ $(getsebool haproxy_connect_any) == *'--> on' ]]",
    )
