"""What the runbook installs on every host, and what `dnf update` finds."""

from __future__ import annotations

from lab.packages.model import File, Package

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
    "python3-dnf-plugin-versionlock": Package(
        version="4.0.21",
        noarch=True,
        summary="dnf versionlock keeps packages at a version",
        requires=("dnf-plugins-core",),
        provides=("dnf-plugin-versionlock", "dnf-command(versionlock)"),
        from_base=(
            "/etc/dnf/plugins/versionlock.conf",
            "/etc/dnf/plugins/versionlock.list",
            "/usr/lib/python3/dist-packages/dnf-plugins/versionlock.py",
        ),
    ),
    "policycoreutils-python-utils": Package(
        version="2.9",
        noarch=True,
        summary="SELinux policy core Python utilities",
        links={"/usr/sbin/semanage": "../lib/lab/selinux"},
    ),
    # Newer than what the base has (rocky/installed.rpms): the one thing `dnf update` finds.
    "basesystem": Package(version="11", release="6.el8", summary="The skeleton of the system"),
}
