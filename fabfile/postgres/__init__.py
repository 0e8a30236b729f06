"""The runbook's Database HA: etcd, Patroni and PostgreSQL on the servers with role `postgres`."""

from __future__ import annotations

from . import (
    backup,
    check,
    database,
    drills,
    etcd,
    install,
    kernel,
    operate,
    patroni,
    pooler,
    power,
    preflight,
    recover,
    repository,
    restore,
    retention,
    rotate,
    snapshots,
    status,
    transport,
    upgrade,
    verify,
)
from .common import section

section.order(
    install.repo,
    install.install,
    kernel.kernel,
    transport.keys,
    transport.certificates,
    etcd.etcd,
    etcd.etcd_members,
    snapshots.etcd_snapshots,
    backup.backup_keys,
    backup.backup_network,
    patroni.patroni,
    operate.patroni_members,
    patroni.settings,
    database.database,
    pooler.pooler,
    retention.retention,
    repository.backup_repository,
    repository.backup,
    repository.backups,
    verify.backup_verify,
    status.status,
    operate.switchover,
    operate.restart,
    operate.reinit,
    operate.remove,
    recover.etcd_recover,
    upgrade.upgrade,
    rotate.rotate,
    restore.restore,
)

__all__ = ["check", "drills", "power", "preflight", "section", "status"]
