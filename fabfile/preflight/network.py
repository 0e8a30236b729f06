"""Addresses, routes, firewall and listeners of a server, and findings on them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

from runbook.declare.probes import Finding
from runbook.declare.templates import script
from runbook.inventory.cluster import Cluster, Host

from .trouble import fine, stops

KNOWN_SERVICES = {
    "ssh": "22/tcp",
    "nfs": "2049/tcp",
    "postgresql": "5432/tcp",
    "amqp": "5672/tcp",
    "amqps": "5671/tcp",
    "https": "443/tcp",
}
"""Services of firewalld, and the ports of the cluster that they open."""


@dataclass(frozen=True)
class Zone:
    """A zone of firewalld, as `firewall-cmd --list-all-zones` shows it."""

    target: str = "default"
    interfaces: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()

    def lets_in(self, port: int, caller: str) -> bool:
        """Whether a TCP port is open to an address."""
        if self.target == "ACCEPT" or any(_covers(one, port) for one in self.ports):
            return True
        return any(_lets_in(rule, port, caller) for rule in self.rules)


def _lets_in(rule: str, port: int, caller: str) -> bool:
    """Whether a rich rule opens a TCP port to an address."""
    told = dict(re.findall(r'([a-z ]+)="([^"]*)"', rule))
    opened = f"{told.get(' port port', '0')}/{told.get(' protocol', '')}"
    if not rule.endswith("accept") or not _covers(opened, port):
        return False
    source = told.get(" source address")
    return " source " not in rule if source is None else _within(caller, source)


def _within(address: str, network: str) -> bool:
    try:
        return ip_address(address) in ip_network(network, strict=False)
    except ValueError:
        return False


def _covers(ports: str, port: int) -> bool:
    span, _, protocol = ports.partition("/")
    first, _, last = span.partition("-")
    return protocol == "tcp" and int(first) <= port <= int(last or first)


@dataclass(frozen=True)
class Listener:
    """A process that listens on a TCP port, and the unit that it belongs to."""

    port: int
    pid: str
    unit: str
    name: str


@dataclass(frozen=True)
class Network:
    """The network of a server; `routes`: the interface and source address for each peer."""

    addresses: tuple[tuple[str, str], ...]
    routes: Mapping[str, tuple[str, str]]
    running: bool
    default_zone: str
    zones: Mapping[str, Zone] = field(default_factory=dict)
    coming_zone: str = ""
    listeners: tuple[Listener, ...] = ()

    def interface(self, address: str) -> str:
        """The interface of an address; empty if it is not on this server."""
        return next((name for name, own in self.addresses if own == address), "")

    def zone(self, address: str) -> str:
        """firewalld's zone for the interface of an address, now or once firewalld runs."""
        name = self.interface(address)
        held = [zone for zone, about in self.zones.items() if name in about.interfaces]
        return (held[0] if held else self.coming_zone) or self.default_zone


def command(cluster: Cluster, host: Host) -> str:
    """A command that prints addresses, routes, zones and listeners."""
    return script(
        "preflight/network.sh",
        address=host.address,
        peers=" ".join(other.address for other in cluster.hosts.values() if other != host),
        ports=" ".join(str(port) for port in ports(cluster, host)),
    )


def ports(cluster: Cluster, host: Host) -> list[int]:
    """The TCP ports of a host's roles, without ranges, which are in use only briefly."""
    declared = (port for role in cluster.roles_of(host) for port in role.ports)
    found = (re.fullmatch(r"(\d+)/tcp", port.number) for port in declared)
    return [int(one[1]) for one in found if one]


