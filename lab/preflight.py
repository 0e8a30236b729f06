"""What this machine must have before a lab can run on it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from lab import cgroups
from lab.command import run
from lab.errors import LabError

PACKAGE_OF = {
    "createrepo_c": "createrepo-c",
    "dpkg-deb": "dpkg",
    "ip": "iproute2",
    "mmdebstrap": "mmdebstrap",
    "modifyrepo_c": "createrepo-c",
    "nft": "nftables",
    "nsenter": "util-linux",
    "openssl": "openssl",
    "rpmbuild": "rpm",
    "ssh-keygen": "openssh-client",
    "sysctl": "procps",
    "systemd-nspawn": "systemd-container",
    "umount": "mount",
}
INOTIFY_INSTANCES = 1024  # a host takes nine, and 128 is the usual limit of the whole machine


def require_root() -> None:
    if os.geteuid() != 0:
        raise LabError("the lab boots whole hosts and must be run as root", exit_code=2)


def prepare_machine(say: Callable[[str], None], more: Mapping[str, str] | None = None) -> None:
    """Install what is missing and raise the limits that a dozen hosts exceed.

    `more` are further tools, each with its Debian package.
    """
    if not shutil.which("apt-get"):
        raise LabError("the lab needs a Debian 12 machine: apt-get is missing here")
    cgroups.top()
    wanted = {**PACKAGE_OF, **(more or {})}
    missing = sorted({package for tool, package in wanted.items() if not _found(tool)})
    if missing:
        _install(missing, say)
    limit = Path("/proc/sys/fs/inotify/max_user_instances")
    if int(limit.read_text()) < INOTIFY_INSTANCES:
        say(f"raising fs.inotify.max_user_instances to {INOTIFY_INSTANCES}")
        limit.write_text(str(INOTIFY_INSTANCES))


def _found(tool: str) -> bool:
    return bool(shutil.which(tool, path=f"{os.environ['PATH']}:/usr/sbin:/sbin"))


def _install(packages: list[str], say: Callable[[str], None]) -> None:
    say(f"installing Debian packages that are missing here: {' '.join(packages)}")
    install = ("apt-get", "install", "--yes", "--no-install-recommends", *packages)
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    if run(*install, env=quiet, check=False).returncode == 0:
        return
    run("apt-get", "update", check=False)
    if run(*install, env=quiet, check=False).returncode:
        raise LabError(f"Debian packages are missing; install them: {' '.join(packages)}")
