"""What RabbitMQ's nodes know about each other."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated, Any, Optional, Union

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
    holds_files: bool = False

    @property
    def has_data(self) -> bool:
        """Whether it has been started before."""
        return bool(self.remembers) or self.holds_files


def parse(text: str) -> Node:
    """Parse the answer of NODE: systemd's word, whether there are files, the nodes it knows."""
    state, _, rest = text.partition("\n")
    files, _, known = rest.partition("\n")
    running = one(state.strip(), UnitState) == "active"
    return Node(running, frozenset(NODE_NAME.findall(known)), files.strip() == "files")


def _state(cluster: Cluster, host: Host) -> str:
    """The commands of NODE. With Khepri (RabbitMQ 4), only a running node can name the others."""
    folder = f"{DATA}/{node(host)}"
    return f"""systemctl is-active {SERVICE}
if [[ $(ls -A {folder} 2>/dev/null) ]]; then echo files; else echo none; fi
runuser -u rabbitmq -- cat {folder}/cluster_nodes.config 2>/dev/null || {{
  [[ -d {folder} ]] && systemctl is-active -q {SERVICE} &&
    timeout 20 rabbitmqctl -q cluster_status --formatter json 2>/dev/null
}} || :"""


NODE = Fact(
    "the state of RabbitMQ",
    on=RABBITMQ,
    command=_state,
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
    flags: list[dict[str, Any]] = field(default_factory=list)
    policies: list[dict[str, Any]] = field(default_factory=list)

    @property
    def running(self) -> frozenset[str]:
        """Nodes that this one sees running."""
        return frozenset(one["name"] for one in self.nodes if one.get("running"))

    @property
    def quorum_queues(self) -> list[dict[str, Any]]:
        """Queues with replicas of their own."""
        return [queue for queue in self.queues if queue.get("type") == "quorum"]

    @property
    def classic_queues(self) -> list[dict[str, Any]]:
        """Queues that outlive their node and connection, without replicas of their own."""
        return [
            queue
            for queue in self.queues
            if queue.get("type") == "classic"
            if queue.get("durable") and not queue.get("exclusive")
        ]

    @property
    def mirroring(self) -> list[dict[str, Any]]:
        """Policies that mirror classic queues, which RabbitMQ 4 does not do any more."""
        return [one for one in self.policies if "ha-mode" in one.get("definition", {})]

    @property
    def mirrored_queues(self) -> list[dict[str, Any]]:
        """Classic queues to which such a policy applies, as far as their node runs."""
        names = {(one["vhost"], one["name"]) for one in self.mirroring}
        return [
            queue for queue in self.classic_queues if (queue["vhost"], queue.get("policy")) in names
        ]


class _Overview(msgspec.Struct):
    rabbitmq_version: Release
    erlang_version: Release


Used = Union[int, float, str]
"""How much of something is in use; `unknown` where RabbitMQ cannot tell."""


class _Node(msgspec.Struct):
    """A node as the management API lists it; one that does not run has only a name."""

    name: NodeName
    running: bool = False
    partitions: list[NodeName] = []
    disk_free_alarm: bool = False
    mem_alarm: bool = False
    mem_used: Union[int, float] = 0
    disk_free: Union[int, float, str] = 0
    fd_used: Used = 0
    fd_total: Used = 0
    sockets_used: Used = 0
    sockets_total: Used = 0
    proc_used: Used = 0
    proc_total: Used = 0


class _Queue(msgspec.Struct):
    """A queue as the management API lists it; one that is down has only a name."""

    name: Line
    vhost: Line = ""
    type: Line = ""
    durable: bool = False
    exclusive: bool = False
    state: Line = ""
    policy: Optional[Line] = None
    node: Optional[NodeName] = None
    leader: Optional[NodeName] = None  # none while it has no majority
    members: list[NodeName] = []
    online: list[NodeName] = []
    slave_nodes: list[NodeName] = []
    synchronised_slave_nodes: list[NodeName] = []
    messages: int = 0


class _User(msgspec.Struct):
    name: Line


class _Flag(msgspec.Struct):
    name: Line
    state: Line = ""
    stability: Line = ""


class _Policy(msgspec.Struct):
    vhost: Line
    name: Line
    definition: dict[str, Any] = {}


def seen(text: str) -> State:
    """Parse the answer of STATE: a line for each question."""
    overview, nodes, queues, users, flags, policies, critical = lines_of(text, 7, 7)
    about = of_json(overview, _Overview)
    return State(
        rabbitmq=about.rabbitmq_version,
        erlang=about.erlang_version,
        nodes=plain(of_json(nodes, list[_Node])),
        queues=plain(of_json(queues, list[_Queue])),
        critical=one(critical, HttpCode) != "200",
        users=frozenset(user.name for user in of_json(users, list[_User])),
        flags=plain(of_json(flags, list[_Flag])),
        policies=plain(of_json(policies, list[_Policy])),
    )


def _questions(cluster: Cluster, host: Host) -> str:
    columns = (
        "name,vhost,type,durable,exclusive,state,policy,node,leader,members,online,"
        "slave_nodes,synchronised_slave_nodes,messages"
    )
    code = "-o /dev/null -w '%{http_code}'"
    critical = api(cluster, f"health/checks/node-is-quorum-critical {code}")
    return "\n".join(
        [
            f"{api(cluster, 'overview')} && echo || exit",
            f"{api(cluster, 'nodes')} && echo || exit",
            f"{api(cluster, f'queues?columns={columns}')} && echo || exit",
            f"{api(cluster, 'users')} && echo || exit",
            f"{api(cluster, 'feature-flags?columns=name,state,stability')} && echo || exit",
            f"{api(cluster, 'policies')} && echo || exit",
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
    known = [node for node in facts.known(NODE).values() if node.remembers]

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
