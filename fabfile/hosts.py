"""Step 1.3: every server resolves the names of all others, without DNS."""

from __future__ import annotations

from collections.abc import Iterator

from runbook.declare.probes import Probes, first_word_is, probe
from runbook.declare.section import Section
from runbook.declare.step import Steps
from runbook.declare.steps import block, cloud_init
from runbook.inventory.cluster import Cluster, Host

section = Section(
    "hosts", on="all", runbook="1.3", about="Let every server resolve the names of all others."
)


@section.task
def names(host: Host, cluster: Cluster) -> Steps:
    """Keep the cluster's names and VIPs in one block of /etc/hosts.

    They are removed from all other lines of that file. cloud-init is configured not to replace the
    file at boot (`manage_etc_hosts`).
    """
    yield cloud_init("manage_etc_hosts", "false")
    yield block(
        "/etc/hosts",
        "Airflow HA Cluster Infrastructure",
        lines(cluster),
        owns=[name for name, _ in cluster.names()],
    )


def lines(cluster: Cluster) -> Iterator[str]:
    """The lines of the block, as in the runbook."""
    for host in cluster.hosts.values():
        yield f"{host.address} {host.name}"
    yield "# Virtual IPs"
    for vip in cluster.vips.values():
        yield f"{vip.address} {vip.name}"


@section.check
def check(host: Host, cluster: Cluster) -> Probes:
    """Check that every name resolves to its address on every server."""
    for name, address in cluster.names():
        yield probe(
            f"{name} is {address}",
            f"getent ahostsv4 {name}",
            first_word_is(address),
            fix=f"fab -H {host.name} hosts",
        )
