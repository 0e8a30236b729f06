"""The part of a support bundle that comes from servers: what the sections collect.

A fact's name becomes the name of a file in the bundle; the commands change nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Callable

from runbook.declare.contents import Contents
from runbook.declare.facts import Fact, hosts_on
from runbook.declare.operations import Evidence
from runbook.declare.step import quote
from runbook.declare.templates import script
from runbook.inventory.cluster import Cluster, Host

SHORT, LONG = 100_000, 1_000_000
"""The last bytes that are kept of a command's output, and of logs."""


def collected(contents: Contents, host: Host, cluster: Cluster) -> Evidence:
    """What all sections collect from a host, each thing once."""
    own = [
        evidence
        for section in contents.sections
        for evidence in section.evidence
        if host in hosts_on(evidence.on, cluster)
    ]

    def once(given: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(item for items in given for item in items))

    return Evidence(
        "all",
        units=once([one.units for one in own]),
        files=once([one.files for one in own]),
        logs=once([one.logs for one in own]),
        commands=once([one.commands for one in own]),
    )


def files(contents: Contents, hours: int) -> list[Fact[str]]:
    """A fact for each file that the bundle gets from each server."""

    def fact(name: str, commands: Callable[[Evidence], str], size: int) -> Fact[str]:
        def command(cluster: Cluster, host: Host) -> str:
            return limited(commands(collected(contents, host, cluster)), size)

        return Fact(
            name,
            on="all",
            command=command,
            parse=str,
            absent="it does not answer",
            largest=2 * size,
        )

    return [
        fact("state.txt", state, SHORT),
        fact("services.txt", services, SHORT),
        fact("configuration.txt", configuration, SHORT),
        fact("packages.txt", lambda evidence: "rpm -qa | sort", SHORT),
        fact("journal.txt", lambda evidence: journal(evidence, hours), LONG),
        fact("logs.txt", lambda evidence: logs(evidence, hours), LONG),
    ]


def state(evidence: Evidence) -> str:
    """Commands that print the output of the sections' commands."""
    return "\n".join(f"echo {quote(f'== {one}')}\n{one}\necho" for one in evidence.commands)


def services(evidence: Evidence) -> str:
    """A command that prints the state of the sections' units."""
    names = " ".join(quote(unit) for unit in evidence.units)
    return f"systemctl status --no-pager -n 0 {names}"


def configuration(evidence: Evidence) -> str:
    """A command that prints the sections' configuration files."""
    return contents_of(evidence.files, SHORT)


def contents_of(patterns: Sequence[str], size: int, minutes: str = "") -> str:
    """A command that prints the end of regular files, without following links of other accounts."""
    return script("operator/collect.sh", patterns=" ".join(patterns), minutes=minutes, size=size)


def journal(evidence: Evidence, hours: int) -> str:
    """Commands that print the units' journal, and the kernel's warnings."""
    units = " ".join(f"-u {quote(unit)}" for unit in evidence.units)
    when = f"journalctl --no-pager -o short-iso --since '-{hours} hours'"
    return f"{when} {units}; echo; {when} -k -p warning"


def logs(evidence: Evidence, hours: int) -> str:
    """A command that prints log files that were written to lately."""
    return contents_of(evidence.logs, LONG, minutes=str(hours * 60))


def limited(commands: str, size: int) -> str:
    """Commands limited to the end of their output, on both streams; they may fail."""
    return f"{{\n{commands}\n}} 2>&1 </dev/null | tail -c {size}\ntrue"
