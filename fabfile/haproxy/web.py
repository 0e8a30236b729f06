"""How HAProxy serves browsers: in clear, or over TLS.

Over TLS, it also speaks TLS to the webservers; BOTH: to those that speak it already.
"""

from __future__ import annotations

from runbook.declare import steps
from runbook.declare.facts import Facts
from runbook.declare.step import Step, Steps
from runbook.inventory.cluster import Cluster, Host

from ..shared import tls
from ..shared.roles import HAPROXY
from ..shared.site import site
from ..shared.transport import Speaks, speaks, spoken_by, wanted
from .common import CONFIG, HAPROXY_TLS, PEM, UNIT, section

DOORS = spoken_by(
    "how HAProxy speaks to browsers",
    HAPROXY,
    lambda cluster, host: (
        f"""if ! grep -qsx 'listen stats' {CONFIG}; then echo none
elif ! grep -qsE '^ *bind \\*:7000 ssl ' {CONFIG}; then echo clear
elif grep -qs ':tls [0-9.]*:8080 ' {CONFIG}; then echo both
else echo tls
fi"""
    ),
)


def door(host: Host, cluster: Cluster, facts: Facts) -> Speaks:
    """How a proxy speaks to browsers, or has to if it is new: as the others, or as wanted."""
    return speaks(host, DOORS, facts, wanted(cluster))


@section.task(needs=[DOORS])
def keys(host: Host, cluster: Cluster, facts: Facts) -> Steps:
    """Make HAProxy's private key, unless it speaks in clear to browsers."""
    if door(host, cluster, facts):
        yield from tls.keys(HAPROXY_TLS)


@section.task(needs=[DOORS, HAPROXY_TLS.held])
def certificates(host: Host, cluster: Cluster, facts: Facts) -> Steps:
    """Sign HAProxy's certificate, unless it speaks in clear to browsers."""
    if door(host, cluster, facts):
        yield from certified(host, cluster, facts)


def certified(host: Host, cluster: Cluster, facts: Facts, anew: bool = False) -> Steps:
    """HAProxy has a certificate, and reads a new one at once."""
    yield from tls.certified(HAPROXY_TLS, host, cluster, facts, anew)
    yield in_one_file(cluster).then(steps.reloaded(UNIT))


def in_one_file(cluster: Cluster) -> Step:
    """Certificate and key in one file, which only root can read; the site's own, if it has one."""
    own = site(cluster)
    if own:
        return steps.file(PEM, own.pem, mode="0600", secret=True)
    both = f"cat {HAPROXY_TLS.certificate} {HAPROXY_TLS.key}"
    return steps.command(
        "HAProxy's certificate and key are in one file",
        f"umask 077\n{both} >{PEM}.new\nmv -fT {PEM}.new {PEM}",
        unless=f"[[ $(stat -c '%a %U' {PEM} 2>/dev/null) == '600 root' ]] && "
        f"cmp -s <({both}) {PEM}",
    )
