"""The main VIP: clients know this address, and the server that holds it serves them."""

from __future__ import annotations

from runbook.declare import steps
from runbook.declare.facts import Facts
from runbook.declare.step import Steps
from runbook.inventory.cluster import Cluster, Host

from ..shared import keepalived
from .common import NETWORK, SERVICE, candidates, section


@section.task(needs=[NETWORK], on=candidates)
def vip(host: Host, cluster: Cluster, facts: Facts) -> Steps:
    """Install keepalived: a server whose HAProxy answers holds the VIP.

    The preferred one holds it whenever it can.

    Refused as long as another machine on the network has the address.
    """
    yield steps.directory(keepalived.SCRIPTS)
    script = f"{keepalived.SCRIPTS}/{SERVICE.check}"
    yield steps.template(script, f"haproxy/{SERVICE.check}", {}, mode="0755")
    yield from keepalived.address(host, cluster, SERVICE, facts)
    for vip in keepalived.vips(cluster, "haproxy"):
        yield steps.wait_for(
            f"{vip.name} answers", f"ping -q -c 1 -W 1 {vip.address} >/dev/null", timeout=60
        )
