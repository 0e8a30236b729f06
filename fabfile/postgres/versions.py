"""The packages of the database: the same versions on all servers, held until all are upgraded."""

from __future__ import annotations

import re
from collections import Counter

from runbook.declare import steps
from runbook.declare.facts import Fact, Facts
from runbook.declare.step import Steps
from runbook.declare.steps import command
from runbook.inventory.cluster import Cluster, Host

from ..shared.versions import Versions
from .common import with_repository
from .settings import Postgres

BACKUP = ("pgbackrest",)
"""What the backup server has as well; pgBackRest talks to its own version only."""

POOLER = ("pgbouncer",)
"""What a database server has as well, if `postgres.pooler` asks for it."""


def server_packages(cluster: Cluster) -> tuple[str, ...]:
    """The packages of PostgreSQL itself."""
    name = f"postgresql{cluster[Versions].postgresql}"
    return (name, f"{name}-libs", f"{name}-server", f"{name}-contrib")


def packages(cluster: Cluster) -> tuple[str, ...]:
    """The packages of a database server whose versions matter."""
    pooler = POOLER if cluster[Postgres].pooler else ()
    return (*server_packages(cluster), "etcd", "patroni", "patroni-etcd", *pooler)


def parse(text: str) -> dict[str, str]:
    """Parse the answer of INSTALLED: `patroni 4.1.0-1PGDG.rhel8`; others are not installed."""
    lines = (line.split() for line in text.splitlines())
    found = {words[0]: words[1] for words in lines if len(words) == 2}
    for version in found.values():
        if not re.fullmatch(r"[0-9A-Za-z._+~-]{1,100}", version):
            raise ValueError(version)
    return found


INSTALLED = Fact(
    "the installed versions of the database",
    on=with_repository,
    command=lambda cluster, host: (
        "rpm -q --qf '%{NAME} %{VERSION}-%{RELEASE}\\n' "
        f"{' '.join((*packages(cluster), *BACKUP))} || :"
    ),
    parse=parse,
    absent="it does not answer",
)


def installed_alike(host: Host, names: tuple[str, ...], facts: Facts) -> Steps:
    """These packages, in the versions of the other servers if it has none yet; then held."""
    own = facts.known(INSTALLED).get(host.name, {})
    others = [known for name, known in facts.known(INSTALLED).items() if name != host.name]
    wanted = {}
    for name in names:
        there = Counter(known[name] for known in others if name in known)
        if there and name not in own:
            wanted[name] = there.most_common(1)[0][0]
    if wanted:
        words = " ".join(f"{name}-{version}" for name, version in wanted.items())
        yield command(
            f"installed as on the other servers: {words}",
            f"dnf install -y {words}",
            unless=f"rpm -q {words}",
            timeout=900,
        )
    yield steps.packages(*names)
    yield from steps.version_held(*names)


def newest(names: tuple[str, ...]) -> Steps:
    """These packages are the newest of the repositories, and held at that."""
    words = " ".join(names)
    yield command(
        f"the newest of the repositories: {words}",
        f"dnf -q versionlock delete {words} >/dev/null 2>&1 || :\n"
        f"dnf upgrade -y --refresh {words}\n"
        f"dnf versionlock add {words}",
        unless=f"dnf -q --refresh --disableplugin=versionlock check-update {words}",
        timeout=1800,
    )
    yield from steps.version_held(*names)
