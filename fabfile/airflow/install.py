"""An installation of Airflow: built once, from a hash lock, and copied to the same path elsewhere.

It stands beside the one that services use, until airflow.switch.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Callable

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
from . import pins
from .common import section
from .importing import imports_the_dags
from .installation import OPT, folder, made_from, wanted, wanted_if_known
from .requirement import normal
from .settings import Airflow

if TYPE_CHECKING:
    from runbook.execute.run import Run

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


VENV = Fact(
    "whether Airflow is installed",
    on=hosts,
    command=lambda cluster, host: asked_of(cluster, copies.state),
    parse=copies.parse,
    absent="it does not answer",
    thorough=True,
)

SHIPPED = Fact(
    "the Airflow that is shipped",
    on=python_build.only_builder,
    command=lambda cluster, host: asked_of(cluster, partial(copies.state, bytecode=True)),
    parse=copies.parse,
    absent="it does not answer",
    used_by=lambda cluster: receivers(cluster),
)

PACKAGES = Fact(
    "which packages are there",
    on=hosts,
    command=lambda cluster, host: asked_of(cluster, copies.packages),
    parse=copies.distributions,
    absent="it cannot be asked",
)


def asked_of(cluster: Cluster, question: Callable[[str], str]) -> str:
    """A question about the installation that hosts.yaml describes; without its lock, about none."""
    name = wanted_if_known(cluster)
    return question(folder(name) if name else f"{OPT}/none")


def locked(cluster: Cluster) -> frozenset[str]:
    """The packages that the locks name."""
    own = pins.pins(pins.text(cluster), "the lock")
    return frozenset({*own, *pins.pins(render(BUILD_TOOLS, {}), BUILD_TOOLS)})


def refuse_foreign(chosen: Sequence[Host], cluster: Cluster, facts: Facts) -> None:
    """Refuse to remove packages from an installation that the locks do not name."""
    own = locked(cluster)
    foreign = {name: found - own for name, found in facts.known(PACKAGES).items()}
    way_out = (
        "Uninstall them with the tool that installed them; to have them, add them to "
        f"airflow.packages in {cluster.file.name}."
    )
    copies.refuse_foreign(chosen, folder(wanted(cluster)), foreign, way_out)


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
    """Install Airflow and airflow.packages on VM1, from the lock, beside the others.

    Every file has the lock's hash, and every package and provider can be imported. What services
    run from is not changed; airflow.switch lets them use it. A damaged installation is replaced.
    """
    name = wanted(cluster)
    target = folder(name)
    if not complete(facts.known(VENV).get(host.name, copies.Copy()), cluster):
        refuse_foreign([host], cluster, facts)
    yield steps.directory(OPT)
    if cluster[Airflow].build_packages:
        yield steps.packages(*cluster[Airflow].build_packages)
    yield steps.precondition(
        f"room for Airflow in {OPT}",
        f"[[ -e {copies.mark(target)} ]] || (($(df --output=avail -m /opt | tail -1) >= {ROOM}))",
        f"df -h /opt\necho 'Airflow takes {ROOM} MB there. Make room, or mount a larger disk.'",
        early=True,
    )
    yield steps.template(f"{OPT}/build-tools.lock", BUILD_TOOLS, {})
    yield steps.file(f"{target}.lock", pins.text(cluster))
    yield steps.command(
        f"Airflow {name} in {target}, from its lock",
        built(cluster),
        unless=copies.intact(target, made_from(cluster)),
        timeout=3600,
    )
    yield imports_the_dags(name, cluster)


def built(cluster: Cluster) -> str:
    """Commands that build the installation apart, verify it, and put it in its place."""
    name = wanted(cluster)
    target, apart = folder(name), f"{OPT}/.building-{name}"
    urls = [one.url for one in pins.packages(cluster) if one.url]
    return script(
        "airflow/install.sh",
        target=target,
        apart=apart,
        mark=copies.mark(target),
        made_from=made_from(cluster),
        fingerprint=copies.fingerprint(apart),
        index=source(cluster),
        trusted=trusted(cluster),
        netrc=cluster[Sources].netrc(cluster[Sources].pypi.index, *urls),
        python=python_build.python(cluster),
        python_version=cluster[Versions].python,
        python_mark=copies.mark(python_build.home(cluster)),
        python_made_from=python_build.made_from(cluster),
        imports=render("airflow/importable-packages", {}),
        not_imported=" ".join(map(normal, cluster[Airflow].not_imported)),
        opt=OPT,
        tools=TOOLS,
        cache=CACHE,
    )


@section.task(needs=[VENV, PACKAGES], by=python_build.only_builder)
def ship(host: Host, cluster: Cluster, facts: Facts, hosts: Sequence[Host]) -> Steps:
    """Send the installation from VM1 to servers that lack it or have a damaged one.

    VM1's key may deliver an archive, which nothing unpacks until airflow.receive.
    """
    content = made_from(cluster)
    others = copies.lacking(facts.known(VENV), content, hosts, but=host)
    refuse_foreign(others, cluster, facts)
    for other in others:
        yield to_other(
            f"Airflow {wanted(cluster)} has arrived on {other.name}",
            "airflow",
            cluster,
            other,
            folder(wanted(cluster)),
            content,
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
    vm1, target = python_build.builder(cluster), folder(wanted(cluster))
    yield unpack(
        f"{target} is as {vm1.name} has it",
        "airflow",
        cluster,
        host,
        target,
        made_from(cluster),
        copies.shipped(facts, SHIPPED, vm1),
        again="fab airflow.ship airflow.receive",
        links=python_build.home(cluster),
    )


def complete(copy: copies.Copy, cluster: Cluster) -> bool:
    """Whether a copy is the wanted Airflow, undamaged."""
    return copy.intact and copy.made_from == made_from(cluster)
