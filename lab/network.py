"""The lab's network: a bridge in a namespace of its own that has no way out.

The controller (where commands and the package mirror run) sits on that bridge, and a virtual cable
attaches each host to it. Nothing of it is ever visible in the machine's own network namespace.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import socket
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from itertools import chain
from pathlib import Path

from lab.command import run
from lab.errors import LabError

NAMESPACES = Path("/run/netns")
BRIDGE = "br0"
CLONE_NEWNET = 0x40000000

SECOND_BRIDGE = "br1"
SECOND = IPv4Network("198.18.0.0/16")  # for tests alone (RFC 2544); the hosts' second network
SECOND_GATEWAY = SECOND[-2]


def common_network(addresses: Iterable[IPv4Address]) -> IPv4Network:
    """The smallest network, at least a /24, that holds all addresses."""
    numbers = [int(address) for address in addresses]
    differing_bits = (min(numbers) ^ max(numbers)).bit_length()
    return IPv4Network((min(numbers), min(24, 32 - differing_bits)), strict=False)


def first_free(network: IPv4Network, taken: Iterable[IPv4Address]) -> IPv4Address:
    """The first free address, preferably in the /24 of the lowest one in use."""
    used = set(taken)
    nearby = IPv4Network((int(min(used)), 24), strict=False)
    for address in chain(nearby.hosts(), network.hosts()):
        if address not in used:
            return address
    raise LabError(f"no address is left for the controller in {network}")


def tag_of(state: Path) -> str:
    """A short name, different for each lab, that its namespaces, groups and mounts carry."""
    return "lab-" + hashlib.sha256(str(state).encode()).hexdigest()[:6]


def cable_of(vm: int) -> str:
    """The name of the bridge's end of a host's cable; Linux allows 15 characters."""
    name = f"vm{vm}"
    if len(name) > 15:
        raise LabError(f"the VM number {vm} is too long")
    return name


def second_cable_of(vm: int) -> str:
    """The same of its cable to the second network."""
    return f"b{vm}"


def hardware_address(vm: int) -> str:
    """A MAC address that a host keeps over its reboots."""
    return "52:54:00:" + ":".join(f"{byte:02x}" for byte in (vm % 2**24).to_bytes(3, "big"))


@dataclass(frozen=True)
class Cable:
    """What is wrong with a host's cable; it outlives the host's reboots."""

    fault: str = ""  # "", "unplug", "partition", "loss" or "cut"
    percent: int = 0
    peers: tuple[tuple[str, int], ...] = ()  # names and VM numbers of whom it is cut from

    @classmethod
    def read(cls, path: Path) -> Cable:
        if not path.exists():
            return cls()
        fault, percent, *peers = path.read_text().split()
        pairs = (peer.rpartition("=") for peer in peers)
        return cls(fault, int(percent), tuple((name, int(vm)) for name, _, vm in pairs))

    def write(self, path: Path) -> None:
        if not self.fault:
            path.unlink(missing_ok=True)
            return
        peers = "".join(f" {name}={vm}" for name, vm in self.peers)
        path.write_text(f"{self.fault} {self.percent}{peers}\n")


@dataclass(frozen=True)
class Network:
    """The network of one lab."""

    tag: str
    address: str  # of the controller and mirror
    prefix: int

    @property
    def controller(self) -> str:
        """The controller's namespace."""
        return self.tag

    def namespace(self, host: str) -> str:
        return f"{self.tag}-{host}"

    def exists(self) -> bool:
        return (NAMESPACES / self.controller).exists()

    def up(self) -> None:
        """Make the controller's namespace with the bridge; there is no way out of it."""
        if self.exists():
            return
        run("ip", "netns", "add", self.controller)
        # Forwarding with an unreachable default route makes every attempt to leave fail at once.
        run(*self.inside("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.icmp_ratelimit=0"))
        _ip(
            self.controller,
            "link set lo up",
            f"link add {BRIDGE} type bridge mcast_snooping 0",
            f"address add {self.address}/{self.prefix} dev {BRIDGE}",
            f"link set {BRIDGE} up",
            f"link add {SECOND_BRIDGE} type bridge mcast_snooping 0",
            f"address add {SECOND_GATEWAY}/{SECOND.prefixlen} dev {SECOND_BRIDGE}",
            f"link set {SECOND_BRIDGE} up",
            "route add unreachable default",
        )

    def inside(self, *argv: object) -> list[str]:
        """The command that runs argv in the controller's namespace."""
        return ["nsenter", f"--net={NAMESPACES / self.controller}", "--", *map(str, argv)]

    def connect(self, host: str, vm: int, address: str, cable: Cable) -> None:
        """Give a host a fresh namespace with a cable to the bridge, as faulty as `cable` says."""
        self.disconnect(host, vm)
        namespace = self.namespace(host)
        run("ip", "netns", "add", namespace)
        _ip(
            namespace,
            "link set lo up",
            f"link add eth0 address {hardware_address(vm)} type veth"
            f" peer name {cable_of(vm)} netns {self.controller}",
            f"address add {address}/{self.prefix} broadcast + dev eth0",
            "link set eth0 up",
            f"route add default via {self.address}",
        )
        self.set_cable(vm, cable)

    def connect_second(self, host: str, vm: int) -> None:
        """Give a connected host a card in the second network, and the default route through it."""
        cable = second_cable_of(vm)
        _ip(
            self.namespace(host),
            f"link add eth1 type veth peer name {cable} netns {self.controller}",
            f"address add {SECOND[vm % 2**15 + 1]}/{SECOND.prefixlen} broadcast + dev eth1",
            "link set eth1 up",
            f"route replace default via {SECOND_GATEWAY}",
        )
        _ip(self.controller, f"link set {cable} master {SECOND_BRIDGE}", f"link set {cable} up")

    def disconnect(self, host: str, vm: int) -> None:
        """Take away a host's namespace, so that nothing answers for a host that is off."""
        # The cable goes first: the kernel removes what is in a namespace only some time later.
        for cable in (cable_of(vm), second_cable_of(vm)):
            run("ip", "-n", self.controller, "link", "del", cable, check=False)
        run("ip", "netns", "del", self.namespace(host), check=False)

    def set_cable(self, vm: int, cable: Cable) -> None:
        """Make the cable of a connected host as faulty as `cable` says."""
        name = cable_of(vm)
        _ip(
            self.controller,
            f"link set {name} nomaster"
            if cable.fault == "partition"
            else f"link set {name} master {BRIDGE}",
            f"link set {name} {'down' if cable.fault == 'unplug' else 'up'}",
        )
        rules = "".join(
            f"table {family} {name}\ndelete table {family} {name}\n"
            for family in ("netdev", "bridge")
        )
        if cable.fault == "loss":
            rules += _loss_rules(name, cable.percent)
        if cable.fault == "cut":
            rules += _cut_rules(name, [cable_of(number) for _, number in cable.peers])
        run(*self.inside("nft", "-f", "-"), feed=rules)

    def down(self) -> None:
        """Remove every namespace that carries the lab's tag."""
        if not NAMESPACES.exists():
            return
        for path in NAMESPACES.iterdir():
            if path.name == self.tag or path.name.startswith(f"{self.tag}-"):
                run("ip", "netns", "del", path.name)

    def wait_for_ssh(
        self, servers: Iterable[tuple[str, int]], timeout: float
    ) -> Iterator[tuple[str, int]]:
        """Yield each address and port when an ssh server answers there, for `timeout` seconds."""
        deadline = time.monotonic() + timeout
        waiting = list(servers)
        # A socket belongs to the namespace its thread is in, and only these threads enter it.
        with ThreadPoolExecutor(16, initializer=_enter, initargs=(self.controller,)) as inside:
            while waiting and time.monotonic() < deadline:
                asked = list(zip(waiting, inside.map(_answers, waiting)))
                waiting = [server for server, answered in asked if not answered]
                yield from (server for server, answered in asked if answered)
                time.sleep(0.1)


