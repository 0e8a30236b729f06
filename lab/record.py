"""What a lab remembers of itself between two commands."""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from lab.errors import LabError
from lab.host import Host
from lab.network import Network


@dataclass(frozen=True)
class Record:
    """The contents of a lab's lab.json."""

    hosts_file: str
    tag: str
    address: str
    prefix: int
    hosts: dict[str, tuple[int, str]]  # name → VM number, address
    image: dict[str, str]

    @classmethod
    def read(cls, state: Path) -> Record | None:
        path = state / "lab.json"
        if not path.exists():
            return None
        try:
            record = json.loads(path.read_text())
            hosts = {name: (vm, address) for name, (vm, address) in record.pop("hosts").items()}
            return cls(hosts=hosts, **record)
        except (KeyError, TypeError, ValueError):
            raise LabError(f"{path} cannot be read; begin afresh: inv lab.down") from None

    def write(self, state: Path) -> None:
        unfinished = state / f"lab.json.{secrets.token_hex(4)}"
        unfinished.write_text(json.dumps(asdict(self), indent=2) + "\n")
        unfinished.rename(state / "lab.json")

    @property
    def network(self) -> Network:
        return Network(self.tag, self.address, self.prefix)

    def machines(self, state: Path) -> dict[str, Host]:
        return {
            name: Host(name, vm, address, state, self.network)
            for name, (vm, address) in self.hosts.items()
        }
