"""A directory, as a team has one beside the cluster: OpenLDAP's server and its commands."""

from __future__ import annotations

from lab.packages.model import Package

PACKAGES: dict[str, Package] = {
    "openldap-servers": Package(
        debs=("slapd",),
        # Debian's way to start it, and a module that needs a Perl which no host has.
        remove=(
            *("/etc/default/slapd", "/usr/lib/systemd/system/slapd.service.d"),
            "/usr/lib/ldap/back_perl*",
        ),
    ),
    "openldap-clients": Package(debs=("ldap-utils",)),
}
