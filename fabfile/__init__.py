"""The runbook's table of contents: its sections, in its order."""

from __future__ import annotations

from invoke import Collection

from . import (
    airflow,
    base,
    haproxy,
    hostnames,
    hosts,
    nfs,
    postgres,
    python_build,
    rabbitmq,
    ssh,
    systemd,
)
from .airflow import rotate, upgrade, users
from .operator import update

AIRFLOW_DAY_TWO = (users, rotate, upgrade)
"""Parts of the section airflow that are made of systemd's, and so come after it."""

BASE_DAY_TWO = (update,)
"""Part of the section base that keeps all sections' clusters whole, and so comes after them."""

SECTIONS = (
    base.section,
    hostnames.section,
    hosts.section,
    ssh.section,
    python_build.section,
    postgres.section,
    rabbitmq.section,
    nfs.section,
    haproxy.section,
    airflow.section,
    systemd.section,
)

ns = Collection()
for section in SECTIONS:
    ns.add_collection(section.collection())
