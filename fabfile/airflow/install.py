"""Airflow's packages: installed once, from a lock of hashes, and shipped to the same path."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from runbook.declare import steps
from runbook.declare.facts import Fact, Facts
from runbook.declare.step import Steps
from runbook.declare.templates import render, script
from runbook.execute.trees import push
from runbook.inventory.cluster import Cluster, Host

from .. import python_build
from ..shared.airflow import AIRFLOW_HOME, LOGS, PLUGINS, USER, hosts
from ..shared.sources import Sources
from ..shared.versions import Versions
from ..ssh import ship as to_other
from .common import section, venv

if TYPE_CHECKING:
    from runbook.execute.run import Run

OPT = "/opt/airflow"
TOOLS = f"{OPT}/build-tools"
CACHE = "/var/cache/airflow-runbook/uv"
WHEELHOUSE = "/var/cache/airflow-runbook/wheelhouse"
ROOM = 1000
"""MiB: a venv, its packages on the way there, and compiled bytecode."""


@section.task
def directories(host: Host, cluster: Cluster) -> Steps:
    """Airflow's home, plugins and logs, its own; the DAGs are the share's."""
    for path in (AIRFLOW_HOME, PLUGINS, LOGS):
        yield steps.directory(path, owner=USER, group=USER)


def lock(cluster: Cluster) -> str:
    """The lock of this Airflow for this Python, in files/."""
    return f"airflow/{cluster[Versions].airflow}-py{cluster[Versions].python_series}.lock"


def made_from(cluster: Cluster) -> str:
    """What the venv's mark says: the lock and the Python that it was made from."""
    text = render(lock(cluster), {}) + python_build.made_from(cluster)
    return f"{cluster[Versions].airflow} {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def mark(cluster: Cluster) -> str:
    """The file that is there when the venv is complete."""
    return f"{venv(cluster)}/.airflow-runbook"


VENV = Fact(
    "which Airflow is there",
    on=hosts,
    command=lambda cluster, host: f"cat {mark(cluster)} 2>/dev/null || echo none",
    parse=str.strip,
    absent="it cannot be asked",
)


def source(cluster: Cluster) -> str:
    """pip's options: where packages come from."""
    pypi = cluster[Sources].pypi
    if pypi.wheelhouse:
        return f"--no-index --find-links {WHEELHOUSE}"
    return f"--index-url {pypi.index}" if pypi.index else ""


def trusted(cluster: Cluster) -> str:
    """pip takes packages over plain HTTP if told so; their hashes are verified all the same."""
    scheme, _, rest = (cluster[Sources].pypi.index or "").partition("://")
    return f"--trusted-host {rest.partition('/')[0]}" if scheme == "http" else ""


def without_index(cluster: Cluster) -> list[Host]:
    """VM1, if its packages come from a folder of the controller."""
    return python_build.only_builder(cluster) if cluster[Sources].pypi.wheelhouse else []


@section.on_controller(on=without_index)
def wheelhouse(run: Run, hosts: Sequence[Host]) -> None:
    """Copy the wheels of sources.pypi.wheelhouse to VM1, which reaches no index."""
    folder = run.cluster.path(str(run.cluster[Sources].pypi.wheelhouse))
    for host in hosts:
        push(run, host, folder, WHEELHOUSE)


@section.task(on=python_build.only_builder)
def install(host: Host, cluster: Cluster) -> Steps:
    """Install the locked packages of Airflow on VM1; every file has the lock's hash.

    What breaks off leaves the former installation as it was.
    """
    target = venv(cluster)
    yield steps.directory(OPT)
    yield steps.precondition(
        f"room for Airflow in {OPT}",
        f"[[ -e {mark(cluster)} ]] || (($(df --output=avail -m /opt | tail -1) >= {ROOM}))",
        f"df -h /opt\necho 'Airflow takes {ROOM} MB there. Make room, or mount a larger disk.'",
        early=True,
    )
    locks = {"build-tools": "airflow/build-tools.lock", cluster[Versions].airflow: lock(cluster)}
    for name, file in locks.items():
        yield steps.template(f"{OPT}/{name}.lock", file, {})
    yield steps.command(
        f"Airflow {cluster[Versions].airflow} in {target}, from its lock",
        script(
            "airflow/install.sh",
            version=cluster[Versions].airflow,
            target=target,
            mark=mark(cluster),
            made_from=made_from(cluster),
            index=source(cluster),
            trusted=trusted(cluster),
            python=python_build.python(cluster),
            python_version=cluster[Versions].python,
            python_mark=python_build.mark(cluster),
            python_made_from=python_build.made_from(cluster),
            opt=OPT,
            tools=TOOLS,
            cache=CACHE,
        ),
        unless=f"[[ $(cat {mark(cluster)} 2>/dev/null) == '{made_from(cluster)}' ]]",
        timeout=3600,
    )


@section.task(needs=[VENV], by=python_build.only_builder)
def ship(host: Host, cluster: Cluster, facts: Facts, hosts: Sequence[Host]) -> Steps:
    """Copy the installation from VM1 to the other servers, to the same path."""
    wanted = made_from(cluster)
    for other in python_build.lacking(facts.known(VENV), wanted, hosts, but=host):
        yield to_other(
            f"{other.name} has Airflow {cluster[Versions].airflow} as {host.name} has it",
            cluster,
            other,
            [venv(cluster)],
            mark=mark(cluster),
            text=wanted,
        )
