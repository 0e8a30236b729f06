"""Who connects to what in a lab's network: its hosts, its controller, and a machine of nobody's."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from fabfile import CONTENTS
from lab.machine import Lab
from lab.network import NAMESPACES, Cable
from runbook.inventory.cluster import Cluster

PROGRAM = Path(__file__).with_name("knocking.py")
STRANGER, STRANGE_ADDRESS, STRANGE_NUMBER = "stranger", "192.168.83.77", 9977
CONTROLLER = "controller"


def inventory(lab: Lab) -> Cluster:
    """What the lab's hosts.yaml says, with the lab's settings."""
    told = lab.environment()
    return CONTENTS.load(Path(told["RUNBOOK_INVENTORY"]), Path(told["RUNBOOK_OVERRIDE"]))


def namespace_of(lab: Lab, name: str) -> Path:
    """The network namespace of a host that is on, which only its processes can name."""
    return Path(f"/proc/{lab.host(name).require_on()}/ns/net")


class Network:
    """The network of a lab, with a stranger in it."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.addresses = {name: lab.host(name).address for name in lab.hosts()}
        self.addresses[STRANGER] = STRANGE_ADDRESS
        self.addresses[CONTROLLER] = lab.record().network.address
        assert len({*self.addresses.values()}) == len(self.addresses)

    def namespace(self, who: str) -> Path:
        network = self.lab.record().network
        if who in (CONTROLLER, STRANGER):
            return NAMESPACES / (network.tag if who == CONTROLLER else network.namespace(who))
        return namespace_of(self.lab, who)

    def run(self, what: str, who: str, *words: object) -> list[str]:
        return [sys.executable, str(PROGRAM), what, str(self.namespace(who)), *map(str, words)]

    def open(self, who: str, target: str, *ports: int) -> set[int]:
        """The ports of a target that somebody reaches."""
        places = [f"{self.addresses[target]}:{port}" for port in ports]
        return {int(place.rpartition(":")[2]) for place in self.knocked(who, places)}

    def knocked(self, who: str, places: Iterable[str]) -> set[str]:
        done = subprocess.run(
            self.run("knock", who, *places), capture_output=True, text=True, check=True
        )
        return {*done.stdout.split()}

    def all_open(self, whom: Iterable[str], places: Mapping[str, str]) -> set[tuple[str, str]]:
        """(who, place) of everything that somebody of these reaches; `places`: by address."""
        whom = list(whom)
        with ThreadPoolExecutor(len(whom)) as callers:
            found = callers.map(lambda who: self.knocked(who, self.others(who, places)), whom)
            return {(who, place) for who, own in zip(whom, found) for place in own}

    def others(self, who: str, places: Mapping[str, str]) -> list[str]:
        return [place for place, target in places.items() if target != who]

    @contextmanager
    def listening(self, ports: Mapping[str, Iterable[int]]) -> Iterator[None]:
        """Something listens on these ports of each host, so that only a firewall can close them."""
        started = [
            subprocess.Popen(self.run("listen", who, *own), stdout=subprocess.PIPE, text=True)
            for who, own in ports.items()
        ]
        try:
            for process in started:
                assert process.stdout.readline() == "listening\n"
            yield
        finally:
            for process in started:
                process.kill()
                process.wait()


@contextmanager
def stranger(lab: Lab) -> Iterator[Network]:
    """The lab's network, with a machine that no hosts.yaml names on its bridge."""
    network = lab.record().network
    network.connect(STRANGER, STRANGE_NUMBER, STRANGE_ADDRESS, Cable())
    try:
        yield Network(lab)
    finally:
        network.disconnect(STRANGER, STRANGE_NUMBER)


@contextmanager
def in_the_place_of(lab: Lab, name: str) -> Iterator[Sequence[str]]:
    """What a command begins with to connect as a host does, which may be off."""
    host, network = lab.host(name), lab.record().network
    off = host.off()
    if off:
        network.connect(name, host.vm, host.address, Cable())
    place = NAMESPACES / network.namespace(name) if off else namespace_of(lab, name)
    try:
        yield ("nsenter", f"--net={place}", "--")
    finally:
        if off:
            network.disconnect(name, host.vm)
