"""What goes wrong with database servers on bad days, and waiting for the right word about it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import yaml
from support.controller import Answer, Controller

from lab.machine import Lab

DATA = "/var/lib/pgsql/15/data"
ETCD = "/var/lib/etcd/airflow-ha.etcd"
REPOSITORY = "/var/lib/pgbackrest"

On = Callable[[str, str], str]
"""Runs a command as root on a host, without the product."""


def told(postgres: Controller, level: str, words: str, seconds: float = 60) -> Answer:
    """What postgres.check says, as soon as it says these words at this level."""
    deadline = time.monotonic() + seconds
    while True:
        answer = postgres("postgres.check")
        if any(words in title for _, title in answer.steps(level)):
            return answer
        assert time.monotonic() < deadline, f"{level}: {words}\n{answer.text}"
        time.sleep(1)


def blank(on: On, host: str) -> None:
    """A new server in the place of a lost one: Section 1 has been carried out, and nothing else."""
    on(
        host,
        "for unit in etcd-apart patroni etcd etcd-snapshot.timer pgbackrest pgbackrest-full.timer "
        "pgbackrest-diff.timer; do systemctl disable --now $unit 2>/dev/null; done; "
        "rpm -e --nodeps $(rpm -qa 'postgresql15*' patroni patroni-etcd etcd pgbackrest); "
        "rm -rf /var/lib/pgsql /var/lib/etcd /etc/patroni /etc/etcd /etc/pgbackrest* "
        "/usr/libexec/postgres-ha /var/spool/pgbackrest /var/log/pgbackrest "
        "/etc/systemd/system/{patroni,etcd}.service.d /etc/systemd/system/etcd-apart.service "
        f"/etc/systemd/system/pgbackrest* /etc/systemd/system/etcd-snapshot* {REPOSITORY}; "
        ": >/etc/dnf/plugins/versionlock.list; systemctl daemon-reload; systemctl reset-failed",
    )


def without_etcd(on: On, host: str) -> None:
    """The disk with etcd's data is lost; the database has its own."""
    on(host, f"systemctl stop etcd; rm -r {ETCD}")


def identifier(on: On, host: str) -> str:
    """The identifier of the database in a server's data directory."""
    control = f"/usr/pgsql-15/bin/pg_controldata -D {DATA}"
    return on(host, f"{control} | sed -n 's/^Database system identifier: *//p'")


def passwords(lab: Lab) -> dict[str, str]:
    """The controller's passwords."""
    file = Path(lab.environment()["RUNBOOK_STATE"]) / "secrets.yaml"
    found: dict[str, str] = yaml.safe_load(file.read_text())
    return found


def figure(situation: str, command: str, outcome: object) -> str:
    """A figure for the table of bad days (tests/bad_days.py)."""
    return f"bad day | {situation} | {command} | {outcome}"
