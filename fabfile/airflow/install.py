"""Airflow's packages: installed once, from a hash lock, and copied to the same path elsewhere."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from runbook.declare import steps
from runbook.declare.facts import Fact, Facts
from runbook.declare.step import Steps
from runbook.declare.templates import render, script
from runbook.execute.trees import push
from runbook.inventory.cluster import Cluster, Host

from .. import python_build
from ..shared import copies
from ..shared.airflow import AIRFLOW_HOME, LOGS, PLUGINS, USER, hosts
from ..shared.sources import Sources
from ..shared.versions import Versions
from ..ssh import ship as to_other
from ..ssh import unpack
from .common import section, venv

if TYPE_CHECKING:
    from runbook.execute.run import Run

OPT = "/opt/airflow"
BUILD_TOOLS = "airflow/build-tools.lock"
TOOLS = f"{OPT}/build-tools"
CACHE = "/var/cache/airflow-runbook/uv"
WHEELHOUSE = "/var/cache/airflow-runbook/wheelhouse"
ROOM = 1000
"""MiB: a venv, its packages on the way there, and compiled bytecode."""


@section.task
def directories(host: Host, cluster: Cluster) -> Steps:
    """Create Airflow's folders for home, plugins and logs; the DAGs are on the share.

    The directory of the installation belongs to root and is readable by all users.
    """
    yield steps.directory(OPT)
    for path in (AIRFLOW_HOME, PLUGINS, LOGS):
        yield steps.directory(path, owner=USER, group=USER)


def lock(cluster: Cluster) -> str:
    """The lock of this Airflow for this Python, in files/."""
    return f"airflow/{cluster[Versions].airflow}-py{cluster[Versions].python_series}.lock"


def made_from(cluster: Cluster) -> str:
    """The content of the venv's mark: the lock and the Python that it was made from."""
    text = render(lock(cluster), {}) + python_build.made_from(cluster) + python_build.home(cluster)
    return f"{cluster[Versions].airflow} {hashlib.sha256(text.encode()).hexdigest()[:16]}"


VENV = Fact(
    "which Airflow is installed",
    on=hosts,
    command=lambda cluster, host: copies.state(venv(cluster)),
    parse=copies.parse,
    absent="it does not answer",
    thorough=True,
)

SHIPPED = Fact(
    "the Airflow that is shipped",
    on=python_build.only_builder,
    command=lambda cluster, host: copies.state(venv(cluster), bytecode=True),
    parse=copies.parse,
    absent="it does not answer",
    used_by=lambda cluster: receivers(cluster),
)

PACKAGES = Fact(
    "which packages are there",
    on=hosts,
    command=lambda cluster, host: copies.packages(venv(cluster)),
    parse=copies.distributions,
    absent="it cannot be asked",
)


def locked(cluster: Cluster) -> frozenset[str]:
    """The packages that the locks name."""
    text = render(lock(cluster), {}) + render(BUILD_TOOLS, {})
    return frozenset(
        map(copies.distribution, re.findall(r"^[A-Za-z0-9._-]+==", text, re.MULTILINE))
    )


def refuse_foreign(chosen: Sequence[Host], cluster: Cluster, facts: Facts) -> None:
    """Refuse to remove packages from the venv that the locks do not name."""
    own = locked(cluster)
    foreign = {name: found - own for name, found in facts.known(PACKAGES).items()}
    way_out = (
        f"Uninstall them with the tool that installed them, or add them to files/{lock(cluster)}."
    )
    copies.refuse_foreign(chosen, venv(cluster), foreign, way_out)


def source(cluster: Cluster) -> str:
    """pip's options: where packages come from."""
    pypi = cluster[Sources].pypi
    if pypi.wheelhouse:
        return f"--no-index --find-links {WHEELHOUSE}"
    return f"--index-url {pypi.index}" if pypi.index else ""


def trusted(cluster: Cluster) -> str:
    """pip's option for packages over plain HTTP; their hashes are verified all the same."""
    scheme, _, rest = (cluster[Sources].pypi.index or "").partition("://")
    return f"--trusted-host {rest.partition('/')[0]}" if scheme == "http" else ""


def without_index(cluster: Cluster) -> list[Host]:
    """VM1, if its packages come from a folder of the controller."""
    return python_build.only_builder(cluster) if cluster[Sources].pypi.wheelhouse else []


