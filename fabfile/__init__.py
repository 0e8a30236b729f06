"""The runbook's table of contents: its sections, in its order."""

from __future__ import annotations

from runbook.declare.contents import Contents

from . import (
    airflow,
    base,
    haproxy,
    hostnames,
    hosts,
    monitoring,
    nfs,
    postgres,
    python_build,
    rabbitmq,
    ssh,
    systemd,
    tls,
)
from .shared.firewall import KEY, Firewall
from .shared.sources import Sources
from .shared.versions import Versions

CONTENTS = Contents(
    (
        base.section,
        hostnames.section,
        hosts.section,
        ssh.section,
        tls.section,
        python_build.section,
        postgres.section,
        rabbitmq.section,
        nfs.section,
        haproxy.section,
        airflow.section,
        systemd.section,
        monitoring.section,
    ),
    shared={"versions": Versions, "sources": Sources, KEY: Firewall},
)

ns = CONTENTS.collection()
