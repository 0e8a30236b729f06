"""What hosts.yaml says for each section, and what does not go together in it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Optional, Union, get_args

import msgspec

from .engine.entry import (
    AbsolutePath,
    Entry,
    HostName,
    Network,
    PackageName,
    ParameterName,
    Positive,
    Text,
    named,
    perhaps,
)
from .sources import Sources

Role = Literal[
    "scheduler",
    "triggerer",
    "webserver",
    "flower",
    "haproxy",
    "nfs",
    "dag-processor",
    "worker",
    "target",
    "rabbitmq",
    "postgres",
]
ROLES: tuple[str, ...] = get_args(Role)
QUORUM_ROLES = ("postgres", "rabbitmq")
"""Roles whose members decide by majority."""

PYTHON_FOR_AIRFLOW = {"2.9.0": ("3.8", "3.12"), "2.7.3": ("3.8", "3.11")}
"""Lowest and highest Python of each Airflow (its PyPI classifiers)."""

PYTHON_SHA256 = {
    "3.9.16": "1ad539e9dbd2b42df714b69726e0693bc6b9d2d2c8e91c2e43204026605140c5",
    "3.9.25": "a7438eabd3a48139f42d4e058096af8d880b0bb6e8fb8c78838892e4ce5583f2",
    "3.11.7": "068c05f82262e57641bd93458dfa883128858f5f4997aad7a36fd25b13b29209",
    "3.11.9": "e7de3240a8bc2b1e1ba5c81bf943f06861ff494b69fda990ce2722a504c6153d",
    "3.11.14": "563d2a1b2a5ba5d5409b5ecd05a0e1bf9b028cf3e6a6f0c87a5dc8dc3f2d9182",
}
"""sha256 of python.org's Python-VERSION.tgz, where it is known (pyenv's build definitions)."""

PYTHON_LOCKED = ("3.9", "3.11")
"""Series of Python for which files/airflow has a lock of each Airflow."""

ERLANG_FOR_RABBITMQ = {
    "3.10": ("23.2", "25.3"),
    "3.11": ("25.0", "25.3"),
    "3.12": ("25.0", "26.1"),
    "3.13": ("26.0", "26.2"),
}
"""Lowest and highest Erlang of each RabbitMQ series ("Erlang Version Requirements")."""

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
"""Parameters that are not the user's to set in postgres.parameters."""


class Versions(Entry, frozen=True):
    """What gets installed."""

    airflow: str = "2.9.0"
    """2.9.0 or 2.7.3."""
    python: str = "3.9.16"
    """Built from source on VM1, for Airflow alone; the system's own stays."""
    postgresql: Annotated[str, named('major version: `"15"`', "^[1-9][0-9]$")] = "15"
    """The major version; its minor one is the repository's newest. A cluster that exists stays at
    its own.
    """
    rabbitmq: str = "3.12.10"
    """Installed exactly, and held there."""
    erlang: str = "26.1.2"
    """Installed exactly; it has to fit RabbitMQ."""


class Base(Entry, frozen=True):
    """Settings of the section `base`."""

    packages: list[PackageName] = msgspec.field(
        default_factory=lambda: ["vim", "curl", "wget", "rsync", "nfs-utils", "firewalld", "chrony"]
    )
    """What every server gets; firewalld and chrony have to be among them."""
    ntp: list[HostName] = msgspec.field(default_factory=list)
    """Time servers; empty keeps the distribution's."""


class Ssh(Entry, frozen=True):
    """Settings of the section `ssh`."""

    key_host: str = ""
    """The server whose key opens all others; the first one, if nothing is said."""


class Backup(Entry, frozen=True):
    """pgBackRest: where the repository lives, when it is filled, how much is kept."""

    host: Optional[str] = None
    """The server that keeps WAL and backups, none of the database's own; null: no backups."""
    path: AbsolutePath = "/var/lib/pgbackrest"
    """The repository's folder on it."""
    full: Text = "Sun 01:30"
    """When a full backup is made: a calendar expression of systemd."""
    differential: Text = "Mon..Sat 01:30"
    """When what has changed since is backed up."""
    keep_full: Positive = 2
    """How many full backups are kept, with what hangs on them."""


class Postgres(Entry, frozen=True):
    """Settings of the section `postgres`; times are seconds."""

    synchronous_mode: bool = True
    """A commit waits until a second server has it: no acknowledged row is lost."""
    ttl: Annotated[int, msgspec.Meta(ge=20)] = 20
    """Seconds after which a leader that is silent loses its office; at least
    loop_wait + 2 × retry_timeout.
    """
    loop_wait: Positive = 5
    """Seconds between two looks of Patroni."""
    retry_timeout: Annotated[int, msgspec.Meta(ge=3)] = 5
    """Seconds that Patroni waits for etcd or PostgreSQL before it gives up."""
    parameters: dict[ParameterName, Union[str, int, float, bool]] = msgspec.field(
        default_factory=dict
    )
    """postgresql.conf, for all servers; memory settings follow each server's RAM otherwise."""
    clients: list[Network] = msgspec.field(default_factory=list)
    """Networks that may log in to the database `airflow`, beside the cluster's own hosts."""
    backup: Backup = msgspec.field(default_factory=Backup)
    """Backups and the archive of WAL."""


