"""What hosts.yaml says for the database."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Optional

import msgspec

from runbook.inventory.entry import (
    AbsolutePath,
    Entry,
    Network,
    Parameter,
    ParameterName,
    between,
    network_of,
    perhaps,
)
from runbook.inventory.schema import Objection, Settings, Understood
from runbook.yaml_source import shown

from ..shared.calendar import Calendar
from ..shared.roles import POSTGRES

PATRONI_PARAMETERS = {
    "archive_command",
    "archive_mode",
    "cluster_name",
    "config_file",
    "data_directory",
    "hba_file",
    "hot_standby",
    "ident_file",
    "listen_addresses",
    "password_encryption",
    "port",
    "primary_conninfo",
    "primary_slot_name",
    "restore_command",
    "synchronous_commit",
    "synchronous_standby_names",
    "unix_socket_directories",
    "wal_level",
    "wal_log_hints",
}
"""Parameters that must not be set in postgres.parameters."""


class Backup(Entry, frozen=True):
    """pgBackRest: where the repository lives, when it is filled, how much is kept."""

    host: Optional[str] = None
    """The server that keeps WAL and backups, not a database server; null: no backups."""
    path: AbsolutePath = "/var/lib/pgbackrest"
    """The repository's folder on it."""
    full: Calendar = "Sun 01:30"
    """When a full backup is made: a calendar expression of systemd."""
    differential: Calendar = "Mon..Sat 01:30"
    """When what has changed since then is backed up."""
    keep_full: Annotated[int, between(1, 1000)] = 2
    """How many full backups are kept, with the backups that depend on them."""
    encrypted: bool = False
    """WAL and backups are encrypted with postgres_backup of secrets.yaml, without which no restore
    is possible. A repository that exists cannot be changed: set another `path` as well.
    """
    queue: Optional[Annotated[int, between(1, 100_000)]] = None
    """Gigabytes of WAL that wait on the leader while the repository does not take them. Beyond
    that, the oldest is given up, so that the leader's disk does not fill; null: half of its disk.
    """


class KeepDays(Entry, frozen=True):
    """After how many days what is left of maintenance is deleted; null: it stays."""

    dumps: Optional[Annotated[int, between(7, 36500)]] = None
    """Days that dumps of airflow.upgrade stay on the database servers; null: for ever. The newest
    one on each server always stays.
    """


class Postgres(Settings, frozen=True):
    """Settings of the section `postgres`; times are seconds."""

    synchronous_mode: bool = True
    """A commit waits until a second server has it: no acknowledged row is lost."""
    synchronous_mode_strict: bool = False
    """Commits also wait while no second server can have them. If false, they go on with one copy;
    fab postgres.check warns then.
    """
    ttl: Annotated[int, between(20, 3600)] = 20
    """Patroni leader lease (TTL), in seconds; at least
    loop_wait + 2 × retry_timeout.
    """
    loop_wait: Annotated[int, between(1, 600)] = 5
    """Seconds between two loops of Patroni."""
    retry_timeout: Annotated[int, between(3, 600)] = 5
    """Seconds that Patroni waits for etcd or PostgreSQL before it gives up."""
    parameters: dict[ParameterName, Parameter] = msgspec.field(default_factory=dict)
    """Settings of postgresql.conf on all servers; by default, memory settings depend on the RAM."""
    clients: list[Network] = msgspec.field(default_factory=list)
    """Networks that may log in to the database `airflow`, besides the cluster's own hosts."""
    kernel: dict[ParameterName, Optional[Annotated[int, between(0, 2**62)]]] = msgspec.field(
        default_factory=dict
    )
    """Kernel parameters (sysctl) of the database servers, besides `vm.swappiness: 10`. null: not
    set, so that a file of your own in /etc/sysctl.d decides.
    """
    pooler: bool = False
    """PgBouncer on every database server: HAProxy's ports lead to it, and Airflow's connections
    share few connections to PostgreSQL.
    """
    pool_size: Optional[Annotated[int, between(5, 10_000)]] = None
    """Connections of PgBouncer to PostgreSQL; null: depends on how much of Airflow runs at once."""
    backup: Backup = msgspec.field(default_factory=Backup)
    """Backups and the archive of WAL."""
    keep_days: KeepDays = msgspec.field(default_factory=KeepDays)
    """After how many days dumps are deleted; by default, never."""

    def objections(self, inventory: Understood) -> Iterator[Objection]:
        """Times that Patroni refuses, parameters that must not be set, wrong networks, backups."""
        shortest = self.loop_wait + 2 * self.retry_timeout
        if self.ttl < shortest:
            yield Objection(
                f"{self.ttl} is below loop_wait + 2 × retry_timeout = {shortest}, "
                "which Patroni needs",
                ("postgres", "ttl"),
            )
        if self.synchronous_mode_strict and not self.synchronous_mode:
            yield Objection(
                "is for synchronous_mode: true only", ("postgres", "synchronous_mode_strict")
            )
        if self.pool_size and not self.pooler:
            yield Objection("is for pooler: true only", ("postgres", "pool_size"))
        for name in self.parameters:
            if name in PATRONI_PARAMETERS:
                yield Objection(
                    "is set by Patroni or by this project; leave it out",
                    ("postgres", "parameters", name),
                )
            elif name.endswith("_command") or name == "archive_library":
                sentence = "is a command that PostgreSQL would run; leave it out"
                yield Objection(sentence, ("postgres", "parameters", name))
        for number, client in enumerate(self.clients):
            right = network_of(client)
            if right != client:
                sentence = f"{client} is not a network; write {right}"
                yield Objection(sentence, ("postgres", "clients", number))
        yield from self._backup_server(inventory)

    def _backup_server(self, inventory: Understood) -> Iterator[Objection]:
        backup, place = self.backup.host, ("postgres", "backup", "host")
        if backup is None:
            return
        if backup not in inventory.names:
            known = perhaps(backup, inventory.names)
            yield Objection(f"{shown(backup)} is not one of the hosts{known}", place)
        elif backup in inventory.with_role(POSTGRES):
            sentence = f"{backup} runs PostgreSQL; a backup there is lost together with it"
            yield Objection(sentence, place)
