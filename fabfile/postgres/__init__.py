"""The runbook's Database HA: etcd, Patroni and PostgreSQL on the servers with role `postgres`."""

from __future__ import annotations

from . import (
    backup,
    check,
    database,
    etcd,
    install,
    operate,
    patroni,
    power,
    preflight,
    repository,
    restore,
    status,
)
from .common import section

section.order(
    install.repo,
    install.install,
    etcd.etcd,
    etcd.etcd_members,
    backup.backup_keys,
    backup.backup_network,
    patroni.patroni,
    operate.patroni_members,
    patroni.settings,
    database.database,
    repository.backup_repository,
    repository.backup,
    repository.backups,
    status.status,
    operate.switchover,
    operate.restart,
    operate.reinit,
    operate.remove,
    restore.restore,
)

__all__ = ["check", "power", "preflight", "section", "status"]
