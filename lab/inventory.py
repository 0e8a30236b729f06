"""Hosts and network of a lab, as its hosts file defines them."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING

from lab import CHECKOUT
from lab.errors import LabError
from lab.network import common_network, first_free

if TYPE_CHECKING:
    from runbook.inventory.cluster import Cluster

OWN_HOSTS_FILE = CHECKOUT / "hosts.yaml"
OVERRIDE = CHECKOUT / "lab" / "override.yaml"


@dataclass(frozen=True)
class Layout:
    """The hosts of a hosts file, and the network that they and the controller are in."""

    hosts_file: str
    address: str  # of the controller
    prefix: int
    hosts: dict[str, tuple[int, str]]  # name → VM number, address

    @classmethod
    def of(cls, hosts_file: Path) -> Layout:
        cluster = _cluster(hosts_file)
        addresses = [IPv4Address(host.address) for host in cluster.hosts.values()]
        addresses += [IPv4Address(vip.address) for vip in cluster.vips.values()]
        network = common_network(addresses)
        return cls(
            hosts_file=str(hosts_file.resolve()),
            address=str(first_free(network, addresses)),
            prefix=network.prefixlen,
            hosts={host.name: (host.vm, host.address) for host in cluster.hosts.values()},
        )


def versions(hosts_file: Path) -> dict[str, str]:
    """The versions of what a hosts file wants installed in the lab."""
    from fabfile.shared.versions import Versions

    wanted = _cluster(hosts_file)[Versions]
    return {name: str(getattr(wanted, name)) for name in wanted.__struct_fields__}


def _cluster(hosts_file: Path) -> Cluster:
    # Only what reads an inventory pays for importing the engine.
    from fabfile import CONTENTS
    from runbook.errors import RunbookError

    try:
        return CONTENTS.load(hosts_file, override=OVERRIDE)
    except RunbookError as error:
        raise LabError(str(error), exit_code=error.exit_code) from None
