"""Booting the hosts of a lab, and waiting until they have settled."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor

from lab import faults
from lab.cache import hold
from lab.command import run
from lab.controller import make_credentials
from lab.errors import LabError
from lab.host import Host
from lab.image import Image
from lab.mirror import start_mirror
from lab.place import Place
from lab.progress import Progress
from lab.record import Record

SETTLING = 180  # seconds a host may take from its power-on until nothing is starting any more


def boot(place: Place, record: Record, only: Collection[str], say: Progress) -> list[str]:
    """Start those of these hosts that are not running, and wait until they have settled."""
    image = place.recorded_image(record)
    with hold(image.entries) as held:
        missing = _prepare(place, record, image, held)
        wanted = [host for host in missing if host.name in only]
        if wanted:
            say(f"starting {len(wanted)} of {len(record.hosts)} hosts")
        with ThreadPoolExecutor(os.cpu_count()) as starters:
            list(starters.map(lambda host: _start(host, held), wanted))
    _wait_for_answers(record, [host for host in wanted if not host.cable.fault], say)
    with ThreadPoolExecutor(32) as waiters:
        for trouble in filter(None, list(waiters.map(_settle, wanted))):
            say(trouble)
    _summarize(place, record, bool(wanted), say)
    return [host.name for host in wanted]


def power_on(place: Place, hosts: Sequence[Host]) -> None:
    """Boot those of these hosts that are off, or will be in a moment; returns when they answer."""
    image = place.recorded_image(place.record())
    with hold(image.entries) as held, ThreadPoolExecutor(len(hosts) or 1) as starters:
        running = list(starters.map(Host.runs, hosts))
        missing = [host for host, runs in zip(hosts, running) if not runs]
        list(starters.map(lambda host: _start(host, held), missing))
    wait_for_answers([host for host in missing if not host.cable.fault])


def wait_for_answers(hosts: Sequence[Host]) -> None:
    """Wait until these hosts answer by ssh."""
    waiting = {(host.address, host.port): host.name for host in hosts}
    for server in hosts[0].network.wait_for_ssh(list(waiting), SETTLING) if hosts else ():
        del waiting[server]
    if waiting:
        raise LabError(f"no ssh server answers on {', '.join(waiting.values())}")


def _prepare(place: Place, record: Record, image: Image, held: list[int]) -> list[Host]:
    """Make network, mirror and disks as far as they are missing; returns the hosts that are off."""
    password_hash = make_credentials(place.state)
    record.network.up()
    start_mirror(place, record, image, held)
    missing = [host for host in record.hosts_in(place.state).values() if not host.runs()]
    for host in missing:
        disks = [str(layer) for layer in place.store.disks(record, host.name)]
        host.prepare(":".join([*disks, image.layers]), password_hash)
    return missing


def _start(host: Host, held: list[int]) -> None:
    host.power_on(held)
    host.wait_for_boot()


def _wait_for_answers(record: Record, hosts: Sequence[Host], say: Progress) -> None:
    """Wait until started hosts answer by ssh."""
    waiting = {(host.address, host.port): host for host in hosts}
    answers = record.network.wait_for_ssh(list(waiting), SETTLING)
    for number, server in enumerate(answers, start=1):
        say(f"{waiting.pop(server).name} answers ({number} of {len(hosts)})")
    if waiting:
        silent = ", ".join(host.name for host in waiting.values())
        raise LabError(f"no ssh server answers after {SETTLING} s on {silent}")


def _settle(host: Host) -> str | None:
    """Wait until a host has started everything; a sentence if something failed."""
    if not host.init():
        return f"{host.name} switched off while it started; see {host.folder / 'console.log'}"
    state = run(*host.shell("systemctl", "is-system-running", "--wait"), check=False)
    if state.stdout.strip() == "running":
        return None
    failed = run(*host.shell("systemctl", "--failed", "--plain", "--no-legend"), check=False)
    units = ", ".join(line.split()[0] for line in failed.stdout.splitlines() if line.strip())
    return f"{host.name} is {state.stdout.strip() or 'in trouble'}: {units or state.stderr.strip()}"


def _summarize(place: Place, record: Record, started: bool, say: Progress) -> None:
    """Say which hosts are not well, and how many are up."""
    states = {name: faults.state_of(host) for name, host in record.hosts_in(place.state).items()}
    left_off = [name for name in record.left_off if states[name] == "off"]
    for name, state in states.items():
        if state != "running" and name not in left_off:
            say(f"{name} is {state}; to repair it: inv lab.heal {name}")
    up = f"{len(states) - len(left_off)} hosts are up" + ("" if started else ", nothing to do")
    say(up + (f"; left off: {', '.join(left_off)}" if left_off else ""))
