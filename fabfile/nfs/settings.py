"""What hosts.yaml says for the share."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from runbook.inventory.entry import Positive, perhaps
from runbook.inventory.schema import Objection, Settings, Understood


class Nfs(Settings, frozen=True):
    """Settings of the section `nfs`."""

    writers: list[str] = msgspec.field(default_factory=list)
    """Hosts that may change DAGs through the share; all others only read."""
    logs: bool = False
    """Whether /app1/airflow_logs is shared, too."""
    max_delete: Positive = 500
    """The standby is not brought up to date if more of its files than this would be removed."""

    def objections(self, inventory: Understood) -> Iterator[Objection]:
        """Writers that are not hosts."""
        for writer in self.writers:
            if writer not in inventory.hosts:
                yield Objection(
                    f"{writer} is not one of the hosts{perhaps(writer, inventory.hosts)}",
                    ("nfs", "writers"),
                )
