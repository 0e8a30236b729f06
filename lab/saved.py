"""Saved states: the hosts of a lab with their disks, and what its controller knows, to go back to.

A state's disks are layers of the hosts' overlays. Saving renames what the hosts have written to a
layer, so nothing is copied, and any number of labs may use the same layers.
"""

from __future__ import annotations

import json
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from lab.cache import key_of, locked
from lab.command import run
from lab.controller import CONTROLLER
from lab.errors import LabError
from lab.record import Record

INVENTORY = "hosts.yaml"
RECORD = "saved.json"


@dataclass(frozen=True)
class Saved:
    """One saved state."""

    name: str
    folder: Path
    record: Record
    at: float  # seconds since the epoch
    why: str
    versions: dict[str, str]

    @property
    def inventory(self) -> Path:
        """The copy of the hosts file that the lab used."""
        return self.folder / INVENTORY

    @property
    def digest(self) -> str:
        """A hash of that hosts file, to compare others with."""
        return digest_of(self.inventory)

    @property
    def age(self) -> float:
        return time.time() - self.at


def digest_of(inventory: Path) -> str:
    """A hash of a hosts file, in twelve characters."""
    return key_of(inventory.read_text())


class Store:
    """All saved states of this machine, beside its labs."""

    def __init__(self, labs: Path) -> None:
        self.labs = labs
        self.root = labs / ".saved"
        self.states = self.root / "states"
        self.layers = self.root / "layers"

    def locked(self, on_wait: Callable[[], None]) -> AbstractContextManager[None]:
        """A lock: one command at a time refers to layers, or removes those that are not in use."""
        self.labs.mkdir(parents=True, exist_ok=True)
        self.root.mkdir(mode=0o700, exist_ok=True)  # the hosts' disks are root's alone
        return locked(self.root / "lock", on_wait)

    def names(self) -> list[str]:
        return sorted(path.parent.name for path in self.states.glob(f"[!.]*/{RECORD}"))

    def all(self) -> list[Saved]:
        return [self.read(name) for name in self.names()]

    def read(self, name: str) -> Saved:
        folder = self.states / name
        record = Record.read(folder) if name in self.names() else None
        if not record:
            known = ", ".join(self.names()) or "none"
            raise LabError(f"no state {name} is saved here; available: {known}", exit_code=2)
        try:
            told = json.loads((folder / RECORD).read_text())
            return Saved(name, folder, record, told["at"], told["why"], told["versions"])
        except (KeyError, ValueError):
            raise LabError(
                f"the saved state {name} cannot be read; delete it: inv lab.forget {name}"
            ) from None

    def add(
        self, name: str, record: Record, controller: Path, versions: dict[str, str], why: str
    ) -> None:
        """Save a state under this name; it appears only when it is complete."""
        self.states.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=self.states))
        run("cp", "-a", controller, unfinished / CONTROLLER)
        shutil.copyfile(record.hosts_file, unfinished / INVENTORY)
        record.write(unfinished)
        told = {"at": time.time(), "why": why, "versions": versions}
        (unfinished / RECORD).write_text(json.dumps(told, indent=2) + "\n")
        unfinished.rename(self.states / name)

    def forget(self, name: str) -> None:
        """Delete a state; labs that use it keep running."""
        gone = self.states / f".unfinished-{secrets.token_hex(4)}"
        (self.states / name).rename(gone)
        shutil.rmtree(gone)

    def disks(self, record: Record, host: str) -> list[Path]:
        """The frozen layers of a host's disk, the newest first."""
        layers = [self.layers / layer / host for layer in record.layers]
        return [layer for layer in layers if layer.exists()]

    def records(self) -> Iterator[Record]:
        """The records of all labs and saved states."""
        for path in [*self.labs.glob("[!.]*/lab.json"), *self.states.glob("[!.]*/lab.json")]:
            record = Record.read(path.parent)
            if record:
                yield record

    def remove_unused(self) -> None:
        """Remove the layers that neither a lab nor a saved state uses."""
        if not self.layers.exists():
            return
        used = {layer for record in self.records() for layer in record.layers}
        for path in self.layers.iterdir():
            if path.name not in used:
                shutil.rmtree(path)

    def size(self, saved: Saved) -> int:
        """The bytes of a state's layers, including those that others share."""
        layers = [self.layers / layer for layer in saved.record.layers]
        lines = run("du", "--summarize", "--block-size=1", *layers).stdout.splitlines()
        return sum(int(line.split()[0]) for line in lines)
