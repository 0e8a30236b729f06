"""One cluster of all nodes: start, join, restart one after the other."""

from __future__ import annotations

from collections.abc import Sequence

from runbook.declare import steps
from runbook.declare.facts import Facts
from runbook.declare.step import Step, Steps
from runbook.declare.work import one_by_one
from runbook.errors import RunbookError
from runbook.inventory.cluster import Cluster, Host

from ..shared.versions import Versions
from .common import DATA, SERVICE, api, lets_in, members, node, section
from .configure import RESTART
from .nodes import NODE, founding, the_cluster


@section.task(needs=[NODE])
def cluster(host: Host, cluster: Cluster, facts: Facts) -> Steps:
    """Start the nodes, all at the same time, and wait until they are one cluster.

    New nodes join by themselves. So does a node that has lost its disk; the others forget the lost
    one first. A node that was a cluster of its own keeps its data: it is refused, with the command
    that discards the data. After a power failure all nodes start, in any
    order: each waits for the others.
    """
    here = facts.of(NODE, host)
    if stranger(host, facts):
        raise RunbookError(stands_alone(host, here.remembers))
    refuse_without_the_cluster(host, cluster, facts)
    if not here.has_data and not founding(cluster, facts):
        yield somebody_answers(host, cluster)
    if blank(host, facts):
        yield forgotten_before(host, cluster, facts)
    yield steps.command(
        f"{SERVICE} runs and is enabled",
        f"systemctl enable {SERVICE}\nsystemctl is-active -q {SERVICE} || "
        f"systemctl restart {SERVICE}",
        unless=f"unit_is {SERVICE} active enabled",
        timeout=700,
    ).clearing(RESTART)
    yield steps.command(
        f"{host.name} answers with the shared cookie",
        f"systemctl restart {SERVICE}",
        unless=f"{steps.not_noted(RESTART)} || rabbitmq-diagnostics -q ping",
        timeout=700,
    ).clearing(RESTART)
    yield with_the_majority(host, cluster)
    yield lets_clients_in(host, cluster)
    answering = [member for member in members(cluster) if member.name in facts.known(NODE)]
    yield all_run([one for one in answering if comes_up(one, cluster, facts)], cluster)


def stranger(host: Host, facts: Facts) -> bool:
    """Whether the node belongs to a different cluster from the others."""
    here = facts.of(NODE, host)
    return bool(here.remembers) and node(host) not in the_cluster(facts)


def blank(host: Host, facts: Facts) -> bool:
    """Whether the others count this node, and its disk is empty: it replaces one that is gone."""
    return not facts.of(NODE, host).has_data and node(host) in the_cluster(facts)


def comes_up(host: Host, cluster: Cluster, facts: Facts) -> bool:
    """Whether this run starts the node as one of the cluster."""
    if stranger(host, facts) or waits_for_the_cluster(host, cluster, facts):
        return False
    return not blank(host, facts) or bool(majority_without(host, cluster, facts))


def majority_without(host: Host, cluster: Cluster, facts: Facts) -> list[Host]:
    """The other nodes that run, if they are a majority of the cluster; otherwise none."""
    known = facts.known(NODE)
    running = [
        one
        for one in members(cluster)
        if one != host and one.name in known and known[one.name].running
    ]
    return running if len(running) * 2 > len(the_cluster(facts)) else []


def forgotten_before(host: Host, cluster: Cluster, facts: Facts) -> Step:
    """The others forget the lost node before one with the same name starts.

    Otherwise it would take the lost node's place in the quorum queues, whose messages it has
    confirmed and does not have any more: with the next failure they could be lost. RabbitMQ 4 does
    not let it join at all.
    """
    peers = majority_without(host, cluster, facts)
    if not peers:
        others = ",".join(one.name for one in members(cluster) if one != host)
        raise RunbookError(
            f"{host.name} has no data any more, and the others, which still count it, do not run "
            f"with a majority. First start them: fab -H {others} rabbitmq.cluster. If their data "
            f"are lost, too: fab rabbitmq.recover HOST --i-know. Nothing was changed."
        )
    ask = f"rabbitmqctl -n {node(peers[0])}"
    return steps.command(
        f"{peers[0].name} no longer counts the {host.name} that is gone",
        f"{ask} forget_cluster_node {node(host)}",
        unless=not_counted(node(host), ask),
        timeout=120,
    )


def not_counted(name: str, ask: str = "rabbitmqctl") -> str:
    """A test: the cluster answers, and does not count this node."""
    return f"nodes=$({ask} -q cluster_status --formatter json) && [[ $nodes != *'\"{name}\"'* ]]"


def stands_alone(host: Host, remembers: frozenset[str]) -> str:
    """The sentence for a node that belongs to another cluster."""
    others = ", ".join(sorted(remembers - {node(host)}))
    holds = f"a cluster with {others}" if others else "a cluster of its own"
    return (
        f"{host.name} has been started before and belongs to {holds}, in {DATA}. Nothing was "
        f"changed. To discard its queues, users and messages: fab rabbitmq.join {host.name} "
        "--i-know"
    )


