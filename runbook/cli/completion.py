"""Shell completion: Invoke's for tasks and options, ours for the hosts of hosts.yaml."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Optional

from runbook.declare.contents import Contents
from runbook.errors import RunbookError, UsageError

TAKES_HOSTS = re.compile(r"\s(-H|--hosts)[\s=]+(?P<typed>\S*)$")
TAKES_HOST = re.compile(r"\s(--host|--to)[\s=]+(?P<typed>\S*)$")


def script(shell: str, program: str) -> str:
    """The script with which a shell completes `fab` or `inv`; UsageError for an unknown shell."""
    folder = Path(__file__).parent
    known = {file.suffix[1:]: file for file in sorted(folder.glob("completion.*sh"))}
    if shell not in known:
        raise UsageError(f"{shell} is not a supported shell; allowed: {', '.join(known)}.")
    return known[shell].read_text(encoding="utf-8").replace("PROGRAM", program)


def hosts(line: str, contents: Contents) -> Optional[list[str]]:
    """Completions of a command line that ends where hosts are expected; None for any other."""
    several, one = TAKES_HOSTS.search(line), TAKES_HOST.search(line)
    if not several and not one:
        return None
    try:
        cluster = contents.configured()
    except RunbookError:
        return []
    if not several:
        return list(cluster.hosts)
    before, comma, _ = several["typed"].rpartition(",")
    names = [*cluster.hosts, *(f"@{group}" for group in cluster.group_names)]
    return [f"{before}{comma}{name}" for name in names if name not in before.split(",")]
