"""Where drills take place: in a lab, which can cause any fault, or on real servers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Callable, Optional, Protocol

from runbook.declare.drills import Drill
from runbook.errors import UsageError
from runbook.inventory.cluster import Cluster
from runbook.output.prompt import typed

REAL = "real servers"


class Plugs(Protocol):
    """What a lab can do to whole servers; its methods raise a RunbookError."""

    @property
    def name(self) -> str:
        """The lab's name."""

    def strike(self, hosts: Sequence[str], kind: str) -> None:
        """Cause a fault on these servers, at the same moment."""

    def heal(self, hosts: Sequence[str]) -> None:
        """End all faults of these servers at the same time; returns when they answer."""

    def standing(self) -> Mapping[str, str]:
        """The servers that are not as they should be, and how they are instead."""


Here = Callable[[], Optional[Plugs]]
"""Finds the lab in which this process runs, if it does."""

_finders: list[Here] = []


def found_by(finder: Here) -> None:
    """Let this function find the lab: the product itself knows of none."""
    _finders.append(finder)


def here() -> Optional[Plugs]:
    """The lab in which this process runs; None on real servers."""
    return next((found for finder in _finders if (found := finder())), None)


@dataclass(frozen=True)
class Ground:
    """Where drills take place."""

    cluster: Cluster
    plugs: Optional[Plugs]

    @property
    def name(self) -> str:
        """The lab, or that there is none."""
        return f"the lab {self.plugs.name}" if self.plugs else REAL

    def allows(self, drill: Drill) -> bool:
        """Whether the drill's fault may be caused here."""
        return drill.soft or self.plugs is not None

    def refuse(self, drills: Sequence[Drill]) -> None:
        """Refuse drills whose fault only a lab may have."""
        hard = [drill.name for drill in drills if not self.allows(drill)]
        if hard:
            raise UsageError(
                f"{', '.join(hard)}: only a lab may have such a fault, and this is none. Rehearse "
                "it there (docs/lab.md): inv lab.exec -- inv drill.run NAME. On real servers: "
                "inv drill.list --soft"
            )

    def confirm(self, drills: Sequence[Drill], given: str = "") -> None:
        """On real servers, go on only after the cluster's name was typed, or `given`."""
        if self.plugs:
            return
        name = self.cluster.name
        asked = question([drill for drill in drills if drill.soft], name)
        if (given or typed(asked, f"To confirm it there: --cluster {name}")) != name:
            raise UsageError(f"That is not the cluster's name, {name}. Nothing was done.")


def question(drills: Sequence[Drill], name: str) -> str:
    """What happens on real servers, and what to type."""
    faults = "\n".join(f"  {drill.name}: {drill.sentence}" for drill in drills)
    return (
        f"On real servers, while clients write to database, queue and share, and a DAG runs:\n"
        f"{faults}\nType the cluster's name to go on ({name}): "
    )
