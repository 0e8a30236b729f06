"""PGDG's repository and the packages; their units stay off until they are configured."""

from __future__ import annotations

from runbook.declare import steps
from runbook.declare.facts import Facts
from runbook.declare.step import Steps
from runbook.inventory.cluster import Cluster, Host

from ..base import epel
from ..shared.sources import Sources
from ..shared.versions import Versions
from . import etcd, patroni
from .common import MAJOR, refuse_another_major, section, with_repository
from .versions import INSTALLED, installed_alike, packages


@section.task(on=with_repository, needs=[MAJOR])
def repo(host: Host, cluster: Cluster, facts: Facts) -> Steps:
    """Add PGDG's repositories, also for etcd, and disable the distribution's module.

    PGDG's extras also have a newer haproxy, which must not replace the distribution's. Patroni's
    and pgBackRest's libraries are in EPEL.
    """
    refuse_another_major(cluster, facts)
    yield from pgdg(cluster)


def pgdg(cluster: Cluster) -> Steps:
    """The repositories that the database's packages come from."""
    yield from epel(cluster)
    yield steps.repository("pgdg-redhat-all", repositories(cluster))
    yield steps.module_disabled("postgresql")


def repositories(cluster: Cluster) -> dict[str, dict[str, str]]:
    """The sections of PGDG's .repo file, under the names that PGDG gives them."""
    source = cluster[Sources]
    pgdg = source.pgdg
    major = cluster[Versions].postgresql
    signed = steps.signed(*filter(None, [pgdg.key]))
    return {
        "pgdg-common": {"name": "PGDG common", **source.repository(pgdg.common), **signed},
        f"pgdg{major}": {
            "name": f"PGDG {major}",
            **source.repository(pgdg.of_major(major)),
            **signed,
        },
        "pgdg-extras": {
            "name": "PGDG extras",
            **source.repository(pgdg.extras),
            "includepkgs": "etcd",
            **signed,
        },
    }


@section.task(needs=[MAJOR, INSTALLED])
def install(host: Host, cluster: Cluster, facts: Facts) -> Steps:
    """Install PostgreSQL (which Patroni starts, not its own unit), etcd and Patroni.

    A new server gets the versions that the others have. All are held at these versions until `fab
    postgres.upgrade`.
    """
    yield from repo(host, cluster, facts)
    major = cluster[Versions].postgresql
    yield from installed_alike(host, packages(cluster), facts)
    yield steps.service_off(f"postgresql-{major}.service")
    yield steps.drop_in("etcd.service", "postgres/etcd-airflow.conf.j2").then(etcd.RESTART)
    yield from patroni.own_etcd_first()
    yield steps.drop_in("patroni.service", "postgres/patroni-airflow.conf.j2").then(patroni.RESTART)
