"""The image of virtual machines: the lab's, with Debian's kernel and NFS for it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lab.cache import Cache, key_of
from lab.command import run
from lab.image import Image
from lab.rpm.debs import Deb, download
from lab.vm.nfs_utils import build_nfs_utils

HERE = Path(__file__).resolve().parent
KERNEL = "linux-image-cloud-amd64"
SHELL = "busybox-static"
NFS = "nfs-kernel-server"
BUILDERS = ("image.py", "nfs_utils.py", "init")
FIRST_MODULES = ("virtio_pci", "virtio_blk", "virtio_net")
"""The modules for disk and network; ext4 is part of the kernel."""


@dataclass(frozen=True)
class VmImage:
    """The cache entry that virtual machines are started from."""

    entry: Path

    @property
    def kernel(self) -> Path:
        return self.entry / "vmlinuz"

    @property
    def initramfs(self) -> Path:
        return self.entry / "initramfs"

    @property
    def modules(self) -> Path:
        """The content of a machine's /usr/lib/modules."""
        return self.entry / "modules"

    @property
    def repository(self) -> Path:
        """A dnf repository with the nfs-utils for this kernel."""
        return self.entry / "repository"


def build_vm_image(cache: Cache, image: Image) -> VmImage:
    """Build the cache entry for virtual machines with the root filesystem `image`, if missing."""
    key = key_of(image.repository.name, *(HERE / name for name in BUILDERS))

    def make(entry: Path) -> None:
        work = entry / "work"
        debs = download(image.base / "root", [KERNEL, SHELL, NFS], work / "debs")
        _add_kernel(debs, work, entry)
        build_nfs_utils(debs, image, work, entry / "repository")
        shutil.rmtree(work)

    return VmImage(cache.build("machine", key, make))


def _add_kernel(debs: Iterable[Deb], work: Path, entry: Path) -> None:
    """Put kernel, modules and initramfs into the entry."""
    unpacked = work / "kernel"
    for deb in debs:
        if deb.name == SHELL or re.fullmatch(r"linux-image-[\d.-]+-cloud-amd64", deb.name):
            run("dpkg-deb", "--extract", deb.path, unpacked)
    [modules] = (unpacked / "lib/modules").iterdir()
    run("depmod", f"--basedir={unpacked}", modules.name)
    shutil.copyfile(unpacked / "boot" / f"vmlinuz-{modules.name}", entry / "vmlinuz")
    _build_initramfs(unpacked, modules.name, work / "initramfs", entry / "initramfs")
    shutil.move(modules.parent, entry / "modules")


def _build_initramfs(unpacked: Path, release: str, tree: Path, output: Path) -> None:
    """Pack the init script, its shell and its modules, named in the order in which they load."""
    (tree / "bin").mkdir(parents=True)
    (tree / "modules").mkdir()
    shutil.copy(unpacked / "bin/busybox", tree / "bin")
    (tree / "bin/sh").symlink_to("busybox")
    shutil.copy(HERE / "init", tree)
    asked = ["modprobe", f"--dirname={unpacked}", f"--set-version={release}"]
    loaded = run(*asked, "--show-depends", "--all", *FIRST_MODULES).stdout
    paths = dict.fromkeys(line.split()[1] for line in loaded.splitlines() if "insmod" in line)
    for number, path in enumerate(paths):
        shutil.copy(path, tree / "modules" / f"{number:02}-{Path(path).name}")
    names = "\n".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*")))
    pack = ("cpio", "--quiet", "--create", "--format=newc", f"--directory={tree}")
    run(*pack, f"--file={output}", feed=names + "\n")
