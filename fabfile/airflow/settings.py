"""What hosts.yaml says for Airflow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal, Optional, Union

import msgspec

from runbook.inventory.entry import (
    AbsolutePath,
    Entry,
    HostName,
    LocalPath,
    PackageName,
    Parameter,
    ParameterName,
    between,
)
from runbook.inventory.schema import Objection, Understood
from runbook.inventory.shape import faults

from ..postgres.settings import Postgres
from ..shared import roles
from ..shared.airflow import Load
from ..shared.versions import PYTHON_FOR_AIRFLOW, Versions, within
from . import workers
from .login_settings import Logins
from .object_settings import Login, Objects
from .repository import Git
from .requirement import Requirement, package, wrong

# msgspec crashes on a union of a list and a text with a pattern (its issue 717), so `objections`
# checks the path.
_File = Annotated[
    str,
    msgspec.Meta(min_length=1, max_length=1000, description="path of a requirements file"),
]

PYTHON_LOCKED = ("3.9", "3.11")
"""Series of Python for which files/airflow has a lock of each Airflow."""

STARTS = (roles.SCHEDULER, roles.WORKER, roles.TRIGGERER, roles.FLOWER)
"""Roles that work only in a complete cluster: if a host has one of them, NEEDED applies."""

NEEDED = (
    *(roles.SCHEDULER, roles.WORKER, roles.DAG_PROCESSOR),
    *(roles.POSTGRES, roles.RABBITMQ, roles.NFS, roles.HAPROXY),
)
"""Roles without which no DAG runs."""

SMOKE = "smoke"
"""The connection of the DAG `smoke`: to the first target, whatever its name."""

ADDRESSED = (roles.HAPROXY, roles.NFS)
"""Roles that other hosts reach at a VIP."""


class KeepDays(Entry, frozen=True):
    """After how many days what Airflow leaves behind is deleted; null: it stays."""

    history: Optional[Annotated[int, between(30, 36500)]] = None
    """Days that runs, tasks, XComs and the audit log stay in the database; null: for ever. What has
    not ended, and the last scheduled run of each DAG, always stays.
    """
    logs: Optional[Annotated[int, between(7, 36500)]] = None
    """Days that a file in /app1/airflow_logs stays after it was last written to; null: for ever."""


class Airflow(Load, frozen=True):
    """Settings of the section `airflow`."""

    in_files: ClassVar[tuple[str, ...]] = ("objects",)

    dags: Union[LocalPath, Git] = "files/airflow/dags"
    """What `fab airflow.dags` releases on the share: a folder on this machine, or
    `{git: URL, ref: main, path: dags}`.
    """
    plugins: Union[LocalPath, Git, None] = None
    """Airflow's plugins for all servers, likewise; null: those that others put into
    /app1/airflow/plugins.
    """
    releases: Annotated[int, between(2, 100)] = 10
    """How many releases of DAGs, and of plugins, are kept for a rollback."""
    broken_dags: Literal["refuse", "release"] = "refuse"
    """Whether a DAG or plugin that cannot be imported stops the release."""
    database: Literal["vip", "hosts"] = "vip"
    """How Airflow reaches the database: by VIP and HAProxy, or by asking its servers who leads."""
    admin: Login = "admin"
    """The web UI's administrator; the password is airflow_admin in secrets.yaml."""
    packages: Union[list[Requirement], _File] = msgspec.field(default_factory=list)
    """Providers and packages of your own, besides those of Airflow: a list, or a requirements file
    beside this one. After a change: fab airflow.lock.
    """
    package_hosts: list[HostName] = msgspec.field(default_factory=list)
    """Servers that `airflow.packages` may name in URLs; empty: packages come from an index only."""
    source_packages: list[PackageName] = msgspec.field(default_factory=list)
    """Packages that may be built from source; of all others, only wheels are accepted."""
    build_packages: list[PackageName] = msgspec.field(default_factory=list)
    """RPMs that VM1 needs to build them: `[openldap-devel, cyrus-sasl-devel]`."""
    not_imported: list[PackageName] = msgspec.field(default_factory=list)
    """Packages that a new installation does not try to import, because they never can be."""
    keep_installations: Annotated[int, between(2, 20)] = 3
    """Installations of Airflow that stay on each server, with the one in use; older ones go."""
    writable: list[AbsolutePath] = msgspec.field(default_factory=list)
    """Directories where Airflow and tasks may write, besides /tmp, /var/tmp and Airflow's own."""
    settings: dict[ParameterName, dict[ParameterName, Parameter]] = msgspec.field(
        default_factory=dict
    )
    """Settings of airflow.cfg on all servers, by its sections."""

    login: Logins = msgspec.field(default_factory=Logins)
    """Who logs in to the web UI, besides the accounts in Airflow's database."""
    keep_days: KeepDays = msgspec.field(default_factory=KeepDays)
    """After how many days Airflow's history and logs are deleted; by default, never."""
    objects: Objects = msgspec.field(default_factory=Objects)
    """Variables, pools, connections, roles and users that Airflow has, or a YAML file with them."""

    def objections(self, inventory: Understood) -> Iterator[Objection]:
        """Missing roles and VIPs; commands; packages; an unsupported Airflow or Python."""
        yield from self._packages()
        for part, entries in self.settings.items():
            for key in entries:
                if key.endswith("_cmd"):
                    sentence = (
                        f"is a command that Airflow would run; set {key[:-4]} itself, if it is a "
                        "secret to {secret: NAME}"
                    )
                    yield Objection(sentence, ("airflow", "settings", part, key))
        yield from workers.wrong(self, self.settings, inventory)
        own = (*inventory.with_role(roles.TARGET), SMOKE)
        yield from self.objects.objections(self.admin, own)
        yield from self._of_git()
        listed = None if isinstance(self.packages, str) else self.packages
        names = None if listed is None else [package(one).name for one in listed]
        yield from self.login.objections(names)
        if "plugins_folder" in self.settings.get("core", {}) and self.plugins is not None:
            path = ("airflow", "settings", "core", "plugins_folder")
            yield Objection("contradicts airflow.plugins; set one of them", path)
        yield from processors(inventory)
        if inventory.whole:
            yield from missing(inventory)
        postgres = inventory.get(Postgres)
        if postgres and postgres.pooler and self.database == "hosts":
            sentence = "PgBouncer (postgres.pooler) is reached through HAProxy only: set it to vip"
            yield Objection(sentence, ("airflow", "database"))
        versions = inventory.get(Versions)
        if not versions:
            return
        python_range = PYTHON_FOR_AIRFLOW.get(versions.airflow)
        if not python_range:
            known = " or ".join(PYTHON_FOR_AIRFLOW)
            sentence = f"{versions.airflow} is not supported; allowed: {known}"
            yield Objection(sentence, ("versions", "airflow"))
        elif not within(versions.python, python_range):
            yield Objection(
                f"{versions.python} does not fit Airflow {versions.airflow}, "
                f"which needs {python_range[0]} to {python_range[1]}",
                ("versions", "python"),
            )
        if versions.python_series not in PYTHON_LOCKED:
            yield Objection(
                f"{versions.python}: Airflow's packages are locked for Python "
                f"{' and '.join(PYTHON_LOCKED)} (files/airflow)",
                ("versions", "python"),
            )

    def _packages(self) -> Iterator[Objection]:
        path = ("airflow", "packages")
        if isinstance(self.packages, str):
            for sentence, place in faults(LocalPath, self.packages, path):
                yield Objection(sentence, place)
        else:
            yield from wrong(self.packages, self.package_hosts, path)

    def _of_git(self) -> Iterator[Objection]:
        """A token that would be sent in clear text, or is not used."""
        for key, source in (("dags", self.dags), ("plugins", self.plugins)):
            if isinstance(source, Git) and source.token and not source.git.startswith("https://"):
                sentence = "is for https:// only; ssh:// uses your key, and http:// would show it"
                yield Objection(sentence, ("airflow", key, "token"))