def waits_for_the_cluster(host: Host, cluster: Cluster, facts: Facts) -> bool:
    """Whether a node is new, and nobody can say whether the cluster counts one with its name.

    With Khepri, only a running node can.
    """
    new = not facts.of(NODE, host).has_data
    return new and not founding(cluster, facts) and not the_cluster(facts)


def refuse_without_the_cluster(host: Host, cluster: Cluster, facts: Facts) -> None:
    """Refuse a new node that may replace one that is gone."""
    if not waits_for_the_cluster(host, cluster, facts):
        return
    others = ",".join(one.name for one in members(cluster) if one != host)
    raise RunbookError(
        f"{host.name} has no data, and no other node runs, so it cannot be known whether it "
        f"replaces one that is gone. First start them: fab -H {others} rabbitmq.cluster. "
        "Nothing was changed."
    )


def somebody_answers(host: Host, cluster: Cluster) -> Step:
    """Refuse a new node that finds no other node: it would create a cluster of its own."""
    asked = " || ".join(
        steps.answers(other.address, 25672) for other in members(cluster) if other != host
    )
    return steps.precondition(
        "a node of the cluster answers",
        asked,
        f"echo 'no other node answers, and {host.name} must not create a second cluster: "
        "start the others first'",
    )


def with_the_majority(host: Host, cluster: Cluster) -> Step:
    """Restart a node that came back too early after a partition, and stays partitioned until then.

    It is the one that is partitioned from the majority; after its restart the others forget the
    partition (RabbitMQ, "Clustering and Network Partitions").
    """
    parted = (
        f"$({api(cluster, f'nodes/{node(host)}?columns=partitions')} | grep -o rabbit@ | wc -l)"
    )
    return steps.command(
        f"{host.name} is not partitioned from the majority",
        f"systemctl restart {SERVICE}\nrabbitmqctl await_startup --timeout 300",
        unless=f"(( {parted} * 2 < {len(members(cluster))} ))",
        timeout=700,
    )


def lets_clients_in(host: Host, cluster: Cluster) -> Step:
    """Let a node accept clients whose application is stopped, drained, or stuck after a pause.

    A node that sees only a minority is left alone: it comes back when the network does.
    """
    listens = lets_in(host)
    seen = "$(rabbitmqctl eval 'length(nodes()).') + 1"
    return steps.command(
        f"{host.name} lets clients in",
        f"""if [[ $(rabbitmqctl eval 'whereis(rabbit_outside_app_process).') == undefined ]]
then
  rabbitmqctl start_app
  rabbitmq-upgrade revive
else
  for _ in {{1..60}}; do if {listens}; then break; fi; sleep 1; done
  {listens} || systemctl restart {SERVICE}
fi""",
        unless=f"! systemctl is-active -q {SERVICE} || {listens} || "
        f"(( ({seen}) * 2 <= {len(members(cluster))} ))",
        timeout=700,
    )


def all_run(hosts: Sequence[Host], cluster: Cluster) -> Step:
    """Wait until this node sees that the nodes of all these servers run.

    The management API is asked, and rabbitmqctl only where the API does not answer: rabbitmqctl
    starts Erlang, which takes a second of CPU.
    """
    asked = (
        f"{api(cluster, 'nodes?columns=name,running')} | tr '{{' '\\n' | grep '\"running\":true'"
    )
    otherwise = (
        "rabbitmqctl -q cluster_status --formatter json"
        " | sed 's/.*\"running_nodes\":\\[\\([^]]*\\)\\].*/\\1/'"
    )
    wanted = " && ".join(f"$nodes == *'\"{node(one)}\"'*" for one in hosts)
    return steps.wait_for(
        "all nodes run, and are one cluster",
        f"nodes=$({asked} || {otherwise}) && [[ {wanted} ]]",
        timeout=400,
    )


@section.task(batches=one_by_one)
def settle(host: Host, cluster: Cluster) -> Steps:
    """Restart the nodes whose settings have changed, one after the other."""
    yield steps.restarted_if_noted(SERVICE, RESTART, restart_commands(cluster), timeout=900)


def enough_replicas(cluster: Cluster) -> str:
    """A command that waits until every queue keeps its majority, or its mirror, without a node."""
    kind = (
        "await_online_quorum_plus_one"
        if cluster[Versions].quorum_queues
        else "await_online_synchronized_mirror"
    )
    return f"rabbitmq-upgrade {kind} --timeout 120"


def restart_commands(cluster: Cluster) -> str:
    """Restart a node so that no queue loses its majority, and clients are disconnected in order."""
    in_order = f"{enough_replicas(cluster)}\nrabbitmq-upgrade drain\n"
    return (
        f"{in_order if len(members(cluster)) > 1 else ''}"
        f"systemctl restart {SERVICE}\n"
        "rabbitmqctl await_startup --timeout 300\n"
        "rabbitmq-upgrade revive\n"
        "until rabbitmq-diagnostics -q check_running; do sleep 1; done"
    )
