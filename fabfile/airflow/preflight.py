"""Requirements of Airflow on the servers, and installations that conflict with it."""

from __future__ import annotations

from runbook.declare.facts import Facts
from runbook.declare.probes import Findings, Probes, probe
from runbook.declare.templates import script
from runbook.errors import RunbookError
from runbook.inventory.cluster import Cluster, Host
from runbook.inventory.schema import SSH

from .. import python_build
from ..postgres.pools import pooled
from ..preflight import trouble
from ..preflight.foreign import none
from ..preflight.system import SYSTEM
from ..shared.airflow import AIRFLOW_HOME, USER, hosts
from ..shared.python import Python
from ..shared.roles import POSTGRES, TARGET, WORKER, airflow
from ..shared.sources import PYPI
from .common import section
from .installation import OPT, wanted
from .settings import Airflow


def directly(cluster: Cluster) -> list[Host]:
    """The database servers, if Airflow connects to them directly; with a pooler, for migrations."""
    direct = cluster[Airflow].database == "hosts" or pooled(cluster)
    return cluster.group(POSTGRES) if direct else []


section.fetches(PYPI, python_build.only_builder)
section.login(lambda cluster, host: USER, on=TARGET, by=WORKER)
section.port(SSH, "SSH, by key: tasks reach their targets", WORKER, on=TARGET)
section.port("5432/tcp", "PostgreSQL, without HAProxy", airflow, on=directly)


@section.preflight
def preflight(host: Host, cluster: Cluster) -> Probes:
    """Check for an Airflow set up by hand: a second worker, an old unit, a home on a share."""
    yield probe(
        "no foreign Airflow",
        script("airflow/foreign.sh", home=AIRFLOW_HOME),
        none("was not set up by this project"),
        fix="disable the units (systemctl disable --now UNIT), remove their files, end the "
        f"processes, umount {AIRFLOW_HOME}",
    )


@section.cluster_preflight(needs=[SYSTEM])
def built_once(cluster: Cluster, facts: Facts) -> Findings:
    """Check what programs need that are built on one server and shipped to the others."""
    yield from locked(cluster)
    yield from programs_run(cluster, facts)
    yield from same_release(cluster, facts)


def locked(cluster: Cluster) -> Findings:
    """Check that there is a lock of the packages that hosts.yaml names."""
    try:
        wanted(cluster)
    except RunbookError as error:
        host = python_build.builder(cluster).name
        yield trouble.stops(host, "airflow.packages", str(error), "fab airflow.lock")


def programs_run(cluster: Cluster, facts: Facts) -> Findings:
    """Check that programs can run from the directories of Airflow and Python."""
    prefix = cluster[Python].prefix
    for host in hosts(cluster):
        known = facts.known(SYSTEM).get(host.name)
        for path in (OPT, prefix):
            if known and known.noexec(path):
                sentence = f"{path} is mounted noexec, but programs are installed there"
                yield trouble.stops(
                    host.name, "mounts", sentence, f"mount the file system of {path} with exec"
                )


def same_release(cluster: Cluster, facts: Facts) -> Findings:
    """Check that all servers have the release of the one that builds Python and Airflow."""
    known = facts.known(SYSTEM)
    built = known.get(python_build.builder(cluster).name)
    for host in python_build.everybody(cluster):
        here = known.get(host.name)
        if built and here and here.platform != built.platform:
            sentence = (
                f"this server is {here.platform}, but Python and Airflow are built on "
                f"{python_build.builder(cluster).name}, for {built.platform}"
            )
            way_out = "use the same release on all servers of Airflow"
            yield trouble.stops(host.name, "release", sentence, way_out)
