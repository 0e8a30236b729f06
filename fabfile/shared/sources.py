"""The settings `sources` of hosts.yaml: where software is downloaded from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Optional, Union

import msgspec

from runbook.declare.requirements import Kind, Source
from runbook.errors import SettingsError
from runbook.inventory.cluster import Cluster
from runbook.inventory.entry import (
    REPOSITORY_URL,
    Entry,
    HostName,
    LocalPath,
    RepositoryUrl,
    Text,
    Url,
    named,
)
from runbook.inventory.schema import Objection, Settings, Understood
from runbook.inventory.shape import faults

from .versions import Versions

# msgspec crashes on a union of a list and a text with a pattern (its issue 717), so `objections`
# checks a single URL.
_Single = Annotated[str, msgspec.Meta(min_length=1, max_length=1000, description=REPOSITORY_URL)]
Mirrors = Union[_Single, Annotated[list[RepositoryUrl], msgspec.Meta(min_length=1)]]
"""A repository's URL, or several of the same content: dnf uses the next one if one fails.

dnf fills in $basearch, and $elmajor: 8 or 9, the major release of the host itself.
"""


def urls(mirrors: Mirrors) -> str:
    """A repository's `baseurl`."""
    return mirrors if isinstance(mirrors, str) else " ".join(mirrors)


PGDG = "https://download.postgresql.org/pub/repos/yum"


class Pgdg(Entry, frozen=True):
    """Where PostgreSQL's own packages come from.

    Addresses as in PGDG's own pgdg-redhat-repo (pgdg-redhat-all-rhel8.10-aarch64.repo and
    -rhel9.8.repo, read 2026-11-28); `extras` moved there on 2025-11-24.
    """

    postgresql: Optional[Mirrors] = None
    """The repository of PostgreSQL itself; null: PGDG's for versions.postgresql."""
    common: Mirrors = f"{PGDG}/common/redhat/rhel-$elmajor-$basearch"
    """The repository of Patroni, pgBackRest and what they need."""
    extras: Mirrors = f"{PGDG}/extras/redhat/rhel-$elmajor-$basearch"
    """The repository of etcd; nothing else is installed from it."""
    key: Optional[RepositoryUrl] = f"{PGDG}/keys/PGDG-RPM-GPG-KEY-RHEL"
    """The key that signs them; null: they are not signed."""

    def of_major(self, major: str) -> Mirrors:
        """PostgreSQL's repository for a major version."""
        return self.postgresql or f"{PGDG}/{major}/redhat/rhel-$elmajor-$basearch"


class RabbitmqSource(Entry, frozen=True):
    """Where RabbitMQ and its Erlang come from: x86_64 only.

    As in RabbitMQ's guide "Installing on RPM-based Linux" (4.1, read 2026-11-28), which
    names both mirrors and EL8 and EL9.
    """

    erlang: Mirrors = msgspec.field(
        default_factory=lambda: [
            f"https://yum{number}.rabbitmq.com/erlang/el/$elmajor/$basearch" for number in (1, 2)
        ]
    )
    """The repository of Erlang."""
    server: Mirrors = msgspec.field(
        default_factory=lambda: [
            f"https://yum{number}.rabbitmq.com/rabbitmq/el/$elmajor/noarch" for number in (1, 2)
        ]
    )
    """The repository of RabbitMQ."""
    keys: list[RepositoryUrl] = msgspec.field(
        default_factory=lambda: [
            f"https://github.com/rabbitmq/signing-keys/releases/download/3.0/{name}"
            for name in (
                "rabbitmq-release-signing-key.asc",
                "cloudsmith.rabbitmq-erlang.E495BB49CC4BBE5B.key",
                "cloudsmith.rabbitmq-server.9F4587F226208342.key",
            )
        ]
    )
    """The keys that sign them; empty: they are not signed."""


class Epel(Entry, frozen=True):
    """Extra Packages for Enterprise Linux: libraries that PGDG's packages need.

    Addresses as in the file epel.repo of epel-release 8 and 9 (read 2026-11-27).
    """

    packages: Mirrors = "https://dl.fedoraproject.org/pub/epel/$elmajor/Everything/$basearch"
    """The repository."""
    key: Optional[RepositoryUrl] = "https://dl.fedoraproject.org/pub/epel/RPM-GPG-KEY-EPEL-$elmajor"
    """The key that signs it; null: it is not signed."""


class PythonSource(Entry, frozen=True):
    """Python's source, if not python.org's: its tarball (.tgz, .tar.xz) and that file's SHA-256."""

    url: Optional[Url] = None
    """The tarball (.tgz, .tar.xz); null: python.org's."""
    sha256: Optional[Annotated[str, named("64 hexadecimal digits", "[0-9a-f]{64}")]] = None
    """The tarball's SHA-256; null: python.org's, where that is known."""


class Pypi(Entry, frozen=True):
    """Where Python packages come from; what is downloaded must have the hash of the lock.

    `index` is a mirror's URL; null asks PyPI itself. `wheelhouse` is a folder on this machine, for
    servers that cannot reach an index: then nothing is downloaded.
    """

    index: Optional[Url] = None
    """A mirror of PyPI; null: PyPI itself."""
    wheelhouse: Optional[LocalPath] = None
    """A folder on this machine with all wheels, if VM1 cannot reach an index: then nothing is
    downloaded.
    """


