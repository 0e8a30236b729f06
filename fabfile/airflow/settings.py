"""What hosts.yaml says for Airflow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Optional, Union

import msgspec

from runbook.inventory.entry import ParameterName, Positive, Text, named
from runbook.inventory.schema import Objection, Understood

from ..shared.airflow import Ids
from ..shared.versions import Versions, within

PYTHON_FOR_AIRFLOW = {"2.9.0": ("3.8", "3.12"), "2.7.3": ("3.8", "3.11")}
"""Lowest and highest Python of each Airflow (its PyPI classifiers)."""

PYTHON_LOCKED = ("3.9", "3.11")
"""Series of Python for which files/airflow has a lock of each Airflow."""


class Airflow(Ids, frozen=True):
    """Settings of the section `airflow`."""

    dags: Text = "files/airflow/dags"
    """The folder on this machine that `fab airflow.dags` copies to the share."""
    database: Literal["vip", "hosts"] = "vip"
    """How Airflow reaches the database: by VIP and HAProxy, or by asking its servers who leads."""
    admin: Annotated[str, named("login", "^[a-z][a-z0-9._-]*$")] = "admin"
    """The web UI's administrator; the password is airflow_admin in secrets.yaml."""
    concurrency: Optional[Positive] = None
    """Tasks that a worker runs at once; null: depends on its RAM and processors."""
    parallelism: Positive = 32
    """Tasks that each scheduler lets run at once."""
    workers: Positive = 4
    """Processes of each webserver."""
    pool: Positive = 5
    """Database connections that each process keeps; it may briefly open half as many more."""
    settings: dict[ParameterName, dict[ParameterName, Union[str, int, float, bool]]] = (
        msgspec.field(default_factory=dict)
    )
    """Settings of airflow.cfg on all servers, by its sections."""

    def objections(self, inventory: Understood) -> Iterator[Objection]:
        """An Airflow that is not supported, or a Python that does not fit it."""
        versions = inventory.get(Versions)
        if not versions:
            return
        python_range = PYTHON_FOR_AIRFLOW.get(versions.airflow)
        if not python_range:
            known = " or ".join(PYTHON_FOR_AIRFLOW)
            sentence = f"{versions.airflow} is not supported; allowed: {known}"
            yield Objection(sentence, ("versions", "airflow"))
        elif not within(versions.python, python_range):
            yield Objection(
                f"{versions.python} does not fit Airflow {versions.airflow}, "
                f"which needs {python_range[0]} to {python_range[1]}",
                ("versions", "python"),
            )
        if versions.python_series not in PYTHON_LOCKED:
            yield Objection(
                f"{versions.python}: Airflow's packages are locked for Python "
                f"{' and '.join(PYTHON_LOCKED)} (files/airflow)",
                ("versions", "python"),
            )
