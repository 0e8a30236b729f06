"""What RabbitMQ's nodes know about each other."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Union

import msgspec

from runbook.declare.answers import (
    HttpCode,
    Line,
    Release,
    UnitState,
    lines_of,
    of_json,
    one,
    plain,
)
from runbook.declare.facts import Fact, Facts
from runbook.errors import MissingFact
from runbook.inventory.cluster import Cluster, Host
from runbook.inventory.entry import named

from ..shared.roles import RABBITMQ
from .common import DATA, SERVICE, api, members, node

_NODE = "rabbit@[A-Za-z0-9._-]{1,253}"
NODE_NAME = re.compile(_NODE)
NodeName = Annotated[str, named("name of a node: `rabbit@mq1`", _NODE)]


@dataclass(frozen=True)
class Node:
    """A server's node: whether it runs, and the cluster to which its data belongs."""

    running: bool
    remembers: frozenset[str]

    @property
    def has_data(self) -> bool:
        """Whether it has been started before."""
        return bool(self.remembers)


def parse(text: str) -> Node:
    """Parse the answer of NODE: systemd's word, cluster_nodes.config: {[all nodes],[disc]}."""
    state, _, config = text.partition("\n")
    running = one(state.strip(), UnitState) == "active"
    return Node(running, frozenset(NODE_NAME.findall(config)))


NODE = Fact(
    "the state of RabbitMQ",
    on=RABBITMQ,
    command=lambda cluster, host: (
        f"systemctl is-active {SERVICE}\n"
        f"runuser -u rabbitmq -- cat {DATA}/{node(host)}/cluster_nodes.config 2>/dev/null || :"
    ),
    parse=parse,
    absent="a new cluster is created only when every server can be asked whether it already holds "
    "one; make the server reachable, or remove it from hosts.yaml",
)


@dataclass(frozen=True)
class State:
    """The cluster as one running node sees it, through its management API."""

    rabbitmq: str
    erlang: str
    nodes: list[dict[str, Any]]
    queues: list[dict[str, Any]]
    critical: bool
    users: frozenset[str]

    @property
    def running(self) -> frozenset[str]:
        """Nodes that this one sees running."""
        return frozenset(one["name"] for one in self.nodes if one.get("running"))

    @property
    def quorum_queues(self) -> list[dict[str, Any]]:
        """Queues with replicas of their own."""
        return [queue for queue in self.queues if queue.get("type") == "quorum"]


class _Overview(msgspec.Struct):
    rabbitmq_version: Release
    erlang_version: Release


class _Node(msgspec.Struct):
    """A node as the management API lists it; one that does not run has only a name."""

    name: NodeName
    running: bool = False
    partitions: list[NodeName] = []
    disk_free_alarm: bool = False
    mem_alarm: bool = False
    mem_used: Union[int, float] = 0
    disk_free: Union[int, float, str] = 0


class _Queue(msgspec.Struct):
    """A queue as the management API lists it; one that is down has only a name."""

    name: Line
    type: Line = ""
    leader: Union[NodeName, msgspec.UnsetType] = msgspec.UNSET
    members: list[NodeName] = []
    online: list[NodeName] = []
    messages: int = 0


class _User(msgspec.Struct):
    name: Line


def seen(text: str) -> State:
    """Parse the answer of STATE: a line for each question."""
    overview, nodes, queues, users, critical = lines_of(text, 5, 5)
    about = of_json(overview, _Overview)
    return State(
        rabbitmq=about.rabbitmq_version,
        erlang=about.erlang_version,
        nodes=plain(of_json(nodes, list[_Node])),
        queues=plain(of_json(queues, list[_Queue])),
        critical=one(critical, HttpCode) != "200",
        users=frozenset(user.name for user in of_json(users, list[_User])),
    )


def _questions(cluster: Cluster, host: Host) -> str:
    columns = "name,type,leader,members,online,messages"
    code = "-o /dev/null -w '%{http_code}'"
    critical = api(cluster, f"health/checks/node-is-quorum-critical {code}")
    return "\n".join(
        [
            f"{api(cluster, 'overview')} && echo || exit",
            f"{api(cluster, 'nodes')} && echo || exit",
            f"{api(cluster, f'queues?columns={columns}')} && echo || exit",
            f"{api(cluster, 'users')} && echo || exit",
            critical.replace("curl -sf", "curl -s"),
        ]
    )


STATE = Fact(
    "what RabbitMQ reports about itself",
    on=RABBITMQ,
    command=_questions,
    parse=seen,
    absent="its management API does not answer; see fab rabbitmq.check",
)


def founding(cluster: Cluster, facts: Facts) -> bool:
    """Whether no server has a node yet. MissingFact if one does not answer and no other has one."""
    if any(known.has_data for known in facts.known(NODE).values()):
        return False
    return not any(facts.of(NODE, member).has_data for member in members(cluster))


def the_cluster(facts: Facts) -> frozenset[str]:
    """The cluster to which most nodes belong; of several, one that runs, then the largest."""
    known = [node for node in facts.known(NODE).values() if node.has_data]

    def weight(remembers: frozenset[str]) -> tuple[int, int, int]:
        alike = [node for node in known if node.remembers == remembers]
        return len(alike), sum(node.running for node in alike), len(remembers)

    return max((node.remembers for node in known), key=weight, default=frozenset())


def first_running(cluster: Cluster, facts: Facts, but: str = "") -> Host:
    """A node that runs, other than `but`; MissingFact if none does."""
    for member in members(cluster):
        known = facts.known(NODE).get(member.name)
        if known and known.running and member.name != but:
            return member
    raise MissingFact("no RabbitMQ node runs; fab rabbitmq.cluster starts them.")
