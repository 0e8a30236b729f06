"""Who connects to what in a lab's network: its hosts, its controller, and a machine of nobody's."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from fabfile import CONTENTS
from lab.machine import Lab
from lab.network import Cable
from runbook.inventory.cluster import Cluster

PROGRAM = Path(__file__).with_name("knocking.py")
STRANGER, STRANGE_ADDRESS, STRANGE_NUMBER = "stranger", "192.168.83.77", 9977
CONTROLLER = "controller"


def inventory(lab: Lab) -> Cluster:
    """What the lab's hosts.yaml says, with the lab's settings."""
    told = lab.environment()
    return CONTENTS.load(Path(told["RUNBOOK_INVENTORY"]), Path(told["RUNBOOK_OVERRIDE"]))


class Network:
    """The network of a lab, with a stranger in it."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.addresses = {name: lab.host(name).address for name in lab.hosts()}
        self.addresses[STRANGER] = STRANGE_ADDRESS
        self.addresses[CONTROLLER] = lab.network.address
        assert len({*self.addresses.values()}) == len(self.addresses)

    def namespace(self, who: str) -> str:
        network = self.lab.network
        return network.controller if who == CONTROLLER else network.namespace(who)

    def run(self, what: str, who: str, *words: object) -> list[str]:
        return [sys.executable, str(PROGRAM), what, self.namespace(who), *map(str, words)]

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
    lab.network.connect(STRANGER, STRANGE_NUMBER, STRANGE_ADDRESS, Cable())
    try:
        yield Network(lab)
    finally:
        lab.network.disconnect(STRANGER, STRANGE_NUMBER)
