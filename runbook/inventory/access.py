"""Who may reach which port of a host: the table that the firewalls, checks and documents share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Callable, Union

from runbook.inventory.cluster import Cluster, Host
from runbook.inventory.schema import ALL, EVERYBODY, SSH, Caller, Listed, Opening


@dataclass(frozen=True)
class Access:
    """A port of a host, and the addresses and networks that may reach it.

    `callers`: who they are, in words.
    """

    number: str
    callers: tuple[str, ...]
    sources: tuple[str, ...]

    @property
    def public(self) -> bool:
        """Whether every address may reach it."""
        return EVERYBODY in self.sources

    def admits(self, address: str) -> bool:
        """Whether this address may reach it."""
        return any(IPv4Address(address) in IPv4Network(source) for source in self.sources)


def accesses(host: Host, cluster: Cluster) -> list[Access]:
    """The ports of a host, each once."""
    found: dict[str, list[Caller]] = {}
    for opening in cluster.openings:
        if host in opened_on(opening, cluster):
            callers = found.setdefault(number(opening, host, cluster), [])
            callers += [one for one in opening.port.callers if one not in callers]
    return [
        Access(
            port,
            tuple(in_words(caller) for caller in callers),
            tuple(dict.fromkeys(_sources(callers, host, cluster))),
        )
        for port, callers in found.items()
    ]


def access(host: Host, port: str, cluster: Cluster) -> Access:
    """Who may reach this port of a host; nobody, if the host does not open it."""
    wanted = f"{cluster.ssh_port(host)}/tcp" if port == SSH else port
    known = (one for one in accesses(host, cluster) if one.number == wanted)
    return next(known, Access(wanted, (), ()))


def opened_on(opening: Opening, cluster: Cluster) -> Sequence[Host]:
    """The hosts that open a port."""
    return cluster.group(opening.on) if isinstance(opening.on, str) else opening.on(cluster)


def number(opening: Opening, host: Host, cluster: Cluster) -> str:
    """The port as this host opens it."""
    return f"{cluster.ssh_port(host)}/tcp" if opening.port.number == SSH else opening.port.number


def owned(cluster: Cluster) -> list[str]:
    """The ports and protocols that belong to this project on every host; sshd's is not among them.

    A rule for one of them that is not wanted is taken back, whoever made it.
    """
    numbers = (opening.port.number for opening in cluster.openings)
    return list(dict.fromkeys(port for port in numbers if port != SSH))


def calling(caller: Caller, host: Host, cluster: Cluster) -> list[Host]:
    """The hosts of the cluster that call a port of this host, as a caller names them."""
    if isinstance(caller, Listed) or caller == EVERYBODY:
        return []
    found = cluster.group(caller) if isinstance(caller, str) else caller(cluster, host)
    return [other for other in found if other != host]


def in_words(caller: Union[Caller, Callable[[Cluster], Sequence[Host]]]) -> str:
    """A caller, or hosts that a function chooses, in a table."""
    if isinstance(caller, Listed):
        return f"{caller.key}.{caller.name}"
    if caller == EVERYBODY:
        return "everybody"
    if isinstance(caller, str):
        return "all servers" if caller == ALL else f"@{caller}"
    said = (caller.__doc__ or caller.__name__).splitlines()[0].rstrip(".")
    return said if said[:2].isupper() else said[:1].lower() + said[1:]


def _sources(callers: Sequence[Caller], host: Host, cluster: Cluster) -> Iterator[str]:
    for caller in callers:
        if isinstance(caller, Listed):
            yield from networks(caller, cluster)
        elif caller == EVERYBODY:
            yield EVERYBODY
        else:
            yield from (other.address for other in calling(caller, host, cluster))


def networks(listed: Listed, cluster: Cluster) -> Iterator[str]:
    """The networks of a list; one that is a single address is that address."""
    for network in getattr(cluster.settings[listed.key], listed.name):
        yield network.removesuffix("/32")
