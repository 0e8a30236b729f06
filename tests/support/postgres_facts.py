"""What database servers say of themselves, for tests."""

from __future__ import annotations

from fabfile.postgres import etcd
from fabfile.postgres.etcd import ETCD, Etcd, EtcdMember
from fabfile.postgres.figures import FIGURES, Figures
from fabfile.postgres.members import MEMBER, Member
from fabfile.postgres.repository import BACKUPS, Backup, Repository
from fabfile.shared.transport import Speaks
from runbook.declare.facts import Facts

SQL = ("sql1", "sql2", "sql3")


def etcd_facts(cluster, empty=(), silent=(), down=(), names=SQL) -> dict[str, Etcd]:
    """What the servers say of etcd: `empty` without data, `silent` unasked."""
    everybody = tuple(
        EtcdMember(f"id{name}", name, etcd.peer(cluster.hosts[name], Speaks.TLS))
        for name in names
        if name not in empty
    )
    return {
        name: Etcd(name not in empty, () if name in empty or name in down else everybody)
        for name in names
        if name not in silent
    }


def member(name: str, leads: str = "sql1", synchronous: str = "sql2", **changes) -> Member:
    roles = dict.fromkeys(SQL, "replica") | {synchronous: "sync_standby", leads: "leader"}
    listed = {
        one: {
            "name": one,
            "role": role,
            "state": "running" if role == "leader" else "streaming",
            "timeline": 3,
            "lag": 0,
        }
        for one, role in roles.items()
    }
    values = {
        "name": name,
        "primary": name == leads,
        "healthy": True,
        "state": "running",
        "timeline": 3,
        "pending_restart": False,
        "lowers": False,
        "started": "2026-01-01",
        "cluster": listed,
    }
    return Member(**{**values, **changes})


def figures(**changes) -> Figures:
    versions = {"PostgreSQL": "15.8", "Patroni": "4.1.0", "etcd": "3.4.23"}
    values = {
        "waiting": 0,
        "oldest": 0,
        "watchdog": "none",
        "archiving": True,
        "connections": 9,
        "allowed": 197,
        "corrupt": 0,
        "age": 700,
        "freezes": 200_000_000,
        "runs": versions,
        "installed": versions,
    }
    return Figures(**{**values, **changes})


def facts(cluster, etcd_states=None, **known) -> Facts:
    return Facts(
        {
            ETCD: etcd_facts(cluster) if etcd_states is None else etcd_states,
            MEMBER: known or {name: member(name) for name in SQL},
            BACKUPS: {"nfs2": Repository(1000, [Backup("F", "full", 500, 600, 3, False)])},
            FIGURES: {name: figures() for name in SQL},
        }
    )
