"""What can be said about an RPM of the lab and how it is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

# The repositories that the lab's mirror serves. Hosts know the first one from birth.
ROCKY = "repo"
ROCKY9 = "repo-el9"  # of the profile el9: the same packages, and no modules
PGDG15 = "pgdg15"
PGDG_COMMON = "pgdg-common"
PGDG_EXTRAS = "pgdg-rhel8-extras"
RABBITMQ_ERLANG = "rabbitmq-erlang"
RABBITMQ_SERVER = "rabbitmq-server"
EPEL = "epel"
REPOSITORIES = (
    *(ROCKY, ROCKY9, PGDG15, PGDG_COMMON, PGDG_EXTRAS),
    *(RABBITMQ_ERLANG, RABBITMQ_SERVER),
    EPEL,
)


@dataclass(frozen=True)
class File:
    """A file with a mode, an owner and a group of its own."""

    text: str
    mode: str = "644"
    owner: str = "root"
    group: str = "root"


@dataclass(frozen=True)
class Directory:
    mode: str = "755"
    owner: str = "root"
    group: str = "root"


@dataclass(frozen=True)
class User:
    """A system user with a group of the same name; `uid` 0 takes the next free number."""

    name: str
    uid: int = 0
    home: str = "/"
    shell: str = "/sbin/nologin"


@dataclass(frozen=True)
class Wheel:
    """A Python package as PyPI has it; its commands are written for the hosts' Python."""

    project: str
    version: str
    sha256: str
    commands: tuple[str, ...] = ()  # of its entry points, those that /usr/bin gets


@dataclass(frozen=True)
class Part:
    """Files that RHEL has in a package of their own and Debian has in another one's."""

    entry: str
    paths: tuple[str, ...]  # glob patterns
    but: tuple[str, ...] = ()  # glob patterns of names


@dataclass(frozen=True)
class Module:
    """One stream of a module of RHEL 8: its packages hide others of the same names."""

    name: str
    stream: str
    version: int
    context: str
    default: bool = True

    @property
    def label(self) -> str:
        return f"{self.name}:{self.stream}:{self.version}:{self.context}"


@dataclass(frozen=True)
class Package:
    """How one RPM is made."""

    debs: tuple[str, ...] = ()
    wheel: Wheel | None = None
    repository: str = ROCKY
    name: str = ""  # default: the entry's key
    version: str = ""  # default: that of the first Debian package
    release: str = "1.el8"
    noarch: bool = False
    summary: str = ""
    module: Module | None = None
    depends: tuple[str, ...] = ()  # Debian packages it needs, if the base has them not
    requires: tuple[str, ...] = ()  # by RPM name, each with a condition if need be
    without: tuple[str, ...] = ()  # dependencies to leave out, by RPM name
    provides: tuple[str, ...] = ()
    part: Part | None = None
    from_base: tuple[str, ...] = ()  # files of the base that build-image.sh takes off the hosts
    remove: tuple[str, ...] = ()  # glob patterns
    move: Mapping[str, str] = field(default_factory=dict)  # from → to, files and folders
    append: Mapping[str, str] = field(default_factory=dict)  # to files that debs bring
    files: Mapping[str, str | File] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)  # path → target
    directories: Mapping[str, Directory] = field(default_factory=dict)
    attributes: Mapping[str, Directory] = field(default_factory=dict)  # of other files
    groups: Mapping[str, int] = field(default_factory=dict)  # name → gid, beside the users' own
    users: tuple[User, ...] = ()
    post: str = ""
    preun: str = ""
