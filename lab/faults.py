"""What can go wrong with a host, made to happen."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from lab.errors import LabError
from lab.host import POWER_OFF, Host
from lab.network import Cable
from lab.waiting import wait_until

KINDS = {
    "power-off": "the host shuts down in order",
    "power-loss": "the host is gone at once, unsaved data of its processes with it",
    "power-on": "the host boots",
    "freeze": "the host is frozen: no process runs, but its link stays up",
    "unplug": "the host's cable is pulled, which the host notices",
    "partition": "the host is cut off from all others, and its link stays up",
    "cut": "the host and some others cannot reach each other; all other hosts reach both",
    "loss": "some per cent of the packets are lost in either direction",
}
CABLE_FAULTS = ("unplug", "partition", "cut", "loss")


def state_of(host: Host) -> str:
    """The host's state in a few words: running, off, frozen, or what is wrong with its cable."""
    if not host.init():
        return "off"
    if host.payload.frozen():
        return "frozen"
    cable = host.cable
    states = {
        "unplug": "unplugged",
        "partition": "partitioned",
        "cut": f"cut from {','.join(name for name, _ in cable.peers)}",
        "loss": f"loss {cable.percent} %",
    }
    return states.get(cable.fault, "running")


def power_off(host: Host) -> None:
    """Shut a host down and wait until it is off."""
    if host.payload.frozen():
        raise LabError(f"{host.name} is frozen and cannot shut down; thaw it: inv lab.heal")
    init = host.init()
    if init:
        os.kill(init, POWER_OFF)
    _wait_until_off(host, 120)


def power_loss(host: Host) -> None:
    """Cut a host's power: first nothing leaves it any more, then nothing runs in it."""
    init = host.init()
    if init:
        host.network.set_cable(host.vm, Cable("unplug"))
        os.kill(init, signal.SIGKILL)
    _wait_until_off(host, 30)


def cut_power(hosts: Sequence[Host]) -> None:
    """Cut the power of several hosts. All are frozen first, so that it is at the same moment."""
    running = [host for host in hosts if host.init()]
    with ThreadPoolExecutor(len(running) or 1) as switches:
        for switch in (freeze, power_loss):
            list(switches.map(switch, running))


def freeze(host: Host) -> None:
    """Freeze a host."""
    host.require_on()
    host.payload.freeze(True)


def thaw(host: Host) -> None:
    """Thaw a frozen host."""
    if host.payload.frozen():
        host.payload.freeze(False)


def break_cable(host: Host, kind: str, percent: int | None, peers: Sequence[Host] = ()) -> None:
    """Make a host's cable faulty; the fault stays over reboots until the host is healed."""
    host.require_on()
    if kind != "loss" and percent is not None:
        raise LabError(f"--percent can be used only with loss, not with {kind}", exit_code=2)
    if kind == "cut":
        host.set_cable(Cable(kind, peers=_cut_off(host, peers)))
        return
    loss = 30 if percent is None else percent
    if not 1 <= loss <= 100:
        raise LabError(f"--percent must be between 1 and 100, not {loss}", exit_code=2)
    host.set_cable(Cable(kind, loss if kind == "loss" else 0))


def _cut_off(host: Host, peers: Sequence[Host]) -> tuple[tuple[str, int], ...]:
    """The peers of a cut, as the cable remembers them."""
    if not peers:
        raise LabError("cut needs the other hosts: --peers HOST,HOST…", exit_code=2)
    if host in peers:
        raise LabError(f"{host.name} cannot be cut from itself", exit_code=2)
    return tuple((peer.name, peer.vm) for peer in peers)


def _wait_until_off(host: Host, timeout: float) -> None:
    if not wait_until(host.off, timeout):
        raise LabError(f"{host.name} is still not off after {timeout:.0f} seconds")
