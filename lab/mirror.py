"""The mirror of a lab: its hosts' dnf repositories and the shelf, by HTTP."""

from __future__ import annotations

import sys

from lab import cgroups
from lab.command import start_detached
from lab.image import Image
from lab.packages.model import REPOSITORIES
from lab.place import Place
from lab.record import Record
from lab.shelf import INDEX, SOURCES


def start_mirror(place: Place, record: Record, image: Image, held: list[int]) -> None:
    """Serve repositories and shelf where only the lab's hosts can reach them."""
    group = cgroups.group(place.tag).child("mirror")
    if group.pids():
        return
    served = place.state / "mirror"
    served.mkdir(exist_ok=True)
    entries = dict.fromkeys(REPOSITORIES, image.repository)
    entries.update(dict.fromkeys((SOURCES, INDEX), image.shelf))
    for name, entry in entries.items():
        link = served / name
        link.unlink(missing_ok=True)
        link.symlink_to(entry / name)
    server = [sys.executable, "-m", "http.server", "80", "--bind", record.address]
    server += ["--directory", str(served)]
    log = place.state / "mirror.log"
    group.add(start_detached(record.network.inside(*server), log=log, held=held))
