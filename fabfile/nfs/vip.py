"""The VIP, which moves to the server with the newest files."""

from __future__ import annotations

from runbook.declare import steps
from runbook.declare.facts import Facts
from runbook.declare.step import Step, Steps
from runbook.inventory.cluster import Cluster, Host

from ..shared.keepalived import SCRIPTS
from ..shared.keepalived import address as keepalived
from .common import NETWORK, RETURN, RUN, SERVICE, section
from .common import vip as the_vip


@section.task(needs=[NETWORK])
def vip(host: Host, cluster: Cluster, facts: Facts) -> Steps:
    """Install keepalived: a server that answers and is fit to lead holds the VIP.

    It does not go back to the preferred server by itself: it stays where the newest files are.
    """
    yield steps.directory(SCRIPTS)
    for name in (SERVICE.check, SERVICE.notify):
        yield steps.template(f"{SCRIPTS}/{name}", f"nfs/{name}", {}, mode="0755")
    yield steps.enabled(RETURN)
    yield asked(host)
    yield from keepalived(host, cluster, SERVICE, facts)
    yield answers(cluster, timeout=60)
    yield may_lead(host)


def asked(host: Host) -> Step:
    """The server asks whether it may lead: files of the other one may be newer."""
    return steps.command(
        f"{host.name} has asked whether it may lead",
        f"systemctl start {RETURN}",
        unless=f"systemctl is-active -q {RETURN} || [[ -e {RUN}/fit ]]",
    )


def answers(cluster: Cluster, timeout: int = 120) -> Step:
    """Wait until a server answers at the share's address."""
    share = the_vip(cluster)
    test = steps.answers(share.address, 2049, seconds=2)
    return steps.wait_for(f"{share.name} answers", test, timeout=timeout)


def may_lead(host: Host) -> Step:
    """The server has all files, and may take over."""
    title = f"{host.name} is up to date and may lead"
    return steps.wait_for(title, f"[[ -e {RUN}/fit ]]", timeout=600)
