"""Prometheus, Alertmanager and node_exporter, as EPEL has them."""

from __future__ import annotations

from lab.packages.model import EPEL, Package, User

PROMETHEUS = User("prometheus", home="/var/lib/prometheus")

PACKAGES: dict[str, Package] = {
    "golang-github-prometheus-node-exporter": Package(
        debs=("prometheus-node-exporter",),
        repository=EPEL,
        links={"/usr/bin/node_exporter": "prometheus-node-exporter"},
        users=(PROMETHEUS,),
    ),
    "golang-github-prometheus": Package(
        debs=("prometheus",),
        repository=EPEL,
        # What only Debian's pages need; EPEL's are in the program.
        without=(
            "fonts-glyphicons-halflings",
            "libjs-bootstrap4",
            "libjs-eonasdan-bootstrap-datetimepicker",
            "libjs-jquery",
            "libjs-jquery-hotkeys",
            "libjs-moment",
            "libjs-moment-timezone",
            "libjs-mustache",
            "libjs-popper.js",
            "libjs-rickshaw",
        ),
        users=(PROMETHEUS,),
    ),
    "golang-github-prometheus-alertmanager": Package(
        debs=("prometheus-alertmanager",),
        repository=EPEL,
        links={"/usr/bin/alertmanager": "prometheus-alertmanager"},
        users=(PROMETHEUS,),
    ),
}
