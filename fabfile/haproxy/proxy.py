"""HAProxy: writes go to the primary, reads to the replicas, browsers to a webserver."""

from __future__ import annotations

from runbook.declare import steps
from runbook.declare.facts import Facts
from runbook.declare.step import Step, Steps, quote
from runbook.declare.templates import script
from runbook.inventory.cluster import Cluster, Host

from ..postgres.pools import PORT as POOLER
from ..postgres.pools import pooled
from ..postgres.transport import TRANSPORT, rest_speaks
from ..shared import tls
from ..shared.firewall import let_in
from ..shared.roles import HAPROXY
from ..shared.transport import Speaks, spoken_by
from .common import CONFIG, PEM, STATS, UNIT, databases, section, webservers
from .settings import Haproxy
from .web import DOORS, door

HOME = "/var/lib/haproxy"
"""The directory that HAProxy's workers are locked into."""

LOG_PLACE = f"{HOME}/dev/log"
"""The path of HAProxy's /dev/log, inside the directory of its chroot."""


def valid(file: str) -> str:
    """A test that HAProxy accepts this file, with conf.d where its unit reads that (RHEL 9)."""
    more = "/etc/haproxy/conf.d"
    return f"if [[ -d {more} ]]; then haproxy -c -f {file} -f {more}; else haproxy -c -f {file}; fi"


@section.task
def install(host: Host, cluster: Cluster) -> Steps:
    """Install the distribution's HAProxy."""
    yield steps.packages("haproxy")


ASKS = spoken_by(
    "how HAProxy asks Patroni",
    HAPROXY,
    lambda cluster, host: (
        f"""if grep -qs ':tls .* check-ssl ' {CONFIG}; then echo both
elif grep -qs '^ *default-server .* check-ssl ' {CONFIG}; then echo tls
elif grep -qs 'check port 8008' {CONFIG}; then echo clear
else echo none
fi"""
    ),
)


def asks(host: Host, cluster: Cluster, facts: Facts) -> Speaks:
    """How a proxy has to ask Patroni; as it does now, if no server of the database can tell."""
    told = [one for one in facts.known(TRANSPORT).values() if one.patroni is not None]
    now = facts.known(ASKS).get(host.name)
    return rest_speaks(cluster, facts) if told or now is None else now


@section.task(needs=[TRANSPORT, ASKS, DOORS])
def configure(host: Host, cluster: Cluster, facts: Facts) -> Steps:
    """Configure and start HAProxy: database, web UI and the statistics page.

    A change takes effect without a restart, after HAProxy itself has accepted it.
    """
    # The package gives it to HAProxy's workers, which need nothing in it.
    yield steps.directory(HOME)
    if cluster.selinux != "disabled":
        yield may_connect()
        yield from place_for_the_log()
    yield steps.drop_in(UNIT, "haproxy/haproxy-airflow.conf.j2")
    yield from let_in(host, cluster)
    yield from asks_after_silent_clients()
    yield from present(host, cluster, facts)
    yield steps.service(UNIT)


def present(host: Host, cluster: Cluster, facts: Facts) -> Steps:
    """HAProxy's file, for a proxy that goes on to speak as it does."""
    asked = asks(host, cluster, facts)
    yield from configuration(cluster, asked, door(host, cluster, facts))


def configuration(cluster: Cluster, speaks: Speaks, web: Speaks) -> Steps:
    """HAProxy's file, which takes effect at once, and the CA by which it knows Patroni.

    `speaks`: how it asks Patroni; `web`: how it serves browsers.
    """
    if pooled(cluster):
        yield poolers_answer(cluster)
    if web or (speaks and databases(cluster)):
        yield from tls.trust(cluster)
    yield steps.template(
        CONFIG,
        "haproxy/haproxy.cfg.j2",
        {
            "settings": cluster[Haproxy],
            "databases": databases(cluster),
            "database_port": database_port(cluster),
            "webservers": webservers(cluster),
            "login": quote(f"admin:{cluster.secret(STATS)}"),
            "asks": speaks.word,
            "ca": tls.TRUSTED,
            "pem": PEM if web else "",
            "web": web.word,
        },
        mode="0600",
        hide="stats auth ",
        validate=f"bash -c {quote(valid('$1'))} -",
    ).then(steps.reloaded(UNIT))


def database_port(cluster: Cluster) -> int:
    """Where the database servers take clients: PgBouncer or PostgreSQL itself."""
    return POOLER if pooled(cluster) else 5432


def poolers_answer(cluster: Cluster) -> Step:
    """Refuse to lead clients from PostgreSQL to a PgBouncer that is not there yet."""
    names = " ".join(host.name for host in pooled(cluster))
    found = script("haproxy/without-pooler.sh", servers=names, pooler=POOLER)
    return steps.precondition(
        "PgBouncer answers before clients of PostgreSQL are led to it",
        f"! grep -qsE ' [0-9.]+:5432( |$)' {CONFIG} || [[ ! $( {found} ) ]]",
        f"{found}\necho 'PgBouncer does not answer there. To set it up: fab postgres'",
    )


def asks_after_silent_clients() -> Steps:
    """Release the locks of a client that has lost power after 45 seconds.

    The kernel's own default is two hours, and HAProxy 1.8 has no setting for that (2.3 brought
    `clitcpka-idle`).
    """
    names = ("time", "intvl", "probes")
    yield from steps.sysctl(
        "the kernel asks after silent clients after 30 seconds",
        "/etc/sysctl.d/60-haproxy-airflow.conf",
        {f"net.ipv4.tcp_keepalive_{name}": value for name, value in zip(names, (30, 5, 3))},
    )


def place_for_the_log() -> Steps:
    """Create the file: SELinux allows systemd to mount the journal's socket on it, no more."""
    yield steps.directory(LOG_PLACE.rpartition("/")[0])
    yield steps.file(LOG_PLACE, "")
    yield steps.selinux_context(LOG_PLACE, "mnt_t")


def may_connect() -> Step:
    """Let SELinux allow all ports: otherwise HAProxy's checks would succeed, and sessions fail."""
    return steps.selinux_boolean("haproxy_connect_any")
