"""Requirements of the database on the servers, and installations that conflict with it."""

from __future__ import annotations

from runbook.declare.probes import Probes, probe
from runbook.declare.templates import script
from runbook.inventory.cluster import Cluster, Host

from ..preflight.foreign import none
from ..shared.roles import POSTGRES
from ..shared.sources import EPEL, EPEL_KEY, PGDG_COMMON, PGDG_EXTRAS, PGDG_KEY, PGDG_POSTGRESQL
from .common import section, with_repository

for source in (EPEL, EPEL_KEY, PGDG_COMMON, PGDG_EXTRAS, PGDG_KEY, PGDG_POSTGRESQL):
    section.fetches(source, with_repository)


@section.preflight
def preflight(host: Host, cluster: Cluster) -> Probes:
    """Check for a PostgreSQL or etcd that this project did not set up, running or with data."""
    if POSTGRES not in host.roles:
        return
    yield probe(
        "no foreign PostgreSQL or etcd",
        script(
            "postgres/foreign.sh",
            ours="/etc/systemd/system/patroni.service.d/patroni-airflow.conf",
        ),
        none("was not set up by this project"),
        fix="copy the data elsewhere, disable the units (systemctl disable --now UNIT), and mv the "
        "directories away",
    )
