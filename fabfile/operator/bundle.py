"""What a bug report needs to know of a server: what the sections collect, without passwords.

A fact's name ends up as a file of the bundle; the commands change nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from runbook.declare.contents import Contents
from runbook.declare.facts import Fact, hosts_on
from runbook.declare.operations import Evidence
from runbook.declare.step import quote
from runbook.inventory.cluster import Cluster, Host
from runbook.secrets.vault import MASK

SHORT, LONG = 100_000, 1_000_000
"""Bytes that are kept of a command's output, and of logs: the last ones."""


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

    def of(cluster: Cluster, host: Host) -> Evidence:
        return collected(contents, host, cluster)

    def journal(cluster: Cluster, host: Host) -> str:
        units = " ".join(f"-u {quote(unit)}" for unit in of(cluster, host).units)
        when = f"journalctl --no-pager -o short-iso --since '-{hours} hours'"
        return limited(f"{when} {units}; echo; {when} -k -p warning", LONG)

    def logs(cluster: Cluster, host: Host) -> str:
        names = " ".join(of(cluster, host).logs)
        found = f"find {names or '/nonexistent'} -type f -mmin -{hours * 60} 2>/dev/null"
        return limited(f'{found} | while read -r log; do echo "== $log"; cat "$log"; done', LONG)

    def configuration(cluster: Cluster, host: Host) -> str:
        names = " ".join(of(cluster, host).files)
        return limited(f'for file in {names}; do echo "== $file"; cat "$file"; echo; done', SHORT)

    def state(cluster: Cluster, host: Host) -> str:
        commands = of(cluster, host).commands
        asked = [f"echo {quote(f'== {command}')}\n{command}\necho" for command in commands]
        return limited("\n".join(asked), SHORT)

    def services(cluster: Cluster, host: Host) -> str:
        names = " ".join(quote(unit) for unit in of(cluster, host).units)
        return limited(f"systemctl status --no-pager -n 0 {names}", SHORT)

    def packages(cluster: Cluster, host: Host) -> str:
        return limited("rpm -qa | sort", SHORT)

    asked = {
        "state.txt": state,
        "services.txt": services,
        "configuration.txt": configuration,
        "packages.txt": packages,
        "journal.txt": journal,
        "logs.txt": logs,
    }
    return [
        Fact(name, on="all", command=command, parse=str, absent="it does not answer")
        for name, command in asked.items()
    ]


def limited(commands: str, size: int) -> str:
    """The end of what commands print, on both streams; they may fail."""
    return f"{{\n{commands}\n}} 2>&1 </dev/null | tail -c {size}\ntrue"


PATTERNS = (
    re.compile(r"(-----BEGIN [A-Z ]*PRIVATE KEY-----)[\s\S]*?(-----END|\Z)"),
    re.compile(r"(://[^/\s:@]*:)[^/\s@]+(@)"),
    re.compile(r"((?:auth_pass|stats auth|requirepass)\s+)\S+()"),
    re.compile(r"(?i)(authorization:\s*\w+\s+)\S+()"),
    re.compile(r"(SCRAM-SHA-256\$)\S+()"),
    re.compile(r"\b(md5)[0-9a-f]{32}\b()"),
    re.compile(
        r"(?i)([\w.-]*(?:password|passwd|secret|token|cookie|fernet|_key\b)[\w.-]*"
        r"[\"']?\s*[:=]\s*)(?!\s)[^\n]+()"
    ),
)
"""What looks like a password wherever it comes from; around it stays what says so."""


def without_passwords(text: str) -> str:
    """`text` without what looks like a password."""
    for pattern in PATTERNS:
        text = pattern.sub(rf"\1{MASK}\2", text)
    return text
