"""What hosts.yaml says about the places where software comes from."""

from __future__ import annotations

from typing import Annotated, Optional

import msgspec

from .engine.entry import Entry, Text, named


class Pgdg(Entry, frozen=True):
    """Where PostgreSQL's own packages come from; dnf fills in $releasever and $basearch."""

    postgresql: Text = (
        "https://download.postgresql.org/pub/repos/yum/15/redhat/rhel-$releasever-$basearch"
    )
    """Of PostgreSQL itself."""
    common: Text = (
        "https://download.postgresql.org/pub/repos/yum/common/redhat/rhel-$releasever-$basearch"
    )
    """Of Patroni, pgBackRest and what they need."""
    extras: Text = (
        "https://download.postgresql.org/pub/repos/yum/common/pgdg-rhel$releasever-extras"
        "/redhat/rhel-$releasever-$basearch"
    )
    """Of etcd; nothing else is taken from it."""
    key: Optional[Text] = "https://download.postgresql.org/pub/repos/yum/keys/PGDG-RPM-GPG-KEY-RHEL"
    """The key that signs them; null: they are not signed."""


class RabbitmqSource(Entry, frozen=True):
    """Where RabbitMQ and its Erlang come from."""

    erlang: Text = "https://yum1.rabbitmq.com/erlang/el/8/$basearch"
    """Of Erlang."""
    server: Text = "https://yum2.rabbitmq.com/rabbitmq/el/8/noarch"
    """Of RabbitMQ."""
    keys: list[Text] = msgspec.field(
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
    """Extra Packages for Enterprise Linux: libraries that PGDG's packages need."""

    packages: Text = "https://dl.fedoraproject.org/pub/epel/8/Everything/$basearch"
    """The repository."""
    key: Optional[Text] = "https://dl.fedoraproject.org/pub/epel/RPM-GPG-KEY-EPEL-8"
    """The key that signs it; null: it is not signed."""


class PythonSource(Entry, frozen=True):
    """Python's source, if not python.org's: its tarball (.tgz, .tar.xz) and what that hashes to."""

    url: Optional[Text] = None
    """The tarball (.tgz, .tar.xz); null: python.org's."""
    sha256: Optional[Annotated[str, named("64 hexadecimal digits", "^[0-9a-f]{64}$")]] = None
    """What it hashes to; null: python.org's, where that is known."""


class Pypi(Entry, frozen=True):
    """Where Python packages come from; what is downloaded must have the hash of the lock.

    `index` is a mirror's URL; null asks PyPI itself. `wheelhouse` is a folder of this machine, for
    servers that reach no index: then nothing is downloaded.
    """

    index: Optional[Text] = None
    """A mirror of PyPI; null: PyPI itself."""
    wheelhouse: Optional[Text] = None
    """A folder of this machine with all wheels, if VM1 reaches no index: then nothing is
    downloaded.
    """


class Sources(Entry, frozen=True):
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
