"""The VIP, which goes where the newest files are."""

from __future__ import annotations

from ..engine import steps
from ..engine.cluster import Cluster, Host
from ..engine.section import Facts
from ..engine.step import Step, Steps
from ..keepalived import SCRIPTS
from ..keepalived import address as keepalived
from .chapter import NETWORK, RETURN, RUN, SERVICE, section
from .chapter import vip as the_vip


@section.task(needs=[NETWORK])
def vip(host: Host, cluster: Cluster, facts: Facts) -> Steps:
    """Install keepalived: a server that answers and is fit to lead holds the VIP.

    It does not go back to the preferred server by itself: it stays where the newest files are.
    """
    yield steps.directory(SCRIPTS)
    for name in (SERVICE.check, SERVICE.notify):
        yield steps.template(f"{SCRIPTS}/{name}", f"nfs/{name}", {}, mode="0755")
    yield steps.enabled(RETURN)
    yield steps.command(
        f"{host.name} has asked whether it may lead",
        f"systemctl start {RETURN}",
        unless=f"systemctl is-active -q {RETURN} || [[ -e {RUN}/fit ]]",
    )
    yield from keepalived(host, cluster, SERVICE, facts, NETWORK)
    name, address = the_vip(cluster).name, the_vip(cluster).address
    yield steps.until(
        f"{name} answers", f"timeout 2 bash -c '</dev/tcp/{address}/2049'", timeout=60
    )
    yield may_lead(host)


def may_lead(host: Host) -> Step:
    """The server has all files, and may take over."""
    title = f"{host.name} is up to date and may lead"
    return steps.until(title, f"[[ -e {RUN}/fit ]]", timeout=600)
