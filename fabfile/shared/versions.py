"""The versions that are installed, for all sections."""

from __future__ import annotations

import re
from typing import Annotated

from runbook.inventory.entry import named
from runbook.inventory.schema import Settings

Version = Annotated[str, named("version: `3.12.10`", r"[0-9]{1,3}(?:\.[0-9]{1,3}){2,3}")]

PYTHON_FOR_AIRFLOW = {"2.9.0": ("3.8", "3.12"), "2.7.3": ("3.8", "3.11")}
"""The versions of Airflow that can be installed, with the lowest and the highest Python of each
(its PyPI classifiers).
"""

POSTGRESQL_FOR_AIRFLOW = {"2.9.0": (12, 16), "2.7.3": (11, 15)}
"""The lowest and the highest PostgreSQL that each is tested with ("Prerequisites")."""


class Versions(Settings, frozen=True):
    """The versions that are installed."""

    airflow: Version = "2.9.0"
    """2.9.0 or 2.7.3."""
    python: Version = "3.9.16"
    """Built from source on VM1, for Airflow only; the system's Python is not changed."""
    postgresql: Annotated[str, named('major version: `"15"`', "[1-9][0-9]")] = "15"
    """The major version; the minor version is the newest of the repository. A cluster that exists
    keeps its own until fab postgres.upgrade --major.
    """
    rabbitmq: Version = "3.12.10"
    """Installed in exactly this version, and held at it."""
    erlang: Version = "26.1.2"
    """Installed in exactly this version, which must fit RabbitMQ."""

    @property
    def python_series(self) -> str:
        """Python's series, such as 3.9."""
        return ".".join(self.python.split(".")[:2])

    @property
    def quorum_queues(self) -> bool:
        """Whether queues are quorum queues; Airflow 2.7.3 cannot use these, and mirrors its own."""
        return not self.airflow.startswith("2.7")


def within(version: str, bounds: tuple[str, str]) -> bool:
    """Whether major.minor of `version` lies within both bounds."""
    number = [int(part) for part in re.findall(r"\d+", version)[:2]]
    low, high = ([int(part) for part in bound.split(".")] for bound in bounds)
    return low <= number <= high
