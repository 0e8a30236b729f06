"""Which ports the servers reach on each other: a matrix, and the ports that are blocked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from runbook.declare.probes import OK, Finding, Verdict
from runbook.declare.templates import script
from runbook.inventory.access import calling, number, opened_on
from runbook.inventory.cluster import Cluster, Host

from .network import Network
from .trouble import stops

OPEN, WAITS, BLOCKED, UNKNOWN = ".", "?", "!", " "
"""Outcomes: open, closed by the target's own firewall, blocked by another one, not known."""

ANSWERED = {"open", "Connection refused"}
REJECTED = {"No route to host", "Network is unreachable", "Permission denied"}
SILENT = "silent"


@dataclass(frozen=True)
class Path:
    """A connection that will be needed."""

    caller: str
    target: str
    port: int


def needed(cluster: Cluster) -> list[Path]:
    """All connections within the cluster to ports that hosts open; of a range, the first port."""
    paths: dict[Path, None] = {}
    for opening in cluster.openings:
        for target in opened_on(opening, cluster):
            port, _, protocol = number(opening, target, cluster).partition("/")
            if protocol != "tcp":
                continue
            for caller in opening.port.callers:
                for host in calling(caller, target, cluster):
                    paths[Path(host.name, target.name, int(port.partition("-")[0]))] = None
    return list(paths)


def command(paths: Sequence[Path], cluster: Cluster, host: Host) -> str:
    """A command that tries the paths of a host, and the SSH port of each target."""
    own = [path for path in paths if path.caller == host.name]
    tried = dict.fromkeys(f"{cluster.hosts[path.target].address}:{path.port}" for path in own)
    for path in own:
        target = cluster.hosts[path.target]
        tried[f"{target.address}:{cluster.ssh_port(target)}"] = None
    return script("preflight/reach.sh", targets=" ".join(tried))


def parse(text: str) -> dict[str, str]:
    """Parse the answer of `command`: the result of each ADDRESS:PORT."""
    pairs = (line.partition(" ") for line in text.splitlines())
    return {target: said for target, _, said in pairs}


@dataclass(frozen=True)
class Reach:
    """The results of all paths, and the firewalls of all hosts."""

    cluster: Cluster
    seen: Mapping[str, Mapping[str, str]]
    networks: Mapping[str, Network]

    def outcome(self, path: Path) -> str:
        """OPEN, WAITS, BLOCKED or UNKNOWN."""
        said = self._said(path, path.port)
        if said in ANSWERED:
            return OPEN
        if said not in REJECTED | {SILENT} or path.target not in self.networks:
            return UNKNOWN
        return WAITS if self._closed_by_itself(path, said) else BLOCKED

    def _said(self, path: Path, port: int) -> str:
        """The result of a connection to a port of the path's target."""
        address = self.cluster.hosts[path.target].address
        return self.seen.get(path.caller, {}).get(f"{address}:{port}", "")

    def _closed_by_itself(self, path: Path, said: str) -> bool:
        """Whether the target's own firewall, which does not allow the port yet, explains it."""
        network = self.networks[path.target]
        target, caller = self.cluster.hosts[path.target], self.cluster.hosts[path.caller]
        zone = network.zones.get(network.zone(target.address))
        if not network.running or not zone or zone.lets_in(path.port, caller.address):
            return False
        ssh = self.cluster.ssh_port(target)
        if self._said(path, ssh) not in ANSWERED and zone.lets_in(ssh, caller.address):
            return False  # no packets of the caller arrive
        return said != SILENT or zone.target == "DROP"


def findings(reach: Reach, paths: Sequence[Path]) -> Iterator[Finding]:
    """A finding for each two servers with blocked ports, or one with the number of open paths."""
    outcomes = {path: reach.outcome(path) for path in paths}
    blocked: dict[tuple[str, str], list[int]] = {}
    for path, outcome in outcomes.items():
        if outcome == BLOCKED:
            blocked.setdefault((path.caller, path.target), []).append(path.port)
    for (caller, target), ports in blocked.items():
        listed = ", ".join(str(port) for port in ports)
        yield stops(
            caller,
            "paths",
            f"{target} cannot be reached on {listed}: a firewall between them blocks it",
            f"allow {listed} on {reach.cluster.hosts[target].address} from these servers in the "
            "site's firewall (docs/security.md lists all ports)",
        )
    if not blocked:
        counted = Counter(outcomes.values())
        waiting = f", {counted[WAITS]} wait for base.firewall" if counted[WAITS] else ""
        said = f"{counted[OPEN]} of {len(paths)} are open{waiting}"
        yield Finding("paths", Verdict(OK, said))


def matrix(reach: Reach, paths: Sequence[Path]) -> list[dict[str, str]]:
    """A row for each caller, a column for each target, without those whose paths are all open.

    A cell lists the blocked ports, or else tells whether all are open.
    """
    cells: dict[tuple[str, str], list[Path]] = {}
    for path in paths:
        cells.setdefault((path.caller, path.target), []).append(path)
    said = {pair: _cell(reach, own) for pair, own in cells.items()}
    wrong = [pair for pair, cell in said.items() if cell != OPEN]
    targets = [name for name in reach.cluster.hosts if name in {to for _, to in wrong}]
    return [
        {"from / to": name, **{to: said.get((name, to), "") for to in targets}}
        for name in reach.cluster.hosts
        if name in {caller for caller, _ in wrong}
    ]


def _cell(reach: Reach, paths: Sequence[Path]) -> str:
    outcomes = {path: reach.outcome(path) for path in paths}
    blocked = [str(path.port) for path, outcome in outcomes.items() if outcome == BLOCKED]
    return " ".join(blocked) or (OPEN if set(outcomes.values()) == {OPEN} else WAITS)
