"""Hosts and network of a lab, as its hosts file defines them."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from lab import CHECKOUT
from lab.errors import LabError
from lab.network import common_network, first_free
from lab.site import overrides

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
    ports: dict[str, int]  # name → where sshd listens
    account: str  # of the first contact

    @classmethod
    def of(cls, hosts_file: Path, profiles: Sequence[str] = ()) -> Layout:
        with tempfile.TemporaryDirectory(prefix="lab-override-") as folder:
            cluster = _cluster(hosts_file, override_file(profiles, Path(folder)))
        addresses = [IPv4Address(host.address) for host in cluster.hosts.values()]
        addresses += [IPv4Address(vip.address) for vip in cluster.vips.values()]
        network = common_network(addresses)
        return cls(
            hosts_file=str(hosts_file.resolve()),
            address=str(first_free(network, addresses)),
            prefix=network.prefixlen,
            hosts={host.name: (host.vm, host.address) for host in cluster.hosts.values()},
            ports={host.name: cluster.ssh_port(host) for host in cluster.hosts.values()},
            account=cluster.connection.bootstrap_user,
        )


def override_file(profiles: Sequence[str], folder: Path) -> Path:
    """What differs in hosts.yaml when a lab with these profiles rehearses it.

    It is made in `folder` if profiles say anything about it.
    """
    above = overrides(profiles)
    if not above:
        return OVERRIDE
    from runbook.inventory.document import merged

    data: dict[str, Any] = {}
    for source in (OVERRIDE, *above):
        data = merged(data, yaml.safe_load(source.read_text()))
    unfinished = folder / f"override.yaml.{secrets.token_hex(4)}"
    unfinished.write_text(yaml.safe_dump(data, sort_keys=False))
    return unfinished.rename(folder / "override.yaml")


def versions(hosts_file: Path) -> dict[str, str]:
    """The versions of what a hosts file wants installed in the lab."""
    from fabfile.shared.versions import Versions

    wanted = _cluster(hosts_file)[Versions]
    return {name: str(getattr(wanted, name)) for name in wanted.__struct_fields__}


def _cluster(hosts_file: Path, override: Path = OVERRIDE) -> Cluster:
    # Only what reads an inventory pays for importing the engine.
    from fabfile import CONTENTS
    from runbook.errors import RunbookError

    try:
        return CONTENTS.load(hosts_file, override=override)
    except RunbookError as error:
        raise LabError(str(error), exit_code=error.exit_code) from None