class Rabbitmq(Entry, frozen=True):
    """Settings of the section `rabbitmq`."""

    longest_task: Positive = 24 * 3600
    """Seconds; a task that runs longer would be handed out again."""
    memory_share: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.4
    """The share of the server's RAM above which publishers wait."""
    disk_free_limit: Annotated[str, named("size: `1GB`, `512MB`", "^[1-9][0-9]*(MB|GB)$")] = "1GB"
    """The free disk below which publishers wait."""
    settings: dict[ParameterName, Union[str, int, float, bool]] = msgspec.field(
        default_factory=dict
    )
    """rabbitmq.conf, for all nodes."""


class Nfs(Entry, frozen=True):
    """Settings of the section `nfs`."""

    writers: list[str] = msgspec.field(default_factory=list)
    """Hosts that may change DAGs through the share; all others read."""
    logs: bool = False
    """Whether /app1/airflow_logs is shared, too."""
    max_delete: Positive = 500
    """The standby is not brought up to date if more of its files would go."""


class Haproxy(Entry, frozen=True):
    """Settings of the section `haproxy`."""

    idle: Annotated[str, named("duration: `90s`, `30m`, `24h`, `2d`", "^[1-9][0-9]*(s|m|h|d)$")] = (
        "24h"
    )
    """How long a pooled database connection may be silent."""
    max_connections: Positive = 4000
    """Clients of a server at a time; a third of them on each port."""


class Python(Entry, frozen=True):
    """Settings of the section `python-build`."""

    prefix: AbsolutePath = "/usr/local"
    """Where it is installed, on every server of Airflow."""
    optimizations: bool = True
    """A faster Python, whose build takes ten minutes instead of three."""


class Airflow(Entry, frozen=True):
    """Settings of the section `airflow`."""

    uid: Annotated[int, msgspec.Meta(ge=100, le=60000)] = 50000
    """Of the user airflow, the same on all servers: NFS knows owners by number only. The default
    is that of Airflow's container image.
    """
    gid: Annotated[int, msgspec.Meta(ge=100, le=60000)] = 50000
    """Of the group airflow, likewise."""
    dags: Text = "files/airflow/dags"
    """The folder of this machine that `fab airflow.dags` puts on the share."""
    database: Literal["vip", "hosts"] = "vip"
    """How Airflow reaches it: through the VIP and HAProxy, or by asking its servers who leads."""
    admin: Annotated[str, named("login", "^[a-z][a-z0-9._-]*$")] = "admin"
    """The web UI's administrator; the password is airflow_admin in secrets.yaml."""
    concurrency: Optional[Positive] = None
    """Tasks that a worker takes at once; null: by its RAM and processors."""
    parallelism: Positive = 32
    """Tasks at once, of each scheduler."""
    workers: Positive = 4
    """Processes of each webserver."""
    pool: Positive = 5
    """Connections to the database that each process keeps; half as many again for a moment."""
    settings: dict[ParameterName, dict[ParameterName, Union[str, int, float, bool]]] = (
        msgspec.field(default_factory=dict)
    )
    """airflow.cfg, for all servers, by its sections."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of all sections."""

    timezone: str
    selinux: str
    versions: Versions
    base: Base
    ssh: Ssh
    sources: Sources
    python: Python
    postgres: Postgres
    rabbitmq: Rabbitmq
    nfs: Nfs
    haproxy: Haproxy
    airflow: Airflow


SECTIONS: dict[str, type[Entry]] = {
    "versions": Versions,
    "base": Base,
    "ssh": Ssh,
    "sources": Sources,
    "python": Python,
    "postgres": Postgres,
    "rabbitmq": Rabbitmq,
    "nfs": Nfs,
    "haproxy": Haproxy,
    "airflow": Airflow,
}
"""The mappings of hosts.yaml that belong to sections."""


@dataclass(frozen=True)
class Objection:
    """What is wrong with a setting, and under which key; a warning only, if `grave` is false."""

    sentence: str
    path: tuple[str, ...]
    grave: bool = True


def objections(entries: Mapping[str, Any], hosts: Mapping[str, Any]) -> Iterator[Objection]:
    """What does not go together in the settings that were understood, or with the `hosts`."""
    for name, judge in (
        ("versions", _versions),
        ("base", _base),
        ("ssh", _ssh),
        ("postgres", _postgres),
        ("nfs", _nfs),
    ):
        if name in entries:
            yield from judge(entries[name], hosts)
    if "versions" in entries and "sources" in entries:
        yield from _python(entries["versions"], entries["sources"])
    if "sources" in entries:
        yield from _no_passwords(entries["sources"])


