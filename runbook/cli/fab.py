"""The command `fab`. It lists tasks without Fabric, which takes a third of the time to load."""

from __future__ import annotations

import sys

from runbook.cli.program import start


def main() -> None:
    """Run `fab`."""
    if only_lists(sys.argv[1:]):
        from runbook.cli.listing import program
    else:
        from runbook.cli.fabric_program import program
    start("fab", program())


def only_lists(words: list[str]) -> bool:
    """Whether the command is `fab --list`, or `fab --list SECTION`."""
    return words[:1] in (["--list"], ["-l"]) and len(words) <= 2
