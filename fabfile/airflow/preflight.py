"""What Airflow needs of the servers, and what must not be there before."""

from __future__ import annotations

from runbook.declare.facts import Facts
from runbook.declare.probes import Findings, Probes, probe
from runbook.declare.requirements import SSH
from runbook.declare.templates import script
from runbook.inventory.cluster import Cluster, Host

from .. import python_build
from ..preflight import trouble
from ..preflight.foreign import none
from ..preflight.system import SYSTEM
from ..shared.airflow import AIRFLOW_HOME, COMPONENTS, USER, hosts
from ..shared.roles import (
    FLOWER,
    HAPROXY,
    POSTGRES,
    RABBITMQ,
    SCHEDULER,
    TARGET,
    WORKER,
)
from ..shared.sources import PYPI
from .common import section
from .install import OPT
from .settings import Airflow


def components(cluster: Cluster) -> list[Host]:
    """The servers that run a part of Airflow."""
    return [host for host in cluster.hosts.values() if {*COMPONENTS} & {*host.roles}]


def through_proxy(cluster: Cluster) -> list[Host]:
    """The proxies, if Airflow asks them."""
    return cluster.group(HAPROXY) if cluster[Airflow].database == "vip" else []


def directly(cluster: Cluster) -> list[Host]:
    """The database servers, if Airflow asks them."""
    return cluster.group(POSTGRES) if cluster[Airflow].database == "hosts" else []


section.fetches(PYPI, python_build.only_builder)
section.login(lambda cluster, host: USER, on=TARGET, by=WORKER)
section.calls(WORKER, TARGET, SSH)
section.calls(components, through_proxy, "5000/tcp")
section.calls(components, directly, "5432/tcp")
for role in (SCHEDULER, WORKER, FLOWER):
    section.calls(role, RABBITMQ, "5672/tcp")


@section.preflight
def preflight(host: Host, cluster: Cluster) -> Probes:
    """No Airflow that was set up by hand: a second worker, an old unit, a home on a share."""
    yield probe(
        "no foreign Airflow",
        script("airflow/foreign.sh", home=AIRFLOW_HOME),
        none("was not set up by this project"),
        fix="systemctl disable --now the units and rm their files, end the processes, umount "
        f"{AIRFLOW_HOME}",
    )


@section.cluster_preflight(needs=[SYSTEM])
def programs_run(cluster: Cluster, facts: Facts) -> Findings:
    """Programs can be run from where Airflow and Python are installed."""
    prefix = cluster[python_build.Python].prefix
    for host in hosts(cluster):
        known = facts.known(SYSTEM).get(host.name)
        for path in (OPT, prefix):
            if known and known.noexec(path):
                sentence = f"{path} is mounted noexec, and programs are installed there"
                yield trouble.stops(host.name, "mounts", sentence, f"mount {path} with exec")