def weak_quorums(roles: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """A sentence for each role of a majority with one member, or with an even number of them."""
    for role in QUORUM_ROLES:
        members = [host for host, own in roles.items() if role in own]
        if len(members) == 1:
            yield (
                f"{members[0]} alone has the role {role}: while it is away, or reboots, Airflow "
                "stands still; 3 survive the loss of any one."
            )
        elif members and len(members) % 2 == 0:
            yield (
                f"{len(members)} hosts have the role {role} ({', '.join(members)}): an even "
                "number survives no more losses than one host fewer; use 3 or 5."
            )


def _base(base: Base, hosts: Mapping[str, Any]) -> Iterator[Objection]:
    if not base.packages:
        yield Objection("is empty; Section 1 needs firewalld and chrony", ("base", "packages"))


def _ssh(ssh: Ssh, hosts: Mapping[str, Any]) -> Iterator[Objection]:
    if ssh.key_host not in hosts:
        yield Objection("is not one of the hosts", ("ssh", "key_host"))


def _nfs(nfs: Nfs, hosts: Mapping[str, Any]) -> Iterator[Objection]:
    for writer in nfs.writers:
        if writer not in hosts:
            yield Objection(
                f"{writer} is not one of the hosts{perhaps(writer, hosts)}", ("nfs", "writers")
            )


def _postgres(postgres: Postgres, hosts: Mapping[str, Any]) -> Iterator[Objection]:
    shortest = postgres.loop_wait + 2 * postgres.retry_timeout
    if postgres.ttl < shortest:
        yield Objection(
            f"{postgres.ttl} is below loop_wait + 2 × retry_timeout = {shortest}, "
            "which Patroni needs",
            ("postgres", "ttl"),
        )
    for name in postgres.parameters:
        if name in PATRONI_PARAMETERS:
            yield Objection(
                "is what Patroni or this project sets; leave it out",
                ("postgres", "parameters", name),
            )
    backup = postgres.backup.host
    place = ("postgres", "backup", "host")
    if backup and backup not in hosts:
        yield Objection(f"{backup} is not one of the hosts{perhaps(backup, hosts)}", place)
    elif backup and "postgres" in (hosts[backup] or {}).get("roles", []):
        sentence = f"{backup} runs PostgreSQL; a backup there is lost together with it"
        yield Objection(sentence, place)


def _versions(versions: Versions, hosts: Mapping[str, Any]) -> Iterator[Objection]:
    python_range = PYTHON_FOR_AIRFLOW.get(versions.airflow)
    if not python_range:
        known = " or ".join(PYTHON_FOR_AIRFLOW)
        sentence = f"{versions.airflow} is not supported; {known}"
        yield Objection(sentence, ("versions", "airflow"))
    elif not within(versions.python, python_range):
        yield Objection(
            f"{versions.python} does not fit Airflow {versions.airflow}, "
            f"which needs {python_range[0]} to {python_range[1]}",
            ("versions", "python"),
        )
    erlang_range = erlang_for(versions.rabbitmq)
    if not erlang_range:
        known = ", ".join(ERLANG_FOR_RABBITMQ)
        yield Objection(
            f"versions.rabbitmq {versions.rabbitmq}: not one of the series {known}, "
            "so its Erlang is not judged.",
            ("versions", "rabbitmq"),
            grave=False,
        )
    elif not within(versions.erlang, erlang_range):
        yield Objection(
            f"{versions.erlang} does not fit RabbitMQ {versions.rabbitmq}, "
            f"which needs {erlang_range[0]} to {erlang_range[1]}",
            ("versions", "erlang"),
        )


def _no_passwords(sources: Sources) -> Iterator[Objection]:
    for path in (("pypi", "index"), ("python", "url")):
        url = getattr(getattr(sources, path[0]), path[1]) or ""
        if "@" in url.partition("://")[2].partition("/")[0]:
            sentence = "holds a password; put that into /root/.netrc of VM1, which curl and uv read"
            yield Objection(sentence, ("sources", *path))


def _python(versions: Versions, sources: Sources) -> Iterator[Objection]:
    series = python_series(versions)
    if series not in PYTHON_LOCKED:
        yield Objection(
            f"{versions.python}: Airflow's packages are locked for Python "
            f"{' and '.join(PYTHON_LOCKED)} (files/airflow)",
            ("versions", "python"),
        )
    url = sources.python.url
    if url and versions.python not in url:
        sentence = f"{url} does not name Python {versions.python}, which versions.python asks for"
        yield Objection(sentence, ("sources", "python", "url"))
    if not sources.python.sha256 and versions.python not in PYTHON_SHA256:
        yield Objection(
            f"is missing: the tarball's hash is known for {', '.join(PYTHON_SHA256)} only",
            ("sources", "python", "sha256"),
        )


def python_series(versions: Versions) -> str:
    """Such as 3.9."""
    return ".".join(versions.python.split(".")[:2])


def erlang_for(rabbitmq: str) -> Optional[tuple[str, str]]:
    """Lowest and highest Erlang of a RabbitMQ version, if its series is known."""
    return ERLANG_FOR_RABBITMQ.get(".".join(rabbitmq.split(".")[:2]))


def within(version: str, bounds: tuple[str, str]) -> bool:
    """Whether major.minor of `version` lies within both bounds."""
    number = [int(part) for part in re.findall(r"\d+", version)[:2]]
    low, high = ([int(part) for part in bound.split(".")] for bound in bounds)
    return low <= number <= high
