"""How nodes and command line tools speak with each other: in clear, or over TLS.

Over TLS, whoever does not show a node's certificate is refused before the cookies are compared. A
node that speaks TLS does not reach one in clear, so a node that is set up keeps its way until
`fab rabbitmq.switch-nodes` changes it on all of them.
"""

from __future__ import annotations

from runbook.declare import steps
from runbook.declare.facts import Facts
from runbook.declare.probes import ERROR, OK, WARN, Finding, Findings, Verdict
from runbook.declare.step import Step, Steps
from runbook.inventory.cluster import Cluster, Host

from ..shared.roles import RABBITMQ
from ..shared.tls import TRUSTED
from ..shared.transport import Speaks, spoken_by
from ..shared.transport import wanted as wanted_of_all
from .common import ANY_NODE, RABBITMQ_TLS, members, section
from .nodes import NODE
from .settings import Rabbitmq

ENVIRONMENT = "/etc/rabbitmq/rabbitmq-env.conf"
OPTIONS = "/etc/rabbitmq/inter_node_tls.config"

APART = section.cause("MQ_NODES_DIFFER", "nodes that speak differently do not reach each other")
CLEAR = section.cause(
    "MQ_NODES_CLEAR", "whoever listens on the network between the nodes reads the messages"
)

AMONG = spoken_by(
    "how RabbitMQ's nodes speak with each other",
    RABBITMQ,
    lambda cluster, host: (
        f"""if ! grep -qs '^NODENAME=' {ENVIRONMENT}; then echo none
elif grep -q -e '-proto_dist inet_tls' {ENVIRONMENT}; then echo tls
else echo clear
fi"""
    ),
)


def wanted(cluster: Cluster) -> Speaks:
    """How the nodes of a new cluster are to speak with each other."""
    own = cluster[Rabbitmq].nodes_tls
    if own is None:
        return wanted_of_all(cluster)
    return Speaks.TLS if own else Speaks.CLEAR


def among(host: Host, cluster: Cluster, facts: Facts) -> Speaks:
    """How a node speaks with the others: as before; one without data as they do."""
    known, nodes = facts.known(AMONG), facts.known(NODE)
    old = {
        name: speaks
        for name, speaks in known.items()
        if speaks is not None and name in nodes and nodes[name].has_data
    }
    return old.get(host.name, min(old.values(), default=wanted(cluster)))


def options() -> Step:
    """The file with the options of TLS, which nodes and command line tools read when they start."""
    context = {"tls": RABBITMQ_TLS, "ca": TRUSTED, "any_node": ANY_NODE}
    return steps.template(OPTIONS, "rabbitmq/inter_node_tls.config.j2", context, group="rabbitmq")


def environment(host: Host, speaks: Speaks) -> Steps:
    """The node's name, and how it speaks with the others, when it starts the next time."""
    if speaks:
        yield options()
    context = {"host": host, "options": OPTIONS if speaks else ""}
    source = "rabbitmq/rabbitmq-env.conf.j2"
    yield steps.template(ENVIRONMENT, source, context, group="rabbitmq")


def spoken(cluster: Cluster, facts: Facts) -> Findings:
    """All nodes speak with each other in the same way, which is the one that hosts.yaml names."""
    known = facts.known(AMONG)
    title, names = "nodes speak TLS with each other", [host.name for host in members(cluster)]
    over_tls = [name for name in names if known.get(name) == Speaks.TLS]
    in_clear = [name for name in names if known.get(name) == Speaks.CLEAR]
    if over_tls and in_clear:
        sentence = f"{', '.join(over_tls)} over TLS, but {', '.join(in_clear)} in clear"
        verdict = Verdict(ERROR, sentence)
        yield Finding(title, verdict, "fab rabbitmq.switch-nodes", APART, tuple(in_clear))
    elif in_clear and wanted(cluster):
        verdict = Verdict(WARN, f"in clear: {', '.join(in_clear)}")
        yield Finding(title, verdict, "fab rabbitmq.switch-nodes", CLEAR)
    elif in_clear:
        yield Finding(title, Verdict(OK, f"not wanted: {where(cluster)}"))
    elif over_tls and not wanted(cluster):
        sentence = f"although {where(cluster)}; to change it: fab rabbitmq.switch-nodes --to clear"
        yield Finding(title, Verdict(OK, sentence))
    elif over_tls:
        yield Finding(title, Verdict(OK))


def where(cluster: Cluster) -> str:
    """Which setting asks for nodes that speak in clear."""
    own = cluster[Rabbitmq].nodes_tls is not None
    setting = "rabbitmq.nodes_tls" if own else "tls.enabled"
    return f"{cluster.file.name} has {setting}: false"
