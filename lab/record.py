"""What a lab keeps about itself between two commands."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lab.errors import LabError
from lab.host import Host
from lab.inventory import Layout
from lab.network import Network
from lab.site import ROOT, Site


@dataclass(frozen=True)
class Record:
    """The contents of a lab's lab.json."""

    hosts_file: str
    tag: str
    address: str
    prefix: int
    hosts: dict[str, tuple[int, str]]  # name → VM number, address
    image: dict[str, str]
    layers: tuple[str, ...] = ()  # what saved states froze of the hosts' disks, the newest first
    left_off: tuple[str, ...] = ()  # hosts that a restored state did not need
    ports: dict[str, int] = field(default_factory=dict)  # name → where sshd listens, if not 22
    account: str = ROOT  # of the first contact
    profiles: tuple[str, ...] = ()

    @classmethod
    def read(cls, state: Path) -> Record | None:
        path = state / "lab.json"
        if not path.exists():
            return None
        try:
            record = json.loads(path.read_text())
            hosts = {name: (vm, address) for name, (vm, address) in record.pop("hosts").items()}
            layers = tuple(record.pop("layers", ()))
            left_off = tuple(record.pop("left_off", ()))
            profiles = tuple(record.pop("profiles", ()))
            return cls(hosts=hosts, layers=layers, left_off=left_off, profiles=profiles, **record)
        except (KeyError, TypeError, ValueError):
            raise LabError(f"{path} cannot be read; start again: inv lab.down") from None

    def write(self, state: Path) -> None:
        unfinished = state / f"lab.json.{secrets.token_hex(4)}"
        unfinished.write_text(json.dumps(asdict(self), indent=2) + "\n")
        unfinished.rename(state / "lab.json")

    def extended_by(self, layout: Layout) -> bool:
        """Whether a layout only adds hosts to what is there."""
        if (self.address, self.prefix) != (layout.address, layout.prefix):
            return False
        return all(
            layout.hosts.get(name) == host and layout.ports[name] == self.port(name)
            for name, host in self.hosts.items()
        )

    def require_hosts(self, names: Iterable[str]) -> None:
        """Refuse names that are not those of the lab's hosts."""
        for name in names:
            if name not in self.hosts:
                known = ", ".join(self.hosts)
                raise LabError(f"the lab has no host {name}; available: {known}", exit_code=2)

    def port(self, host: str) -> int:
        """Where a host's sshd listens."""
        return self.ports.get(host, 22)

    @property
    def network(self) -> Network:
        return Network(self.tag, self.address, self.prefix)

    def hosts_in(self, state: Path) -> dict[str, Host]:
        """Each host by its name; its files are in the lab's folder `state`."""
        site = Site(self.account, self.profiles)
        return {
            name: Host(name, vm, address, state, self.network, self.port(name), site)
            for name, (vm, address) in self.hosts.items()
        }
