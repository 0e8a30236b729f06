"""The packages that the lab's dnf repository offers beyond a Rocky minimal installation.

One entry makes one RPM. `debs` names the Debian packages it is made from; what they depend on is
brought along under its Debian name unless an entry here claims it. Everything else in an entry
says in what the RPM differs from the Debian packages, in RHEL's paths and ids. An entry without
`debs` is made from its `files` alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


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
class Package:
    """How one RPM is made."""

    debs: tuple[str, ...] = ()
    version: str = ""  # default: that of the first Debian package
    release: str = "1.el8"
    summary: str = ""
    requires: tuple[str, ...] = ()
    without: tuple[str, ...] = ()  # dependencies to leave out, by RPM name
    provides: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()  # glob patterns
    move: Mapping[str, str] = field(default_factory=dict)  # from → to, files and folders
    files: Mapping[str, str | File] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)  # path → target
    directories: Mapping[str, Directory] = field(default_factory=dict)
    attributes: Mapping[str, Directory] = field(default_factory=dict)  # of files that debs bring
    groups: Mapping[str, int] = field(default_factory=dict)  # name → gid, beside the users' own
    users: tuple[User, ...] = ()
    post: str = ""
    preun: str = ""


PACKAGES: dict[str, Package] = {
    "vim-enhanced": Package(
        debs=("vim",),
        provides=("vim",),
        links={"/usr/bin/vim": "vim.basic", "/usr/bin/vimdiff": "vim.basic"},
    ),
    "vim-common": Package(
        debs=("vim-common", "vim-runtime", "xxd"),
        files={"/etc/vimrc": "set nocompatible\n"},
    ),
    "wget": Package(debs=("wget",)),
    "rsync": Package(
        debs=("rsync",),
        move={"/usr/lib/systemd/system/rsync.service": "/usr/lib/systemd/system/rsyncd.service"},
    ),
    "nfs-utils": Package(
        debs=("nfs-common", "nfs-kernel-server"),
        files={"/etc/exports": "", "/etc/nfs.conf": "[nfsd]\n"},
        directories={
            "/var/lib/nfs/sm": Directory("700", "rpcuser", "rpcuser"),
            "/var/lib/nfs/sm.bak": Directory("700", "rpcuser", "rpcuser"),
        },
        users=(User("rpcuser", 29, home="/var/lib/nfs"),),
    ),
    "rpcbind": Package(debs=("rpcbind",), users=(User("_rpc", home="/var/lib/rpcbind"),)),
    "yum-utils": Package(
        version="4.0.21",
        summary="The commands of yum that became plugins of dnf",
        requires=("dnf-plugins-core",),
        provides=("dnf-utils",),
        files={
            "/usr/bin/needs-restarting": File(
                '#!/bin/sh\nexec dnf needs-restarting "$@"\n', mode="755"
            ),
        },
    ),
    # Newer than what the base has (rocky/installed.rpms): the one thing `dnf update` finds.
    "basesystem": Package(version="11", release="6.el8", summary="The skeleton of the system"),
}

# Debian's own plumbing: in the closure of dependencies, and of no use to an RPM.
NOT_SHIPPED = frozenset(
    {
        "adduser",
        "debconf",
        "init-system-helpers",
        "lsb-base",
        "perl",
        "perl-modules-5.36",
        "libperl5.36",
        "libgdbm-compat4",
        "postgresql-client-common",
        "postgresql-common",
        "sensible-utils",
        "ssl-cert",
        "sysvinit-utils",
        "ucf",
    }
)
