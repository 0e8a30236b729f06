"""Rules that span several entries of hosts.yaml: names, addresses, VIPs, accounts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Optional

from runbook.inventory.cluster import Host, Vip, megabytes
from runbook.inventory.entry import network_of, perhaps
from runbook.inventory.schema import Objection, Port, Schema, Understood
from runbook.yaml_source import KeyPath, shown

SIZES = {"ram": ("512MB", "64TB"), "disk": ("5GB", "9999TB")}
"""The smallest and the largest value of each."""

SYSTEM_ACCOUNTS = frozenset(
    {
        *("bin", "daemon", "adm", "lp", "sync", "shutdown", "halt", "mail", "operator", "games"),
        *("ftp", "nobody", "chrony", "dbus", "polkitd", "rpc", "rpcuser", "sshd", "tss"),
    }
)
"""Accounts of the distribution: of its package `setup`, and of a minimal installation."""

WIDEST = 16
"""The prefix length of the largest network that is inferred from addresses."""


def objections(inventory: Understood, schema: Schema) -> Iterator[Objection]:
    """Everything that cannot work among the entries, and warnings about what is unwise."""
    for host in inventory.hosts.values():
        yield from _sizes(host)
        yield from _roles(host, schema)
    yield from _numbers(inventory)
    yield from _addresses(inventory)
    for vip in inventory.vips.values():
        yield from _vip(vip, inventory, schema)
        yield from _network(vip, inventory)
    yield from _vrrp_groups(inventory)
    yield from _accounts(inventory, schema)
    yield from _ssh_ports(inventory, schema)
    yield from _weak_quorums(inventory, schema)


def unknown_zone(name: str) -> Iterator[Objection]:
    """Object to a time zone that this machine does not know.

    If this machine knows no time zones, the servers decide.
    """
    import zoneinfo

    if any((Path(folder) / name).is_file() for folder in zoneinfo.TZPATH):
        return
    known = _zones()
    if not known or name in known:
        return
    # Some distributions omit old names such as this one, which the servers have.
    if "US/Pacific" in known:
        sentence = f"{name} is not a time zone{perhaps(name, known)}; use Area/City"
        yield Objection(sentence, ("timezone",))
    else:
        sentence = f"The time zone {name} is not known on this machine{perhaps(name, known)}."
        yield Objection(sentence, ("timezone",), grave=False)


@cache
def _zones() -> frozenset[str]:
    import zoneinfo

    return frozenset(zoneinfo.available_timezones())


def _sizes(host: Host) -> Iterator[Objection]:
    for key, (least, most) in SIZES.items():
        size = getattr(host, key)
        if not megabytes(least) <= megabytes(size) <= megabytes(most):
            sentence = f"{size} is not valid; allowed: {least} to {most}"
            yield Objection(sentence, ("hosts", host.name, key))


def _roles(host: Host, schema: Schema) -> Iterator[Objection]:
    for place, role in enumerate(host.roles):
        path = ("hosts", host.name, "roles", place)
        if role not in schema.roles:
            yield Objection(_no_role(role, schema), path)
        elif role in host.roles[:place]:
            yield Objection(f"{role} is named twice; keep one", path)


def _no_role(role: str, schema: Schema) -> str:
    return f"{shown(role)} is not known{perhaps(role, schema.roles)}; allowed: " + ", ".join(
        schema.roles
    )


def _numbers(inventory: Understood) -> Iterator[Objection]:
    seen: dict[int, str] = {}
    for host in inventory.hosts.values():
        if host.vm in seen:
            sentence = f"{host.vm} is already the number of {seen[host.vm]}"
            yield Objection(sentence, ("hosts", host.name, "vm"))
        seen.setdefault(host.vm, host.name)


def _addresses(inventory: Understood) -> Iterator[Objection]:
    taken: dict[str, str] = {}
    for section, entries in (("hosts", inventory.hosts), ("vips", inventory.vips)):
        for name, entry in entries.items():
            path = (section, name, "address")
            kind = _special(IPv4Address(entry.address))
            if kind:
                sentence = f"{entry.address} is {kind}; choose an address of the servers' network"
                yield Objection(sentence, path)
            if entry.address in taken:
                sentence = f"{entry.address} is already the address of {taken[entry.address]}"
                yield Objection(sentence, path)
            taken.setdefault(entry.address, name)


def _special(address: IPv4Address) -> str:
    """The kind of an address that no server can have; empty for usable addresses."""
    kinds = {
        "a loopback address": address.is_loopback,
        "a multicast address": address.is_multicast,
        "a link-local address": address.is_link_local,
        "a reserved address": address.is_reserved,
        "not the address of a host": address in IPv4Network("0.0.0.0/8"),
    }
    return next((kind for kind, it_is in kinds.items() if it_is), "")


def _vip(vip: Vip, inventory: Understood, schema: Schema) -> Iterator[Objection]:
    if vip.role not in schema.roles:
        yield Objection(_no_role(vip.role, schema), ("vips", vip.name, "role"))
    if vip.name in inventory.names:
        sentence = "is also the name of a host; choose another name for the VIP"
        yield Objection(sentence, ("vips", vip.name))
    for member in vip.members:
        path = ("vips", vip.name, "members", member)
        if member not in inventory.names:
            yield Objection(f"is not one of the hosts{perhaps(member, inventory.names)}", path)
        elif member in inventory.hosts and vip.role not in inventory.hosts[member].roles:
            yield Objection(f"lacks the role {shown(vip.role)} that this VIP serves", path)
    if len(set(vip.members.values())) < len(vip.members):
        yield Objection("two members have the same priority", ("vips", vip.name, "members"))


def _network(vip: Vip, inventory: Understood) -> Iterator[Objection]:
    """The VIP and its members are in one network."""
    members = [inventory.hosts[name].address for name in vip.members if name in inventory.hosts]
    path = ("vips", vip.name, "network" if vip.network else "address")
    if any(_special(IPv4Address(address)) for address in (vip.address, *members)):
        return
    if vip.network:
        right = network_of(vip.network)
        if right != vip.network:
            yield Objection(f"{vip.network} is not a network; write {right}", path)
        for address in (vip.address, *members):
            if IPv4Address(address) not in IPv4Network(right):
                sentence = f"{address} is not in {right}, which VIP and members must share"
                yield Objection(sentence, path)
    elif members:
        network = _spanning(members)
        larger = "if their network is larger, name it in `network`"
        if network.prefixlen < WIDEST:
            sentence = f"its members {', '.join(members)} are in different networks; {larger}"
            yield Objection(sentence, path)
        elif IPv4Address(vip.address) not in network:
            sentence = f"{vip.address} is not in {network}, where its members are; {larger}"
            yield Objection(sentence, path)


def _spanning(addresses: Sequence[str]) -> IPv4Network:
    """The smallest network, at least a /24, that holds all addresses."""
    numbers = [int(IPv4Address(address)) for address in addresses]
    differing_bits = (min(numbers) ^ max(numbers)).bit_length()
    return IPv4Network((min(numbers), min(24, 32 - differing_bits)), strict=False)


def _vrrp_groups(inventory: Understood) -> Iterator[Objection]:
    groups: dict[int, str] = {}
    for vip in inventory.vips.values():
        other = groups.setdefault(vip.router_id, vip.name)
        if other != vip.name:
            sentence = (
                f"its VRRP group {vip.router_id} is also that of {other}; set another vrrp_id"
            )
            yield Objection(sentence, ("vips", vip.name))


def _accounts(inventory: Understood, schema: Schema) -> Iterator[Objection]:
    """The administrator has sudo and a locked password, so no service may share the account."""
    users: dict[KeyPath, Optional[str]] = {
        ("hosts", host.name, "user"): host.user for host in inventory.hosts.values()
    }
    if inventory.connection:
        users["connection", "user"] = inventory.connection.user
    for path, user in users.items():
        if user == "root":
            sentence = (
                "root cannot be the administrator's account, because its password would be "
                "locked; name another account here, and root in bootstrap_user"
            )
            yield Objection(sentence, path)
        elif user in schema.accounts or user in SYSTEM_ACCOUNTS:
            sentence = f"{user} is an account of a service; name another for the administrator"
            yield Objection(sentence, path)


def _ssh_ports(inventory: Understood, schema: Schema) -> Iterator[Objection]:
    """sshd needs a port that no other service of the host uses."""
    general = inventory.connection.port if inventory.connection else 0
    said = set()
    for host in inventory.hosts.values():
        path = ("hosts", host.name, "port") if host.port else ("connection", "port")
        for role in schema.roles if path not in said else ():
            if role in host.roles and any(
                _covers(port, host.port or general) for port in role.ports
            ):
                said.add(path)
                sentence = f"{host.port or general} is a port of the role {role} on {host.name}"
                yield Objection(f"{sentence}; choose another for sshd", path)
                break


def _covers(port: Port, number: int) -> bool:
    """Whether a port, or a range such as 35672-35682/tcp, includes this number."""
    numbers, _, protocol = port.number.partition("/")
    low, _, high = numbers.partition("-")
    return protocol == "tcp" and int(low) <= number <= int(high or low)


def _weak_quorums(inventory: Understood, schema: Schema) -> Iterator[Objection]:
    """A warning for each role that needs a majority and has one member, or an even number."""
    for role in schema.roles:
        members = inventory.with_role(role) if role.majority else []
        if len(members) == 1:
            sentence = (
                f"{members[0]} is the only host with the role {role}: while it is down, "
                f"{role.loss}; with three hosts, any one of them may fail."
            )
            yield Objection(sentence, ("hosts",), grave=False)
        elif members and len(members) % 2 == 0:
            sentence = (
                f"{len(members)} hosts have the role {role} ({', '.join(members)}): an even "
                "number survives no more failures than one host fewer; use 3 or 5."
            )
            yield Objection(sentence, ("hosts",), grave=False)
