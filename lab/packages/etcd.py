"""etcd, which PGDG keeps in its extras beside newer versions of what RHEL has."""

from __future__ import annotations

from lab.packages.model import PGDG_EXTRAS, Directory, Package, User

RELEASE = "2PGDG.rhel8"

PACKAGES: dict[str, Package] = {
    "etcd": Package(
        debs=("etcd-server", "etcd-client"),
        repository=PGDG_EXTRAS,
        release=RELEASE,
        users=(User("etcd", home="/var/lib/etcd"),),
        directories={
            "/etc/etcd": Directory("750", "etcd", "etcd"),
            "/var/lib/etcd": Directory("700", "etcd", "etcd"),
        },
    ),
    # Whoever switches the extras on without includepkgs gets this in place of RHEL's.
    "haproxy-of-extras": Package(
        name="haproxy",
        repository=PGDG_EXTRAS,
        version="3.3.4",
        release="1PGDG.rhel8",
        summary="A decoy without files",
    ),
}
