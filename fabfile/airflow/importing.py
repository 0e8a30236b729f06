"""Whether DAGs and plugins can be imported by an installation that is not in use yet."""

from __future__ import annotations

from runbook.declare.step import Step
from runbook.declare.steps import precondition
from runbook.declare.templates import render, script
from runbook.inventory.cluster import Cluster

from ..shared import copies
from ..shared.airflow import DAGS
from .common import SCRIPTS
from .installation import OPT, folder, name_in_use, version_of

SECONDS = 900
"""How long the import of all DAGs may take."""


def imports_the_dags(name: str, cluster: Cluster) -> Step:
    """Every DAG and plugin that the installation in use can import, this one can import, too.

    What is broken already does not count. It is not asked where nothing is in use yet, or
    another version of Airflow: airflow.upgrade asks then.
    """
    asked = script(
        "airflow/newly-broken.sh",
        run=f"{SCRIPTS}/as-airflow",
        target=folder(name),
        broken=render("airflow/broken-dags", {}),
        share=DAGS,
        seconds=SECONDS,
    )
    found = f"in_use={OPT}/{name_in_use()}\n{asked}"
    version = version_of(name)
    not_asked = (
        f"[[ ! -e {copies.mark(folder(name))} ]] || "
        f"case {name_in_use()} in {name}) ;; {version} | {version}-*) false ;; esac"
    )
    return precondition(
        f"{name} can import every DAG and plugin that the installation in use can import",
        f"{not_asked} || [[ ! $( {found} ) ]]",
        f"""{found} | head -n 20
echo 'These cannot be imported with {folder(name)}; nothing else was changed.'
echo 'Change them, or airflow.packages in {cluster.file.name} (then fab airflow.lock).'""",
    )
