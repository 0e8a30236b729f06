"""What the database needs of the servers, and what must not be there before."""

from __future__ import annotations

from runbook.declare.probes import Probes, probe
from runbook.declare.templates import script
from runbook.inventory.cluster import Cluster, Host

from ..preflight.foreign import none
from ..shared.roles import POSTGRES
from ..shared.sources import EPEL, EPEL_KEY, PGDG_COMMON, PGDG_EXTRAS, PGDG_KEY, PGDG_POSTGRESQL
from .backup import PORT, repository_hosts
from .common import section, with_repository

for source in (EPEL, EPEL_KEY, PGDG_COMMON, PGDG_EXTRAS, PGDG_KEY, PGDG_POSTGRESQL):
    section.fetches(source, with_repository)

section.calls(POSTGRES, POSTGRES, "5432/tcp", "8008/tcp")
section.calls(POSTGRES, repository_hosts, PORT)
section.calls(repository_hosts, POSTGRES, PORT)


@section.preflight
def preflight(host: Host, cluster: Cluster) -> Probes:
    """Neither PostgreSQL nor etcd of somebody else, running or with data."""
    if POSTGRES not in host.roles:
        return
    yield probe(
        "no foreign PostgreSQL or etcd",
        script(
            "postgres/foreign.sh",
            ours="/etc/systemd/system/patroni.service.d/patroni-airflow.conf",
        ),
        none("was not set up by this project"),
        fix="keep the data elsewhere; then systemctl disable --now the units, and mv the folders",
    )
