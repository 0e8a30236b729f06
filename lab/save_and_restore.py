"""Saving the current state of a lab, going back to a saved state, and deleting one."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from lab import faults
from lab.boot import boot
from lab.command import run
from lab.controller import CONTROLLER
from lab.errors import LabError
from lab.host import Host
from lab.inventory import OWN_HOSTS_FILE, versions
from lab.place import Place, end, require_name
from lab.preflight import prepare_machine
from lab.progress import Progress
from lab.record import Record
from lab.saved import INVENTORY, Saved, digest_of


def save(place: Place, name: str, why: str, boot_again: bool) -> Saved:
    """Save the current state of the lab under a name; its hosts are stopped for it.

    All hosts must run without a fault, or have been left off.
    """
    say = Progress(place.write)
    require_name("a saved state", name)
    with place.locked():
        record = place.record()
        _require_savable(place, name, record)
        wanted = versions(Path(record.hosts_file))
        hosts = list(record.hosts_in(place.state).values())
        running = [host for host in hosts if host.init()]
        faults.cut_power(running)
        say(f"{len(hosts)} hosts are off")
        with place.store_locked():
            record = _freeze_disks(place, record, hosts)
            place.store.add(name, record, place.state / CONTROLLER, wanted, why)
        say(f"{name} is saved")
        boot(place, record, [host.name for host in running if boot_again], say)
    return place.store.read(name)


def restore(place: Place, name: str, only: Collection[str]) -> list[str]:
    """Go back to a saved state; the lab's current state is lost. Returns what was started.

    With `only`, the other hosts are left off until they are needed.
    """
    say = Progress(place.write)
    prepare_machine(say)
    with place.locked():
        wanted = place.store.read(name).record
        place.recorded_image(wanted)
        wanted.require_hosts(only)
        end(place)
        with place.store_locked():
            record = _begin_on(place, place.store.read(name), only, say)
            place.store.remove_unused()
        return boot(place, record, only or record.hosts, say)


def forget(place: Place, name: str) -> None:
    """Delete a saved state; labs that use it keep running."""
    with place.store_locked():
        place.store.read(name)
        place.store.forget(name)
        place.store.remove_unused()


def _require_savable(place: Place, name: str, record: Record) -> None:
    if name in place.store.names():
        raise LabError(f"{name} is saved already; to delete it: inv lab.forget {name}", 2)
    for host in record.hosts_in(place.state).values():
        state = faults.state_of(host)
        if state != "running" and not (state == "off" and host.name in record.left_off):
            raise LabError(
                f"{host.name} is {state}; a lab can be saved only without faults."
                f" First run: inv lab.heal {host.name}"
            )


def _freeze_disks(place: Place, record: Record, hosts: Sequence[Host]) -> Record:
    """Turn what the hosts have written into a layer; returns the record of the lab upon it."""
    layer = secrets.token_hex(6)
    record = replace(record, layers=(layer, *record.layers))
    # The record goes first: until its layer is there, a host's own files are on top.
    record.write(place.state)
    for host in hosts:
        host.freeze(place.store.layers / layer / host.name)
    return record


def _begin_on(place: Place, saved: Saved, only: Collection[str], say: Progress) -> Record:
    """Make the lab's folder anew, with hosts whose disks are those of a saved state."""
    place.state.mkdir(parents=True)
    run("cp", "-a", saved.folder / CONTROLLER, place.state / CONTROLLER)
    record = replace(
        saved.record,
        tag=place.tag,
        hosts_file=str(_hosts_file_of(place, saved, say)),
        left_off=tuple(name for name in saved.record.hosts if only and name not in only),
    )
    for host in record.hosts_in(place.state).values():
        host.begin_on_layers()
    record.write(place.state)
    return record


def _hosts_file_of(place: Place, saved: Saved, say: Progress) -> Path:
    """The hosts file that a state was saved with: one that people edit, else the saved copy."""
    own = [place.hosts_file] if place.hosts_file else []
    for file in (*own, OWN_HOSTS_FILE, Path(saved.record.hosts_file)):
        if file.exists() and digest_of(file) == saved.digest:
            return file.resolve()
    copy = place.state / INVENTORY
    shutil.copyfile(saved.inventory, copy)
    say(f"the hosts file has changed since then; the lab uses the saved copy: {copy}")
    return copy
