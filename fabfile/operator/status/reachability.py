"""Whether hosts that do not answer are down or unreachable, according to other hosts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runbook.declare.probes import Probe
from runbook.errors import RunbookError
from runbook.execute.survey import plain, questions
from runbook.inventory.access import access
from runbook.inventory.cluster import Cluster, Host, share_a_role
from runbook.inventory.schema import SSH as SSHD

if TYPE_CHECKING:
    from runbook.execute.run import Run

WITNESSES = 5
"""How many hosts are asked about one that does not answer."""

SSH, NETWORK, NOTHING = "ssh", "network", "nothing"


@dataclass(frozen=True)
class Reachability:
    """What others see of a host: its sshd, something in the network, or nothing.

    `by` are the hosts that said so; if it is empty, no host could be asked.
    """

    seen: str = NOTHING
    by: tuple[str, ...] = ()


def reachabilities(run: Run, silent: Iterable[str]) -> dict[str, Reachability]:
    """Ask hosts that answer about those that do not."""
    cluster = run.cluster
    missing = [cluster.hosts[name] for name in silent]
    there = [host for host in cluster.hosts.values() if host not in missing]
    if not missing or not there:
        return {host.name: Reachability() for host in missing}
    asked: dict[str, list[Host]] = {host.name: [] for host in there}
    for other in missing:
        for witness in witnesses(other, there, cluster):
            asked[witness.name].append(other)

    def ask(host: Host) -> list[tuple[str, str]]:
        others = asked[host.name]
        try:
            answers = questions(run, host, looking(others, cluster)) if others else []
        except RunbookError:  # it fell silent itself, in between
            return []
        return [(other.name, answer.text.strip()) for other, answer in zip(others, answers)]

    said = zip(there, run.parallel(there, ask))
    heard = [(witness.name, other, seen) for witness, told in said for other, seen in told]
    return {host.name: combined(host.name, heard) for host in missing}


def witnesses(other: Host, there: Sequence[Host], cluster: Cluster) -> list[Host]:
    """Hosts to ask: those that may reach its sshd, and of these the ones that share a role."""
    sshd = access(other, SSHD, cluster)

    def knows(host: Host) -> tuple[bool, bool]:
        return not sshd.admits(host.address), not share_a_role(host, other)

    return sorted(there, key=knows)[:WITNESSES]


def looking(others: Sequence[Host], cluster: Cluster) -> list[Probe]:
    """Commands that show what can be seen of these hosts."""
    return plain([glance(other.address, cluster.ssh_port(other)) for other in others])


def glance(address: str, port: int) -> str:
    """A command: `ssh` if sshd greets, `network` if anything answers, else `nothing`.

    ARP gets through every firewall, if there is no router in between.
    """
    return f"""{{ ping -n -c 1 -W 1 {address} ||
  {{ [[ $(ip -o route get {address}) =~ \\ dev\\ ([^ ]+) ]] &&
    arping -c 2 -w 1 -I "${{BASH_REMATCH[1]}}" {address}; }}; }} >/dev/null 2>&1 &
greeting=$(timeout 3 bash -c '
exec 3<>/dev/tcp/{address}/{port} && read -r -t 2 line <&3 && echo "$line"' 2>&1)
if [[ $greeting == SSH-* ]]; then echo {SSH}
elif [[ $greeting == *refused* ]] || wait $!; then echo {NETWORK}
else echo {NOTHING}
fi"""


def combined(name: str, heard: Sequence[tuple[str, str, str]]) -> Reachability:
    """What the witnesses said about one host: the most that any of them sees counts."""
    own = [(witness, seen) for witness, other, seen in heard if other == name]
    for level in (SSH, NETWORK, NOTHING):
        by = tuple(witness for witness, seen in own if seen == level)
        if by:
            return Reachability(level, by)
    return Reachability()
