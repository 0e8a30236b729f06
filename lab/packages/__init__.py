"""The packages that the lab's mirror offers beyond a Rocky minimal installation.

One entry makes one RPM. `debs` names the Debian packages it is made from; what they depend on is
brought along under its Debian name unless an entry here claims it. Everything else in an entry
says in what the RPM differs from the Debian packages, in RHEL's paths and ids. Units, scripts and
other files of some length are in `trees/`, in a folder of the entry's name, and are laid over the
rest. An entry may also be made from its files alone, or from nothing.
"""

from __future__ import annotations

from pathlib import Path

from lab.packages import (
    database,
    directory,
    etcd,
    failover,
    monitoring,
    rabbitmq,
    storage,
    system,
    toolchain,
)
from lab.packages.model import Package

TREES = Path(__file__).resolve().parent / "trees"
TOPICS = (
    system.PACKAGES,
    database.PACKAGES,
    etcd.PACKAGES,
    rabbitmq.PACKAGES,
    failover.PACKAGES,
    storage.PACKAGES,
    monitoring.PACKAGES,
    toolchain.PACKAGES,
    directory.PACKAGES,
)
PACKAGES: dict[str, Package] = {key: entry for topic in TOPICS for key, entry in topic.items()}

# Debian's own plumbing: in the closure of dependencies, and of no use to an RPM.
NOT_SHIPPED = frozenset(
    {
        "adduser",
        "debconf",
        "init-system-helpers",
        "libllvm14",  # compiles queries for PostgreSQL, for which PGDG has a package of its own
        "lsb-base",
        "perl",
        "perl-modules-5.36",
        "libperl5.36",
        "libgdbm-compat4",
        "postgresql-client-common",
        "postgresql-common",
        "sensible-utils",
        "ssl-cert",
        "sysvinit-utils",
        "ucf",
    }
)
