"""The disk of a virtual machine: `python -m lab.vm.disk STATE NAME IMAGE`.

The root filesystem is assembled as for any lab host, and then written to a file as ext4. Run this
in a mount namespace of its own, inside the lab's network.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from lab.command import run
from lab.controller import public_key
from lab.errors import LabError
from lab.host import Host
from lab.packages.model import EPEL
from lab.record import Record
from lab.vm.image import VmImage

SIZE = "3G"  # a sparse file
REPOSITORY = "nfs-kernel"
REPO_FILE = f"""[{REPOSITORY}]
name=NFS for this kernel (lab)
baseurl=http://$labmirror/{REPOSITORY}
priority=1
gpgcheck=0
enabled=1
"""
INSTALLED = ("nfs-utils", "rsync", "keepalived", "lsyncd")
"""Installed before the first boot: an emulated machine needs 15 seconds for each dnf."""
FOR_CONTAINERS = ("lab-sysctl.service", "systemd-networkd.socket")
"""Units that are useful only in a container, or fail outside one."""


def disk_of(host: Host) -> Path:
    return host.folder / "disk"


def make_disk(host: Host, image: VmImage) -> None:
    """Write the disk of a fresh machine."""
    host.mount()
    _turn_into_machine(host, image)
    _install(host)
    options = ("-t", "ext4", "-E", "assume_storage_prezeroed=1")
    run("mke2fs", "-q", *options, "-d", host.root, disk_of(host), SIZE)
    run("umount", host.root)
    shutil.rmtree(host.folder / "upper")


def _turn_into_machine(host: Host, image: VmImage) -> None:
    """Add to a root filesystem what a container has from its machine: modules and a login."""
    shutil.copytree(image.modules, host.root / "usr/lib/modules", dirs_exist_ok=True)
    (host.root / "etc/yum.repos.d" / f"{REPOSITORY}.repo").write_text(REPO_FILE)
    for unit in FOR_CONTAINERS:
        (host.root / "etc/systemd/system" / unit).symlink_to("/dev/null")
    keys = host.root / "root/.ssh/authorized_keys"
    keys.parent.mkdir(mode=0o700, exist_ok=True)
    keys.write_text(public_key(host.state) + "\n")


def _install(host: Host) -> None:
    """Install packages as the machine would, but without emulation."""
    run("mount", "-t", "proc", "proc", host.root / "proc")
    run("mount", "--bind", "/dev", host.root / "dev")
    epel = f"--repofrompath=epel,http://{host.network.address}/{EPEL}"
    clean = ("env", "-i", "LANG=C.UTF-8", "PATH=/usr/sbin:/usr/bin", "chroot", host.root)
    run(*clean, "dnf", "--quiet", "--assumeyes", "--nogpgcheck", epel, "install", *INSTALLED)
    run("umount", host.root / "proc", host.root / "dev")


def main() -> None:
    state, name, entry = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    record = Record.read(state)
    if not record:
        raise LabError(f"{state} has no lab")
    make_disk(record.hosts_in(state)[name], VmImage(entry))


if __name__ == "__main__":
    main()
