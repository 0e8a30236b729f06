"""Step 1.2: every server has the hostname that the others use for it."""

from __future__ import annotations

from collections.abc import Sequence

from runbook.declare.probes import Probes, first_word_is, probe
from runbook.declare.section import Section
from runbook.declare.step import Steps
from runbook.declare.steps import cloud_init, hostname, reboot_if_noted
from runbook.inventory.cluster import Cluster, Host

section = Section(
    "hostnames",
    on="all",
    runbook="1.2",
    about="Set every server's hostname, and reboot where that is needed.",
)


@section.task
def set(host: Host, cluster: Cluster) -> Steps:
    """Set the hostname, and configure cloud-init to keep it."""
    yield hostname(host.name)
    yield cloud_init("preserve_hostname", "true")


def one_of_each_cluster(hosts: Sequence[Host], cluster: Cluster) -> list[list[Host]]:
    """Batches for a reboot: never two members of the same cluster at once."""
    return cluster.apart(hosts)


@section.task(batches=one_of_each_cluster)
def reboot(host: Host, cluster: Cluster) -> Steps:
    """Reboot the servers that need it, never two of a cluster at once."""
    yield reboot_if_noted()


@section.check
def check(host: Host, cluster: Cluster) -> Probes:
    """Check that every server has its hostname, and does not have to reboot for it."""
    yield probe(
        f"{host.name} calls itself {host.name}",
        "uname -n",
        first_word_is(host.name),
        fix=f"fab -H {host.name} hostnames",
    )