@section.on_controller(on=without_index)
def wheelhouse(run: Run, hosts: Sequence[Host]) -> None:
    """Copy the wheels of sources.pypi.wheelhouse to VM1, which cannot reach an index."""
    folder = run.cluster.path(str(run.cluster[Sources].pypi.wheelhouse))
    for host in hosts:
        push(run, host, folder, WHEELHOUSE)


@section.task(on=python_build.only_builder, needs=[VENV, PACKAGES])
def install(host: Host, cluster: Cluster, facts: Facts) -> Steps:
    """Install the locked packages of Airflow on VM1; every file has the lock's hash.

    A damaged installation is replaced. If the task is interrupted, the previous one is not changed.
    """
    target = venv(cluster)
    if not complete(facts.known(VENV).get(host.name, copies.Copy()), cluster):
        refuse_foreign([host], cluster, facts)
    yield steps.directory(OPT)
    yield steps.precondition(
        f"room for Airflow in {OPT}",
        f"[[ -e {copies.mark(target)} ]] || (($(df --output=avail -m /opt | tail -1) >= {ROOM}))",
        f"df -h /opt\necho 'Airflow takes {ROOM} MB there. Make room, or mount a larger disk.'",
        early=True,
    )
    yield steps.command(
        f"nobody but root may write in {target}",
        f"""if {copies.intact(target, made_from(cluster))}; then
  rm {target}/.lock
  echo "{made_from(cluster)} $( {copies.fingerprint(target)} )" >{copies.mark(target)}
else rm {target}/.lock; fi""",
        unless=f"[[ ! -e {target}/.lock ]]",
    )
    locks = {"build-tools": BUILD_TOOLS, cluster[Versions].airflow: lock(cluster)}
    for name, file in locks.items():
        yield steps.template(f"{OPT}/{name}.lock", file, {})
    yield steps.command(
        f"Airflow {cluster[Versions].airflow} in {target}, from its lock",
        script(
            "airflow/install.sh",
            version=cluster[Versions].airflow,
            target=target,
            mark=copies.mark(target),
            made_from=made_from(cluster),
            fingerprint=copies.fingerprint(target),
            index=source(cluster),
            trusted=trusted(cluster),
            netrc=cluster[Sources].netrc(cluster[Sources].pypi.index),
            python=python_build.python(cluster),
            python_version=cluster[Versions].python,
            python_mark=copies.mark(python_build.home(cluster)),
            python_made_from=python_build.made_from(cluster),
            opt=OPT,
            tools=TOOLS,
            cache=CACHE,
        ),
        unless=copies.intact(target, made_from(cluster)),
        timeout=3600,
    )


@section.task(needs=[VENV, PACKAGES], by=python_build.only_builder)
def ship(host: Host, cluster: Cluster, facts: Facts, hosts: Sequence[Host]) -> Steps:
    """Send the installation from VM1 to servers that lack it or have a damaged one.

    VM1's key may deliver an archive, which nothing unpacks until airflow.receive.
    """
    wanted = made_from(cluster)
    others = copies.lacking(facts.known(VENV), wanted, hosts, but=host)
    refuse_foreign(others, cluster, facts)
    for other in others:
        yield to_other(
            f"Airflow {cluster[Versions].airflow} has arrived on {other.name}",
            "airflow",
            cluster,
            other,
            venv(cluster),
            wanted,
            again="fab airflow.install",
        )


def receivers(cluster: Cluster) -> list[Host]:
    """The servers that Airflow is shipped to."""
    return [host for host in hosts(cluster) if host != python_build.builder(cluster)]


@section.task(on=receivers, needs=[SHIPPED])
def receive(host: Host, cluster: Cluster, facts: Facts) -> Steps:
    """Unpack what arrived, and use it if it is exactly what VM1 has, to the same path.

    The controller has asked VM1; the account that delivers it cannot change what is accepted. A
    damaged installation is replaced.
    """
    vm1 = python_build.builder(cluster)
    yield unpack(
        f"{venv(cluster)} is as {vm1.name} has it",
        "airflow",
        cluster,
        host,
        venv(cluster),
        made_from(cluster),
        copies.shipped(facts, SHIPPED, vm1),
        again="fab airflow.ship airflow.receive",
        links=python_build.home(cluster),
    )


def complete(copy: copies.Copy, cluster: Cluster) -> bool:
    """Whether a copy is the wanted Airflow, undamaged."""
    return copy.intact and copy.made_from == made_from(cluster)
