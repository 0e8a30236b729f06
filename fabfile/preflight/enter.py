"""Open a root shell for a preflight: as every task does, or else as `ssh.bootstrap` does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, TypeVar

from runbook.errors import AccessError
from runbook.inventory.cluster import Host

if TYPE_CHECKING:
    from runbook.execute.run import Run

T = TypeVar("T")


def entered(run: Run, host: Host, ask: Callable[[], T]) -> T:
    """Call `ask` with a connection as the administrator, or else as the bootstrap account."""
    try:
        run.connections.open(host)
        return ask()
    except AccessError:
        run.connections.drop(host)
        run.connections.open(host, True)
        return ask()
