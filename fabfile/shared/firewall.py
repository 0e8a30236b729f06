"""The firewall: who outside the cluster may reach a port, and the steps that let in nobody else."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from runbook.declare import steps
from runbook.declare.probes import OK, WARN, Answer, Cause, Probe, Verdict, probe
from runbook.declare.step import Step, Steps
from runbook.declare.templates import script
from runbook.inventory.access import Access, access, accesses, owned
from runbook.inventory.cluster import Cluster, Host
from runbook.inventory.entry import Network, network_of
from runbook.inventory.schema import EVERYBODY, SSH, Listed, Objection, Settings, Understood

KEY = "firewall"
WEB, SHELL = Listed(KEY, "web"), Listed(KEY, "ssh")
OPERATORS, MONITORING = Listed(KEY, "operators"), Listed(KEY, "monitoring")

FOLDER = "/var/lib/airflow-runbook"
RECORD = f"{FOLDER}/firewall"
"""A host's list of the ports that were opened there, to take them back once they have no use."""


class Firewall(Settings, frozen=True):
    """Networks outside the cluster that may reach ports of its servers.

    A single address is a network, too: 10.20.0.7/32. Everybody is 0.0.0.0/0.
    """

    web: list[Network] = msgspec.field(default_factory=lambda: [EVERYBODY])
    """Who may reach Airflow's web UI."""
    ssh: list[Network] = msgspec.field(default_factory=lambda: [EVERYBODY])
    """Who may connect by SSH, besides the servers that need it; the address from which you run
    `fab` must be among them.
    """
    operators: list[Network] = msgspec.field(default_factory=list)
    """Who may reach the consoles: RabbitMQ's management, HAProxy's statistics and Flower."""
    monitoring: list[Network] = msgspec.field(default_factory=list)
    """Who may read metrics: those of the servers (`monitoring.enabled`), RabbitMQ's, HAProxy's and
    Patroni's.
    """

    def objections(self, inventory: Understood) -> Iterator[Objection]:
        """Addresses that are not networks."""
        for name in self.__struct_fields__:
            for place, network in enumerate(getattr(self, name)):
                right = network_of(network)
                if right != network:
                    sentence = f"{network} is not a network; write {right}"
                    yield Objection(sentence, (KEY, name, place))


def only_wanted(host: Host, cluster: Cluster) -> Steps:
    """Each port of the host is open to those who may reach it, and to nobody else.

    What is needed is opened before anything is closed.
    """
    opened = [one.number for one in _rules(host, cluster)]
    if opened:
        yield steps.command(
            f"{RECORD} names the ports that are opened here",
            f"install -d {FOLDER}\nprintf '%s\\n' {' '.join(opened)} >>{RECORD}",
            unless=f"[[ -e {RECORD} ]] && "
            f"! printf '%s\\n' {' '.join(opened)} | grep -qvxFf {RECORD}",
        )
    yield from let_in(host, cluster)
    yield nobody_else(host, cluster)


def let_in(host: Host, cluster: Cluster) -> Steps:
    """Each port of the host is open to those who may reach it."""
    shell = access(host, SSH, cluster)
    if shell.public:
        yield steps.firewall_lets_ssh(host.address, shell.number)
    alike: dict[tuple[object, ...], list[Access]] = {}
    for one in _rules(host, cluster):
        if one.number != shell.number or not shell.public:
            alike.setdefault((one.sources, one.callers, "/" in one.number), []).append(one)
    for group in alike.values():
        first = group[0]
        who = "everybody" if first.public else ", ".join(first.callers)
        ports = [one.number for one in group]
        yield steps.firewall_lets(host.address, who, first.sources, ports)


def _rules(host: Host, cluster: Cluster) -> list[Access]:
    """The ports for which the firewall needs rules of this project.

    sshd's own port 22, open to everybody, is as the distribution has it.
    """
    return [
        one
        for one in accesses(host, cluster)
        if one.sources and not (one.public and one.number == "22/tcp")
    ]


def nobody_else(host: Host, cluster: Cluster) -> Step:
    """Nobody else may reach the ports of the table, or those that were opened here before."""
    found = f"{_unwanted(host, cluster, 'within')}\nfirewall_lists {host.address} | unwanted"
    opened = "\n".join(one.number for one in _rules(host, cluster))
    closing = script("firewall/close.sh", address=host.address, record=RECORD, opened=opened)
    return steps.command(
        "firewall lets nobody else reach these ports, and no others that were opened here",
        f"{_unwanted(host, cluster, 'within')}\n{closing}",
        unless=f"[[ ! $( {found} ) ]]",
    ).showing(f"{found} | sed 's/^rules_str //; s/^/- /'")


def _unwanted(host: Host, cluster: Cluster, reach: str) -> str:
    """The definition of a function that filters what lets in more than is wanted."""
    wanted = [
        f"{one.number} from {' '.join(one.sources)}"
        for one in accesses(host, cluster)
        if one.sources
    ]
    shell = access(host, SSH, cluster)
    ports = [*owned(cluster), *([] if shell.public else [shell.number])]
    body = script(
        "firewall/unwanted.sh",
        wanted="\n".join(wanted),
        owned=" ".join(ports),
        record=RECORD,
        reach=reach,
    )
    return f"unwanted() {body}"


def stays_connected(host: Host, cluster: Cluster) -> Steps:
    """Whoever is connected over SSH now may connect again, also if SSH is restricted."""
    shell = access(host, SSH, cluster)
    if shell.public:
        return
    sources = " ".join(shell.sources) or "none"
    found = script("firewall/closed-to-us.sh", sources=sources, port=shell.number)
    yield steps.precondition(
        f"{shell.number} stays open to the machine that is connected now",
        f"[[ ! $( {found} ) ]]",
        found,
    )


def closed_to_others(host: Host, cluster: Cluster, cause: Cause) -> Probe:
    """A probe: no port of the table is open wider than it should be, in whichever way."""
    found = script("firewall/wider.sh", address=host.address)
    return probe(
        "the firewall lets nobody else in",
        f"{_unwanted(host, cluster, 'across')}\n{found}",
        nothing_wider,
        fix=f"fab -H {host.name} base.firewall",
        cause=cause,
        thorough=True,
    )


def nothing_wider(answer: Answer) -> Verdict:
    """Nothing is printed; each line is a rule that lets in others than hosts.yaml names."""
    found = [line.partition("rules_str ")[2] or line for line in answer.text.splitlines()]
    if not found:
        return Verdict(OK)
    return Verdict(WARN, f"others than hosts.yaml names may get in: {'; '.join(found)}")
