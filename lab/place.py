"""Where a lab is on this machine: its folder, its locks, and what it is made from."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from lab import cgroups
from lab.cache import Cache, locked
from lab.errors import LabError
from lab.image import Image
from lab.network import Network, tag_of
from lab.record import Record
from lab.saved import Store

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,40}")


class Place:
    """One lab's place by its name, whether the lab is up or not.

    Everything that the lab has on this machine is found again by that name.
    """

    def __init__(
        self,
        name: str,
        state: Path,
        cache: Cache,
        hosts_file: Path | None = None,
        write: Callable[[str], Any] = print,
        profiles: Collection[str] | None = None,
    ) -> None:
        self.name = name
        self.state = state
        self.cache = cache
        self.hosts_file = hosts_file
        self.write = write
        self.profiles = profiles
        self.tag = tag_of(state)
        self.store = Store(state.parent)

    def locked(self) -> AbstractContextManager[None]:
        """A lock: one command at a time changes the lab."""
        return locked(self.state.with_name(f".{self.name}.lock"), self._wait_for_other)

    def cache_locked(self) -> AbstractContextManager[None]:
        """A lock: one command at a time builds or removes what is in the cache."""
        return locked(self.cache.root / "lock", self._wait_for_other)

    def store_locked(self) -> AbstractContextManager[None]:
        """A lock: one command at a time changes the saved states."""
        return self.store.locked(
            lambda: self.write("waiting: another command is changing the saved states")
        )

    def _wait_for_other(self) -> None:
        self.write(f"waiting: another command is changing the lab {self.name} or its cache")

    def record(self) -> Record:
        """The lab's record; LabError if the lab is not up."""
        record = Record.read(self.state)
        if not record or not record.network.exists():
            named = "" if self.name == "lab" else f" --name {self.name}"
            raise LabError(f"no lab is up; run: inv lab.up{named}")
        return record

    def recorded_image(self, record: Record) -> Image:
        """The image that the hosts of a record were made from; LabError if it is gone."""
        image = Image.named(self.cache.root, record.image)
        if not image.complete():
            raise LabError(
                f"the image that the lab {self.name} is made from is no longer in the cache;"
                " start again: inv lab.down, then inv lab.up"
            )
        return image


def require_name(kind: str, name: str) -> None:
    """Refuse a name that is not valid for a lab or a saved state."""
    if not NAME.fullmatch(name):
        raise LabError(f"{name!r} is not valid as {kind}'s name; use letters, digits, - and _", 2)


def end(place: Place) -> None:
    """End all that is there of the lab, and remove its hosts."""
    cgroups.group(place.tag).kill()
    Network(place.tag, "", 0).down()
    cgroups.remove_everywhere(place.tag)
    for path in Path("/run/systemd/nspawn/propagate").glob(f"{place.tag}-*"):
        shutil.rmtree(path, ignore_errors=True)
    shutil.rmtree(place.state, ignore_errors=True)