def processors(inventory: Understood) -> Iterator[Objection]:
    """DAG processors that would run at the same time; those of the share's servers take turns."""
    known, share = inventory.with_role(roles.DAG_PROCESSOR), inventory.with_role(roles.NFS)
    others = [host for host in known if host not in share] if share else []
    for host in others if len(known) > len(others) else others[1:]:
        sentence = (
            f"{host} would be a second DAG processor, and both would add and remove DAGs in turn; "
            "give the role dag-processor to the servers of the share, or to one other host"
        )
        yield Objection(sentence, ("hosts", host, "roles"))


def missing(inventory: Understood) -> Iterator[Objection]:
    """Missing roles and VIPs of a cluster that runs Airflow; others do not need them."""
    if not any(inventory.with_role(role) for role in STARTS):
        return
    for role in NEEDED:
        if not inventory.with_role(role):
            sentence = f"no host has the role {role}, so {role.loss}; give it to a host"
            yield Objection(sentence, ("hosts",))
    for role in ADDRESSED:
        if inventory.with_role(role) and not inventory.vips_of(role):
            sentence = (
                f"no VIP has the role {role}, by which {role.service} is reached; add one: "
                f"NAME: {{address: …, role: {role}, members: {{HOST: 110}}}}"
            )
            yield Objection(sentence, ("vips",))
