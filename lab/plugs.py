"""The lab in which a command of the controller runs, as what pulls the plugs of its hosts."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from lab.errors import LabError
from lab.machine import Lab, labs
from lab.network import NAMESPACES
from runbook.errors import RunbookError

RUNNING = "running"


class Plugs:
    """What a lab can do to its hosts, for a drill; its errors are sentences of the product."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab

    @property
    def name(self) -> str:
        """The lab's name."""
        return self._lab.name

    def strike(self, hosts: Sequence[str], kind: str) -> None:
        """Cause a fault on these hosts, at the same moment if it is a power loss."""
        with _sentences():
            self._lab.strike(hosts, kind)

    def heal(self, hosts: Sequence[str]) -> None:
        """End all faults of these hosts at the same time; returns when they answer."""
        with _sentences():
            self._lab.heal_all(hosts)

    def standing(self) -> Mapping[str, str]:
        """The hosts that do not run, or whose cable is faulty, and how they are instead."""
        with _sentences():
            return {one.name: one.state for one in self._lab.status() if one.state != RUNNING}


@contextmanager
def _sentences() -> Iterator[None]:
    try:
        yield
    except LabError as error:
        raise RunbookError(str(error)) from None
    except OSError as error:
        raise RunbookError(f"this machine does not allow it: {error}") from None


def here() -> Plugs | None:
    """The lab to whose network this process belongs; None outside of labs.

    Only who is in that network reaches a lab's hosts, and nobody there reaches others: that is how
    a drill knows that its hosts are those of a lab, whatever settings say.
    """
    own = _namespace(Path("/proc/self/ns/net"))
    if os.geteuid() or not own:
        return None
    found = (lab for lab in labs() if _namespace(NAMESPACES / lab.tag) == own)
    return next(map(Plugs, found), None)


def _namespace(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
