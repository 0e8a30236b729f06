"""Takes servers down a few at a time, the next ones only when the cluster is healthy again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Optional

from runbook.declare.answers import ExitCode, Unexpected, one
from runbook.declare.contents import Contents
from runbook.declare.facts import Fact, Facts
from runbook.declare.probes import OK, Finding
from runbook.declare.step import quote
from runbook.errors import RunbookError
from runbook.execute.run import Run
from runbook.inventory.cluster import Cluster, Host, share_a_role
from runbook.operate.checks import NOT_FINE, settled
from runbook.operate.phases import before_restarts, carry_out
from runbook.results import HostResult, Status

WRONG = NOT_FINE - {Status.DIFFERS}
"""What prevents a start; a pending change, such as a reboot, does not."""

PATIENCE = 600
"""Seconds that the cluster has to become healthy again after a batch."""


def leaders(contents: Contents, cluster: Cluster, facts: Facts) -> set[str]:
    """Hosts that lead something of any section."""
    return {
        name
        for section in contents.sections
        if section.leads
        for name in section.leads.names(cluster, facts)
    }


def leader_facts(contents: Contents) -> list[Fact[Any]]:
    """The facts that show which hosts lead."""
    needed = (section.leads.needs for section in contents.sections if section.leads)
    return list(dict.fromkeys(fact for needs in needed for fact in needs))


def batches(
    contents: Contents, hosts: Sequence[Host], cluster: Cluster, facts: Facts
) -> list[list[Host]]:
    """Batches of servers that may be down at the same time: no two of a role, and leaders last."""
    last = leaders(contents, cluster, facts)
    conflicts = [section.conflict for section in contents.sections if section.conflict]

    def conflict(one: Host, other: Host) -> bool:
        return share_a_role(one, other) or any(
            apart(one, other, cluster) or apart(other, one, cluster) for apart in conflicts
        )

    return cluster.apart(sorted(hosts, key=lambda host: host.name in last), conflict)


def broken(results: Sequence[HostResult]) -> list[str]:
    """What is wrong, and what has lost its redundancy although it has several servers."""
    found = []
    for result in results:
        if result.status in {Status.UNREACHABLE, Status.REFUSED}:
            found.append(f"{result.host} is {result.status}")
        for part in result.parts:
            if part.status in WRONG or (part.finding and _no_spare(part.finding)):
                found.append(f"{result.section}: {part.said}")
    return list(dict.fromkeys(found))


def _no_spare(finding: Finding) -> bool:
    """Whether redundancy is lost although hosts.yaml has servers for it."""
    return finding.redundancy and finding.level != OK and not finding.by_design


def whole(results: Sequence[HostResult]) -> bool:
    """Whether checks find nothing wrong, and redundancy is left where there are two servers."""
    return not broken(results)


def refuse_if_broken(run: Run, sections: Optional[Sequence[str]] = None) -> None:
    """Refuse to start if these sections, or any section, are not healthy."""
    before = len(run.results)
    if settled(run, sections, patience=0, until=whole):
        return
    found = broken(run.results[before:])
    raise RunbookError(
        f"Not started, because the cluster is not healthy: {'; '.join(found[:5])}. "
        "Fix that first: inv cluster.check"
    )


def names(hosts: Iterable[Host]) -> str:
    """The names of hosts, separated by commas."""
    return ", ".join(host.name for host in hosts)


OUTDATED = Fact(
    "whether packages are out of date",
    on="all",
    command=lambda cluster, host: "dnf -q --refresh check-update >/dev/null 2>&1; echo $?",
    parse=lambda text: one(text.strip(), ExitCode) != 0,
    absent="it does not answer",
)


def serving(contents: Contents) -> Fact[frozenset[str]]:
    """The sections that have a service on a host which new packages may restart."""
    services = {section.name: section.restarts for section in contents.sections if section.restarts}

    def running(text: str) -> frozenset[str]:
        names = frozenset(text.split())
        if names - services.keys():
            raise Unexpected(text, "names of sections")
        return names

    return Fact(
        "which services run",
        on="all",
        command=lambda cluster, host: "\n".join(
            f"if systemctl is-active -q {' '.join(map(quote, units))}; then echo {name}; fi"
            for name, units in services.items()
        ),
        parse=running,
        absent="it does not answer",
    )


def updates(run: Run, hosts: Sequence[Host]) -> Iterator[Sequence[Host]]:
    """Yield batches: first, all at once, the servers on which new packages restart nothing.

    The others follow as in a reboot: no two with a role in common, and leaders last, which hand
    over first. After each batch, it waits until the checks of all these sections find nothing
    wrong.
    """
    contents = run.contents
    everywhere = replace(run, options=replace(run.options, hosts=""))
    serves = serving(contents)
    needed: list[Fact[Any]] = [OUTDATED, serves, *leader_facts(contents)]
    facts = run.gather(needed, list(run.cluster.hosts.values()))
    at_work = [
        one
        for one in hosts
        if facts.known(serves).get(one.name) and facts.known(OUTDATED).get(one.name, True)
    ]
    at_once = [host for host in hosts if host not in at_work]
    if at_once:
        yield at_once
    order = batches(contents, at_work, run.cluster, facts)
    if run.options.plan:
        yield from order
        return
    sections = sorted({name for found in facts.known(serves).values() for name in found})
    if order:
        refuse_if_broken(everywhere, sections)
    for number, batch in enumerate(order):
        if not carry_out(everywhere, "base.update", before_restarts(contents), batch):
            raise RunbookError(f"{_not_updated(order[number:])} Fix the failed step, then rerun.")
        yield batch
        if not settled(everywhere, sections, patience=PATIENCE, until=whole):
            raise RunbookError(
                f"The checks find errors after the update of {names(batch)}. "
                f"{_not_updated(order[number + 1 :])} Fix the errors, then rerun: fab base.update"
            )


def _not_updated(left: Sequence[Sequence[Host]]) -> str:
    """Which servers the update did not reach."""
    hosts = [host for batch in left for host in batch]
    return f"Not updated: {names(hosts)}." if hosts else "All servers have been updated."
