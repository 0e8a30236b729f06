"""What a node needs before its first start: cookie, settings, plugins, ports."""

from __future__ import annotations

import hashlib
import re

from runbook.declare import steps
from runbook.declare.answers import Digest, one
from runbook.declare.facts import Fact, Facts
from runbook.declare.step import Handler, Step, Steps
from runbook.errors import RunbookError
from runbook.inventory.cluster import Cluster, Host

from ..shared.firewall import let_in
from ..shared.roles import RABBITMQ
from ..shared.tls import TRUSTED
from ..shared.transport import Speaks
from ..shared.versions import Versions
from .common import CONF, COOKIE, RABBITMQ_TLS, SERVICE, members, section
from .distribution import AMONG, among, environment
from .nodes import NODE
from .settings import KHEPRI_ONLY, Rabbitmq, number
from .transport import LISTENS, listens

RESTART = Handler("restart-rabbitmq", "RabbitMQ has to restart, one node after the other")

SETTINGS = ("rabbitmq", "settings")
"""Where hosts.yaml has settings of rabbitmq.conf."""

COOKIE_FILE = "/var/lib/rabbitmq/.erlang.cookie"

COOKIES = Fact(
    "the Erlang cookie's digest",
    on=RABBITMQ,
    command=lambda cluster, host: (
        f"runuser -u rabbitmq -- cat {COOKIE_FILE} | tr -d '[:space:]' | sha256sum"
    ),
    parse=lambda text: one(text.split()[0], Digest),
    absent="there is no cookie yet",
)


@section.task(needs=[NODE, COOKIES, LISTENS, AMONG])
def configure(host: Host, cluster: Cluster, facts: Facts) -> Steps:
    """Write cookie, settings, plugins, ports; `rabbitmq.settle` applies them."""
    refuse_another_cookie(cluster, facts)
    yield names_resolve(cluster)
    yield from let_in(host, cluster)
    if cluster.selinux != "disabled":
        # The policy already contains RabbitMQ's other ports.
        yield steps.selinux_port("rabbitmq_port_t", "15692/tcp")
    yield steps.drop_in(SERVICE, "rabbitmq/limits.conf.j2").then(RESTART)
    yield cookie_file(cluster).then(RESTART)
    yield configuration(host, cluster, listens(host, cluster, facts))
    for step in environment(host, among(host, cluster, facts)):
        yield step.then(RESTART)
    yield steps.file(
        "/etc/rabbitmq/enabled_plugins",
        "[rabbitmq_management,rabbitmq_prometheus].",
        group="rabbitmq",
    ).then(RESTART)


def configuration(host: Host, cluster: Cluster, speaks: Speaks) -> Step:
    """rabbitmq.conf, which takes effect when the node restarts."""
    # Settings of hosts.yaml may be secrets, such as the password of a key or of LDAP.
    secrets = "|".join(re.escape(str(key)) for (key,) in cluster.secret_settings(*SETTINGS))
    version = number(cluster[Versions].rabbitmq)
    context = {
        "cluster": cluster,
        "members": members(cluster),
        "settings": cluster[Rabbitmq],
        "partitions": version < KHEPRI_ONLY,
        "denies_transient": version >= [4],
        "tls": RABBITMQ_TLS if speaks else None,
        "ca": TRUSTED,
        "in_clear": speaks < Speaks.TLS,
    }
    return steps.template(
        CONF,
        "rabbitmq/rabbitmq.conf.j2",
        context,
        mode="0640",
        group="rabbitmq",
        hide=f"({secrets}) = " if secrets else "",
    ).then(RESTART)


def cookie_file(cluster: Cluster) -> Step:
    """The cookie, in place before the first start (RabbitMQ, "Clustering Guide")."""
    return steps.file(
        COOKIE_FILE,
        cluster.secret(COOKIE),
        mode="0400",
        owner="rabbitmq",
        group="rabbitmq",
        secret=True,
    )


def refuse_another_cookie(cluster: Cluster, facts: Facts) -> None:
    """Refuse to replace a running cluster's cookie file by file: its nodes would be separated."""
    wanted = hashlib.sha256(cluster.secret(COOKIE).encode()).hexdigest()
    present = set(facts.known(COOKIES).values())
    runs = any(known.running for known in facts.known(NODE).values())
    if runs and present and wanted not in present:
        raise RunbookError(
            "The cookie of the running nodes is not the one in secrets.yaml. Write theirs there as "
            f"{COOKIE.name} (it is in {COOKIE_FILE}), then: fab rabbitmq.rotate --cookie"
        )


def names_resolve(cluster: Cluster) -> Step:
    """Nodes know each other by short names; a node whose name does not resolve never joins."""
    wrong = "\n".join(
        f"[[ $(getent ahostsv4 {member.name} | head -1) == '{member.address} '* ]] || "
        f"echo 'the name {member.name} does not resolve to {member.address} here: fab hosts'"
        for member in members(cluster)
    )
    return steps.precondition("the nodes' names resolve", f"[[ ! $({wrong}) ]]", wrong)
