"""The table of ports in docs/security.md, from the steps that open them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence

from runbook.declare.contents import Contents
from runbook.declare.facts import Facts, hosts_on
from runbook.declare.step import Step
from runbook.declare.templates import PROJECT
from runbook.errors import RunbookError
from runbook.inventory.cluster import Cluster, Host

from .markdown import code, table

EVERYBODY = "everybody"


def purposes(contents: Contents) -> dict[str, str]:
    """What each port is for, as roles and sections declare it."""
    declared = [port for role in contents.schema.roles for port in role.ports]
    declared += [port for section in contents.sections for port in section.ports]
    return {port.number: port.purpose for port in declared}


def matrix(contents: Contents) -> str:
    """The table."""
    rows = opened(contents, contents.load(PROJECT / "hosts.yaml"))
    return table(("to", "port", "from", "what for"), rows)


def opened(contents: Contents, cluster: Cluster) -> Iterator[tuple[str, str, str, str]]:
    """A row for each port: on which servers, for which hosts, and its purpose."""
    found: dict[str, dict[str, set[str]]] = {}
    for host in cluster.hosts.values():
        for step in _steps(contents, host, cluster):
            for port, caller in _let_in(step):
                found.setdefault(port, {}).setdefault(host.name, set()).add(caller)
    purpose = purposes(contents)
    for port in sorted(found, key=_number):
        callers = set().union(*found[port].values())
        open_to_all = EVERYBODY in callers
        roles = contents.schema.roles
        serving = [role for role in roles if port in {one.number for one in role.ports}]
        callers_of = [one.callers for role in serving for one in role.ports if one.number == port]
        named = _named(callers - {EVERYBODY}, cluster)
        source = EVERYBODY if open_to_all else _group(named, cluster, callers_of)
        yield _group(found[port], cluster, serving), code(port), source, purpose[port]


def _steps(contents: Contents, host: Host, cluster: Cluster) -> Iterator[Step]:
    """All steps of a host that are known without asking any host."""
    for section in contents.sections:
        for task in section.step_tasks():
            on = hosts_on(task.on, cluster)
            if host not in task.taken_by(on, cluster):
                continue
            try:
                yield from task.steps(host, cluster, Facts(), on)
            except RunbookError:  # what follows depends on what hosts say
                continue


def _let_in(step: Step) -> Iterator[tuple[str, str]]:
    """(port, hosts that may reach it) for each port that a step opens in the firewall."""
    words = shlex.split(step.apply) if "\nfirewall-cmd --permanent" in step.apply else []
    for word in words:
        option, _, value = word.partition("=")
        if option in ("--add-port", "--add-protocol"):
            yield value, EVERYBODY
        elif option == "--add-rich-rule":
            told = dict(re.findall(r'(\w+)="([^"]*)"', value))
            yield f"{told['port']}/{told['protocol']}", told["address"]


def _named(addresses: Iterable[str], cluster: Cluster) -> set[str]:
    by_address = {host.address: host.name for host in cluster.hosts.values()}
    return {by_address[address] for address in addresses}


def _group(names: Iterable[str], cluster: Cluster, preferred: Sequence[str] = ()) -> str:
    """The role that exactly these hosts have, if there is one; else their names."""
    wanted = set(names)
    for group in ("all", *preferred, *cluster.roles):
        members = {host.name for host in cluster.group(group)}
        if members == wanted:
            return code(f"@{group}")
    return ", ".join(name for name in cluster.hosts if name in wanted)


def _number(port: str) -> int:
    return int((re.findall(r"\d+", port) or ["99999"])[0])
