"""Which ports a server reaches on the others: a matrix, and what a firewall blocks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from runbook.declare.contents import Contents
from runbook.declare.facts import hosts_on
from runbook.declare.probes import OK, Finding, Verdict
from runbook.declare.requirements import SSH
from runbook.declare.templates import script
from runbook.inventory.cluster import Cluster, Host

from .network import Network
from .trouble import stops

OPEN, WAITS, BLOCKED, UNKNOWN = ".", "?", "!", " "
"""What came of a connection: it arrives, it is the target's own firewall, another one, or none."""

ANSWERED = {"open", "Connection refused"}
REJECTED = {"No route to host", "Permission denied"}
SILENT = "silent"


@dataclass(frozen=True)
class Path:
    """A connection that will be needed."""

    caller: str
    target: str
    port: int


def needed(contents: Contents, cluster: Cluster) -> list[Path]:
    """All connections that sections declare, and ports that roles open to some callers only."""
    paths: dict[Path, None] = {}
    for section in contents.sections:
        for call in section.requires.calls:
            for number in call.ports:
                add(paths, cluster, hosts_on(call.by, cluster), hosts_on(call.to, cluster), number)
    for role in cluster.roles:
        for port in role.ports:
            if port.callers and port.number.endswith("/tcp"):
                callers = cluster.group(port.callers)
                add(paths, cluster, callers, cluster.group(role), port.number)
    return list(paths)


def add(
    paths: dict[Path, None],
    cluster: Cluster,
    callers: Sequence[Host],
    targets: Sequence[Host],
    number: str,
) -> None:
    """The paths from all callers to all targets; of a range its first port stands for all."""
    for target in targets:
        first = number.partition("/")[0].partition("-")[0]
        port = cluster.ssh_port(target) if number == SSH else int(first)
        for caller in callers:
            if caller != target:
                paths[Path(caller.name, target.name, port)] = None


def command(paths: Sequence[Path], cluster: Cluster, host: Host) -> str:
    """Tries the paths of a host, and the port of sshd on each of their targets."""
    own = [path for path in paths if path.caller == host.name]
    tried = dict.fromkeys(f"{cluster.hosts[path.target].address}:{path.port}" for path in own)
    for path in own:
        target = cluster.hosts[path.target]
        tried[f"{target.address}:{cluster.ssh_port(target)}"] = None
    return script("preflight/reach.sh", targets=" ".join(tried))


def parse(text: str) -> dict[str, str]:
    """The answer of `command`: what came of each ADDRESS:PORT."""
    pairs = (line.partition(" ") for line in text.splitlines())
    return {target: said for target, _, said in pairs}


@dataclass(frozen=True)
class Reach:
    """What all hosts said of their paths, and of their own firewalls."""

    cluster: Cluster
    seen: Mapping[str, Mapping[str, str]]
    networks: Mapping[str, Network]

    def outcome(self, path: Path) -> str:
        """OPEN, WAITS, BLOCKED or UNKNOWN."""
        target = self.cluster.hosts[path.target]
        seen = self.seen.get(path.caller, {})
        said = seen.get(f"{target.address}:{path.port}", "")
        if said in ANSWERED:
            return OPEN
        ssh = seen.get(f"{target.address}:{self.cluster.ssh_port(target)}", "")
        if said not in REJECTED | {SILENT} or (
            ssh not in ANSWERED and path.target not in self.networks
        ):
            return UNKNOWN
        return WAITS if self._closed_by_itself(path, said) else BLOCKED

    def _closed_by_itself(self, path: Path, said: str) -> bool:
        """Whether the target's own firewall, which does not let the port in yet, explains it."""
        network = self.networks.get(path.target)
        if not network:
            return True
        target, caller = self.cluster.hosts[path.target], self.cluster.hosts[path.caller]
        zone = network.zones.get(network.zone(target.address))
        if not network.running or not zone:
            return False
        if zone.lets_in(path.port, caller.address):
            return False
        return said != SILENT or zone.target == "DROP"


def findings(reach: Reach, paths: Sequence[Path]) -> Iterator[Finding]:
    """What is blocked, each port of a target once; and how many paths are open."""
    blocked: dict[tuple[str, str, int], list[str]] = {}
    counted = {OPEN: 0, WAITS: 0, BLOCKED: 0, UNKNOWN: 0}
    for path in paths:
        outcome = reach.outcome(path)
        counted[outcome] += 1
        if outcome == BLOCKED:
            key = path.caller, path.target, path.port
            blocked.setdefault(key, [])
    by_target: dict[tuple[str, str], list[int]] = {}
    for caller, target, port in blocked:
        by_target.setdefault((caller, target), []).append(port)
    for (caller, target), numbers in by_target.items():
        listed = ", ".join(str(port) for port in numbers)
        yield stops(
            caller,
            "paths",
            f"{target} cannot be reached on {listed}: a firewall in between blocks that",
            f"let {reach.cluster.hosts[caller].address} reach "
            f"{reach.cluster.hosts[target].address} on {listed} (docs/security.md has all ports)",
        )
    if not blocked:
        said = f"{counted[OPEN]} of {len(paths)} are open"
        if counted[WAITS]:
            said += f", {counted[WAITS]} wait for base.firewall"
        yield Finding("paths", Verdict(OK, said))


def matrix(reach: Reach, paths: Sequence[Path]) -> list[dict[str, str]]:
    """A row for each caller, a column for each target: the gravest of its ports."""
    cells: dict[tuple[str, str], list[Path]] = {}
    for path in paths:
        cells.setdefault((path.caller, path.target), []).append(path)
    targets = [name for name in reach.cluster.hosts if any(name == to for _, to in cells)]
    return [
        {"from / to": name, **{to: _cell(reach, cells.get((name, to), ())) for to in targets}}
        for name in reach.cluster.hosts
        if any(name == caller for caller, _ in cells)
    ]


def _cell(reach: Reach, paths: Sequence[Path]) -> str:
    outcomes = {path: reach.outcome(path) for path in paths}
    wrong = [str(path.port) for path, outcome in outcomes.items() if outcome == BLOCKED]
    if wrong:
        return " ".join(wrong)
    if WAITS in outcomes.values() or UNKNOWN in outcomes.values():
        return WAITS
    return OPEN if paths else ""
