"""The table of ports in docs/security.md, from what roles and sections declare."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from runbook.declare.contents import Contents
from runbook.declare.templates import PROJECT
from runbook.inventory.access import calling, in_words, opened_on
from runbook.inventory.cluster import Cluster
from runbook.inventory.schema import SSH, Caller, Listed, Opening

from .markdown import code, table


def matrix(contents: Contents) -> str:
    """The table."""
    rows = opened(contents.load(PROJECT / "hosts.yaml"))
    return table(("to", "port", "from", "what for"), rows)


def opened(cluster: Cluster) -> Iterator[tuple[str, str, str, str]]:
    """A row for each port: on which servers, who may reach it, and its purpose.

    Ports that only other settings open come last.
    """
    found: dict[tuple[str, str, str], list[Opening]] = {}
    for opening in sorted(cluster.openings, key=_number):
        if opened_on(opening, cluster):
            port = "22/tcp" if opening.port.number == SSH else opening.port.number
            row = code(port), ", ".join(_callers(opening, cluster)), opening.port.purpose
            found.setdefault(row, []).append(opening)
    for (port, callers, purpose), alike in found.items():
        names = {host.name for opening in alike for host in opened_on(opening, cluster)}
        preferred = [opening.on for opening in alike if isinstance(opening.on, str)]
        yield _group(names, cluster, preferred), port, callers, purpose
    for opening in cluster.openings:
        if not isinstance(opening.on, str) and not opened_on(opening, cluster):
            callers = ", ".join(_named(caller) for caller in opening.port.callers)
            yield in_words(opening.on), code(opening.port.number), callers, opening.port.purpose


def _callers(opening: Opening, cluster: Cluster) -> Iterator[str]:
    """Networks that hosts.yaml lists, and roles that any host has."""
    for caller in opening.port.callers:
        hosts = opened_on(opening, cluster)
        if isinstance(caller, Listed) or any(calling(caller, one, cluster) for one in hosts):
            yield _named(caller)


def _named(caller: Caller) -> str:
    if isinstance(caller, Listed):
        return f"networks in {code(in_words(caller))}"
    return code(in_words(caller)) if isinstance(caller, str) else in_words(caller)


def _group(names: Iterable[str], cluster: Cluster, preferred: Sequence[str] = ()) -> str:
    """The role that exactly these hosts have, if there is one; else their names."""
    wanted = set(names)
    for group in (*preferred, "all", *cluster.roles):
        members = {host.name for host in cluster.group(group)}
        if members == wanted:
            return code(f"@{group}")
    return ", ".join(name for name in cluster.hosts if name in wanted)


def _number(opening: Opening) -> int:
    """The number of a port, for the order of the table."""
    if opening.port.number == SSH:
        return 22
    return int((re.findall(r"\d+", opening.port.number) or ["99999"])[0])
