"""How a preflight gets a root shell: as every task does, or as `ssh.bootstrap` does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable, TypeVar

from runbook.errors import AccessError
from runbook.inventory.cluster import Host

if TYPE_CHECKING:
    from runbook.execute.run import Run

T = TypeVar("T")


def entered(run: Run, host: Host, ask: Callable[[], T]) -> T:
    """What `ask` returns, over a connection of the administrator, or else of first contact."""
    try:
        run.connections.open(host)
        return ask()
    except AccessError:
        run.connections.drop(host)
        run.connections.open(host, True)
        return ask()
