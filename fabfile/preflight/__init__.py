"""What would stop or spoil the work later: asked of all servers at once, in one table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from runbook.inventory.cluster import Host

if TYPE_CHECKING:
    from runbook.execute.run import Run


def preflight(run: Run, hosts: Sequence[Host]) -> None:
    """Say what would stop or spoil the work later, and change nothing.

    It works on servers where nothing is set up yet, logging in as ssh.bootstrap does, and on a
    cluster that is in use. docs/preflight.md lists what it asks. Exit code 1 if there are errors.
    """
    from .ask import Asked
    from .tell import tell

    tell(run, Asked.of(run, hosts))
