"""The RPM nfs-utils for a kernel with NFS, in place of the lab's substitutes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from lab.command import run
from lab.image import Image
from lab.packages.model import ROCKY, Directory, Package, User
from lab.rpm.build import build_rpm
from lab.rpm.debs import Deb
from lab.rpm.plan import Rpm

STAND_INS = frozenset({"nfs-ganesha", "python3-mfusepy", "python3-nfs-rs"})
"""Packages that only the substitutes require."""

NFS_UTILS = Package(
    debs=("nfs-common", "nfs-kernel-server"),
    name="nfs-utils",
    repository="repository",
    remove=(
        "/etc/nfs.conf.d",
        "/usr/lib/systemd/system/nfs-common.service",
        "/usr/lib/systemd/system/nfs-kernel-server.service",
        "/usr/lib/udev",
    ),
    files={"/etc/exports": "", "/etc/nfs.conf": "[gssd]\nuse-gss-proxy=1\n"},
    directories={
        "/etc/exports.d": Directory(),
        "/var/lib/nfs/sm": Directory("700", "rpcuser", "rpcuser"),
        "/var/lib/nfs/sm.bak": Directory("700", "rpcuser", "rpcuser"),
    },
    users=(User("rpcuser", 29, home="/var/lib/nfs"),),
)


def build_nfs_utils(debs: Iterable[Deb], image: Image, work: Path, repository: Path) -> None:
    """Build a dnf repository with nfs-utils for hosts with the root filesystem `image`."""
    by_name = {deb.name: deb for deb in debs}
    own = tuple(by_name[name] for name in NFS_UTILS.debs)
    rpm = Rpm("nfs-utils-kernel", NFS_UTILS, own, _required(image) - STAND_INS)
    build_rpm(rpm, image.base / "root", work, repository.parent)
    run("createrepo_c", "--quiet", repository)


def _required(image: Image) -> frozenset[str]:
    """The requirements of the lab's own nfs-utils."""
    [stand_in] = (image.repository / ROCKY).rglob("nfs-utils-[0-9]*.rpm")
    lines = run("rpm", "--query", "--requires", "--package", stand_in).stdout.split("\n")
    return frozenset(line for line in lines if line and not line.startswith(("rpmlib", "/")))
