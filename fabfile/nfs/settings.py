"""What hosts.yaml says for the share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Optional

import msgspec

from runbook.inventory.entry import Entry, between, perhaps
from runbook.inventory.schema import Objection, Settings, Understood
from runbook.yaml_source import shown

from ..shared.roles import NFS


class KeepDays(Entry, frozen=True):
    """After how many days what the servers put aside is deleted; null: it stays."""

    rescued: Optional[Annotated[int, between(7, 36500)]] = None
    """Days that rescued files stay in /app1/airflow/rescued; null: for ever."""
    snapshots: Optional[Annotated[int, between(1, 3650)]] = 14
    """Days for which there are snapshots of the DAGs, taken every hour; null: none are taken."""


class Nfs(Settings, frozen=True):
    """Settings of the section `nfs`."""

    writers: list[str] = msgspec.field(default_factory=list)
    """Hosts that may change DAGs through the share; all others only read."""
    logs: bool = False
    """Whether /app1/airflow_logs is shared, too."""
    max_delete: Annotated[int, between(1, 1_000_000)] = 500
    """The standby is not brought up to date if more of its files than this would be removed."""

    keep_days: KeepDays = msgspec.field(default_factory=KeepDays)
    """After how many days rescued files and snapshots are deleted."""

    def objections(self, inventory: Understood) -> Iterator[Objection]:
        """Writers that are not hosts; more than two servers, or more than one VIP."""
        for place, writer in enumerate(self.writers):
            if writer not in inventory.names:
                known = perhaps(writer, inventory.names)
                sentence = f"{shown(writer)} is not one of the hosts{known}"
                yield Objection(sentence, ("nfs", "writers", place))
        servers, vips = inventory.with_role(NFS), inventory.vips_of(NFS)
        for server in servers[2:]:
            sentence = (
                f"{server} is one too many for the role nfs: {' and '.join(servers[:2])} have it"
            )
            yield Objection(sentence, ("hosts", server, "roles"))
        for vip in vips[1:]:
            sentence = f"is one too many: {vips[0].name} is the address of the share"
            yield Objection(sentence, ("vips", vip.name))
        for server in servers[:2] if vips else ():
            if server not in vips[0].members:
                sentence = f"{server} has the role nfs, and is not a member"
                yield Objection(sentence, ("vips", vips[0].name, "members"))
