"""What gets installed, of all sections."""

from __future__ import annotations

import re
from typing import Annotated

from runbook.inventory.entry import named
from runbook.inventory.schema import Settings

Version = Annotated[str, named("version: `3.12.10`", r"[0-9]{1,3}(?:\.[0-9]{1,3}){2,3}")]


class Versions(Settings, frozen=True):
    """What gets installed."""

    airflow: Version = "2.9.0"
    """2.9.0 or 2.7.3."""
    python: Version = "3.9.16"
    """Built from source on VM1, for Airflow alone; the system's own stays."""
    postgresql: Annotated[str, named('major version: `"15"`', "[1-9][0-9]")] = "15"
    """The major version; its minor one is the repository's newest. A cluster that exists stays at
    its own.
    """
    rabbitmq: Version = "3.12.10"
    """Installed exactly, and held there."""
    erlang: Version = "26.1.2"
    """Installed exactly; it has to fit RabbitMQ."""

    @property
    def python_series(self) -> str:
        """Such as 3.9."""
        return ".".join(self.python.split(".")[:2])

    @property
    def quorum_queues(self) -> bool:
        """Airflow 2.7.3 brings a Celery that cannot use quorum queues: its queues are mirrored."""
        return not self.airflow.startswith("2.7")


def within(version: str, bounds: tuple[str, str]) -> bool:
    """Whether major.minor of `version` lies within both bounds."""
    number = [int(part) for part in re.findall(r"\d+", version)[:2]]
    low, high = ([int(part) for part in bound.split(".")] for bound in bounds)
    return low <= number <= high