def _loss_rules(name: str, percent: int) -> str:
    """nft's rules that lose some of the packets on an interface, in either direction."""
    drop = f"numgen random mod 100 < {percent} drop"
    chains = "".join(
        f"chain {hook} {{ type filter hook {hook} device {name} priority 0; {drop}; }}\n"
        for hook in ("ingress", "egress")
    )
    return f"table netdev {name} {{\n{chains}}}\n"


def _cut_rules(name: str, peers: Iterable[str]) -> str:
    """nft's rules by which the bridge carries nothing between an interface and some others.

    They name the interfaces, so they also hold for one that is there only after a reboot.
    """
    others = ", ".join(f'"{peer}"' for peer in peers)
    return (
        f"table bridge {name} {{\n"
        "chain forward {\n"
        "type filter hook forward priority 0;\n"
        f'iifname "{name}" oifname {{ {others} }} drop\n'
        f'iifname {{ {others} }} oifname "{name}" drop\n'
        "}\n}\n"
    )


def _ip(namespace: str, *commands: str) -> None:
    """Run several ip commands in a namespace."""
    run("ip", "-n", namespace, "-batch", "-", feed="\n".join(commands) + "\n")


def _enter(namespace: str) -> None:
    """Move the calling thread, and no other, into a network namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    with (NAMESPACES / namespace).open() as handle:
        if libc.setns(handle.fileno(), CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))


def _answers(server: tuple[str, int]) -> bool:
    """Whether an ssh server greets at the address and port."""
    try:
        with socket.create_connection(server, timeout=0.3) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False
