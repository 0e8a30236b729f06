"""What takes clients to the server that answers: HAProxy and keepalived; lsyncd copies files."""

from __future__ import annotations

from lab.packages.model import EPEL, Directory, Package, User

PACKAGES: dict[str, Package] = {
    "haproxy": Package(
        debs=("haproxy",),
        # Debian's sockets, for the service and for the log: RHEL has neither.
        remove=("/etc/rsyslog.d", "/usr/lib/tmpfiles.d", "/var/lib/haproxy/dev"),
        move={"/etc/haproxy/errors": "/usr/share/haproxy"},
        files={"/etc/sysconfig/haproxy": 'OPTIONS=""\n'},
        directories={
            "/etc/haproxy/conf.d": Directory(),
            "/var/lib/haproxy": Directory("755", "haproxy", "haproxy"),
        },
        users=(User("haproxy", 188, home="/var/lib/haproxy"),),
    ),
    "keepalived": Package(
        debs=("keepalived",),
        remove=("/etc/keepalived/keepalived.conf.sample",),
        files={"/etc/sysconfig/keepalived": 'KEEPALIVED_OPTIONS="-D"\n'},
    ),
    "lsyncd": Package(
        debs=("lsyncd",),
        repository=EPEL,
        files={
            "/etc/sysconfig/lsyncd": (
                'LSYNCD_OPTIONS="-pidfile /var/run/lsyncd.pid /etc/lsyncd.conf"\n'
            ),
        },
        directories={"/var/log/lsyncd": Directory()},
    ),
    "socat": Package(debs=("socat",)),
}
