"""Check all servers at once for what would stop or impair the work later; show one table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from runbook.inventory.cluster import Host

if TYPE_CHECKING:
    from runbook.execute.run import Run


def preflight(run: Run, hosts: Sequence[Host]) -> None:
    """Report what would stop or impair the work later; change nothing.

    It works on new servers, where it logs in as ssh.bootstrap does, and on a cluster in use.
    docs/preflight.md lists the checks. Exit code 1 if there are errors.
    """
    from .ask import Asked
    from .tell import tell

    tell(run, Asked.of(run, hosts))
