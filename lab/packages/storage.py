"""NFS 4 for a kernel that has none: ganesha serves what exportfs says, FUSE mounts it."""

from __future__ import annotations

from lab.packages.model import Directory, Package, User, Wheel

PACKAGES: dict[str, Package] = {
    "nfs-utils": Package(
        debs=("nfs-common", "nfs-kernel-server"),
        requires=("nfs-ganesha", "python3-mfusepy", "python3-nfs-rs"),
        remove=(
            "/usr/lib/systemd/system/nfs-common.service",
            "/usr/lib/systemd/system/nfs-kernel-server.service",
            "/usr/sbin/mount.nfs*",
            "/usr/sbin/umount.nfs*",
        ),
        move={"/usr/sbin/exportfs": "/usr/libexec/nfs-utils/exportfs"},
        files={"/etc/exports": "", "/etc/nfs.conf": "[nfsd]\n"},
        links={"/usr/sbin/mount.nfs": "mount.nfs4"},
        directories={
            "/etc/exports.d": Directory(),
            "/var/lib/nfs/sm": Directory("700", "rpcuser", "rpcuser"),
            "/var/lib/nfs/sm.bak": Directory("700", "rpcuser", "rpcuser"),
        },
        users=(User("rpcuser", 29, home="/var/lib/nfs"),),
    ),
    "rpcbind": Package(debs=("rpcbind",), users=(User("_rpc", home="/var/lib/rpcbind"),)),
    "nfs-ganesha": Package(
        debs=("nfs-ganesha", "nfs-ganesha-vfs"),
        without=("nfs-utils", "rpcbind"),
        # nfs-server.service starts it, with a configuration of its own.
        remove=(
            "/etc/ganesha",
            "/etc/logrotate.d",
            "/etc/systemd",
            "/usr/lib/ganesha/nfs-ganesha-config.sh",
            "/usr/lib/systemd",
        ),
    ),
    "python3-mfusepy": Package(
        wheel=Wheel(
            "mfusepy",
            "3.1.1",
            "69fb70cfc7f7cce595e6ff586f8451d8298f01f18286a157f24f564b24ec5a37",
        ),
        summary="Filesystems in Python",
        depends=("libfuse3-3",),
    ),
    "python3-nfs-rs": Package(
        wheel=Wheel(
            "nfs-rs",
            "0.8.7",
            "4344dd092feafce494c3185f8cc1397aae1e407f498ffb32d309b92386eca75d",
        ),
        summary="A client of NFS 4.1 in user space",
    ),
}