def parse(text: str) -> Network:
    """Parse the answer of `command`."""
    told: dict[str, list[list[str]]] = {}
    zones: list[str] = []
    for line in filter(str.strip, text.splitlines()):
        if line.startswith("zones|"):
            zones.append(line.partition("|")[2])
            continue
        word, *values = line.split()
        told.setdefault(word, []).append(values)
    return Network(
        addresses=tuple(
            (name, address.partition("/")[0]) for name, address in told.get("address", ())
        ),
        routes={peer: (device, source) for peer, device, source in told.get("route", ())},
        running="firewalld" in told,
        default_zone=told["default_zone"][0][0],
        zones=dict(_zones(zones)),
        coming_zone=told.get("zone", [[""]])[-1][0],
        listeners=tuple(
            Listener(int(port), pid, unit, " ".join(name))
            for port, pid, unit, *name in told.get("listens", ())
        ),
    )


def _zones(lines: list[str]) -> Iterator[tuple[str, Zone]]:
    """Parse `firewall-cmd --list-all-zones`: unindented names, each with indented keys."""
    name = ""
    about: dict[str, str] = {}
    rules: list[str] = []
    for line in [*lines, "end"]:
        if line and not line[0].isspace():
            if name:
                yield name, _zone(about, rules)
            name, about, rules = line.split()[0], {}, []
        elif line.strip().startswith("rule "):
            rules.append(line.strip())
        else:
            key, _, value = line.strip().partition(":")
            about[key] = value.strip()


def _zone(about: Mapping[str, str], rules: list[str]) -> Zone:
    services = [KNOWN_SERVICES.get(name, "") for name in about.get("services", "").split()]
    return Zone(
        target=about.get("target", "default"),
        interfaces=tuple(about.get("interfaces", "").split()),
        sources=tuple(about.get("sources", "").split()),
        ports=(*about.get("ports", "").split(), *filter(None, services)),
        rules=tuple(rules),
    )


def findings(host: Host, cluster: Cluster, network: Network) -> Iterator[Finding]:
    """Findings on the network of one server."""
    yield from addresses(host, cluster, network)
    yield from listeners(host, cluster, network)


def addresses(host: Host, cluster: Cluster, network: Network) -> Iterator[Finding]:
    """Check that the server has its address of hosts.yaml, and sends from it to the others."""
    own = [address for _, address in network.addresses]
    if host.address not in own:
        yield stops(
            host.name,
            "address",
            f"no interface has {host.address}; this server has {', '.join(own) or 'none'}",
            "correct `address` in hosts.yaml; an address behind NAT does not work",
        )
        return
    wrong: dict[str, list[str]] = {}
    names = {other.address: other.name for other in cluster.hosts.values()}
    for peer, (device, source) in network.routes.items():
        if source != host.address and peer in names:
            wrong.setdefault(f"{source} ({device})", []).append(names[peer])
    for source, peers in wrong.items():
        reached = f"{len(peers)} servers" if len(peers) > 3 else ", ".join(peers)
        yield stops(
            host.name,
            "address",
            f"packets to {reached} leave from {source} instead of {host.address}: firewalls "
            "and the database would refuse them",
            f"add a route from {host.address}: ip route replace NETWORK dev "
            f"{network.interface(host.address)} src {host.address}; make it permanent with nmcli",
        )
    if not wrong:
        yield fine(host.name, "address")


def listeners(host: Host, cluster: Cluster, network: Network) -> Iterator[Finding]:
    """Check that no other program listens on the ports of the cluster's services."""
    units = {unit for role in cluster.roles_of(host) for unit in role.units}
    foreign: dict[tuple[str, str], list[Listener]] = {}
    for one in network.listeners:
        if not {one.unit, one.name} & units:
            foreign.setdefault((one.pid, one.unit), []).append(one)
    for (pid, unit), own in foreign.items():
        numbers = " and ".join(str(port) for port in dict.fromkeys(one.port for one in own))
        who = own[0].name if pid == "-" else f"{own[0].name} (pid {pid}, {unit})"
        way_out = "stop it, or move it to another port"
        if unit.endswith(".service"):
            way_out = f"if it is not needed: systemctl disable --now {unit}"
        yield stops(host.name, "ports", f"{who} listens on {numbers}", way_out)
    if not foreign:
        yield fine(host.name, "ports")