class Login(Entry, frozen=True):
    """The login of a web server that software comes from."""

    user: Annotated[str, named("user (no spaces, quotes or `:`)", "[A-Za-z0-9._@+-]{1,100}")]
    """The user."""
    password: Text
    """The password: `{secret: NAME}`, which secrets.yaml has."""


class Sources(Settings, frozen=True):
    """Where software comes from; a mirror of your own is another URL here."""

    epel: Epel = msgspec.field(default_factory=Epel)
    """Extra Packages for Enterprise Linux."""
    pgdg: Pgdg = msgspec.field(default_factory=Pgdg)
    """PostgreSQL's own repositories."""
    python: PythonSource = msgspec.field(default_factory=PythonSource)
    """Python's source."""
    pypi: Pypi = msgspec.field(default_factory=Pypi)
    """Python packages."""
    rabbitmq: RabbitmqSource = msgspec.field(default_factory=RabbitmqSource)
    """RabbitMQ and Erlang."""
    logins: dict[HostName, Login] = msgspec.field(default_factory=dict)
    """The logins of servers that ask for one, by host name: dnf, curl, pip and uv use them."""

    def objections(self, inventory: Understood) -> Iterator[Objection]:
        """An invalid URL of a repository; a password in a URL."""
        for name in ("epel", "pgdg", "rabbitmq"):
            for key, value in msgspec.structs.asdict(getattr(self, name)).items():
                if isinstance(value, str):
                    for sentence, place in faults(RepositoryUrl, value, ("sources", name, key)):
                        yield Objection(sentence, place)
        yield from self._two_logins()
        for path in (("pypi", "index"), ("python", "url")):
            url = getattr(getattr(self, path[0]), path[1]) or ""
            if "@" in url.partition("://")[2].partition("/")[0]:
                sentence = "contains a password; put the login into sources.logins"
                yield Objection(sentence, ("sources", *path))

    def _two_logins(self) -> Iterator[Objection]:
        """Object to mirrors of which only some need a login: dnf would send it to all of them."""
        for name in ("epel", "pgdg", "rabbitmq"):
            for key, value in msgspec.structs.asdict(getattr(self, name)).items():
                if key not in ("key", "keys") and len({*map(self.login, listed(value))}) > 1:
                    sentence = (
                        "dnf sends one login to all mirrors of a repository; keep those of one"
                    )
                    yield Objection(sentence, ("sources", name, key))

    def login(self, url: str) -> Optional[Login]:
        """The login of the server that a URL names."""
        return self.logins.get(host_in(url))

    def repository(self, mirrors: Mirrors) -> dict[str, str]:
        """A repository's `baseurl`, and its login if it needs one."""
        own = self.login(listed(mirrors)[0])
        login = {"username": own.user, "password": own.password} if own else {}
        return {"baseurl": urls(mirrors), **login}

    def netrc(self, *addresses: Optional[str]) -> str:
        """The lines of .netrc for these URLs; empty if none needs a login."""
        found = {host_in(url): self.login(url) for url in addresses if url}
        for host, own in found.items():
            if own and not re.fullmatch(r"[^\s\"'\\#]+", own.password):
                raise SettingsError(
                    f"sources.logins.{host}: the password must have no spaces, quotes, "
                    "backslashes or #, which .netrc cannot have."
                )
        return "\n".join(
            f"machine {host} login {own.user} password {own.password}"
            for host, own in found.items()
            if own
        )


def host_in(url: str) -> str:
    """The name of the server in a URL, in small letters."""
    return url.partition("://")[2].partition("/")[0].rpartition("@")[2].partition(":")[0].lower()


def listed(mirrors: Optional[Mirrors]) -> list[str]:
    """The URLs of a setting."""
    return urls(mirrors).split() if mirrors else []


EPEL = Source(
    "sources.epel.packages", Kind.REPOSITORY, lambda cluster: listed(cluster[Sources].epel.packages)
)
EPEL_KEY = Source("sources.epel.key", Kind.FILE, lambda cluster: listed(cluster[Sources].epel.key))
PGDG_COMMON = Source(
    "sources.pgdg.common", Kind.REPOSITORY, lambda cluster: listed(cluster[Sources].pgdg.common)
)
PGDG_EXTRAS = Source(
    "sources.pgdg.extras", Kind.REPOSITORY, lambda cluster: listed(cluster[Sources].pgdg.extras)
)
PGDG_KEY = Source("sources.pgdg.key", Kind.FILE, lambda cluster: listed(cluster[Sources].pgdg.key))
PGDG_POSTGRESQL = Source(
    "sources.pgdg.postgresql",
    Kind.REPOSITORY,
    lambda cluster: listed(cluster[Sources].pgdg.of_major(cluster[Versions].postgresql)),
)
ERLANG = Source(
    "sources.rabbitmq.erlang",
    Kind.REPOSITORY,
    lambda cluster: listed(cluster[Sources].rabbitmq.erlang),
)
RABBITMQ = Source(
    "sources.rabbitmq.server",
    Kind.REPOSITORY,
    lambda cluster: listed(cluster[Sources].rabbitmq.server),
)
RABBITMQ_KEYS = Source(
    "sources.rabbitmq.keys",
    Kind.FILE,
    lambda cluster: cluster[Sources].rabbitmq.keys,
    every=True,
)


def _index(cluster: Cluster) -> list[str]:
    pypi = cluster[Sources].pypi
    return [] if pypi.wheelhouse else [pypi.index or "https://pypi.org/simple"]


PYPI = Source("sources.pypi.index", Kind.INDEX, _index)
