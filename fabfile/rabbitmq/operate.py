"""Day-two operation: restart, remove a node, join a stray one, passwords. By name only."""

from __future__ import annotations

from collections.abc import Sequence

from runbook.declare.facts import Facts
from runbook.declare.step import Step
from runbook.declare.steps import action, command, moved_aside, service_off
from runbook.declare.work import Procedure, Question, stage
from runbook.errors import RunbookError, UsageError
from runbook.inventory.cluster import Cluster, Host, host_named
from runbook.inventory.entry import no_such

from ..shared.versions import Versions
from .cluster import all_run, blank, not_counted, restart_commands
from .common import AIRFLOW, COOKIE, DATA, SERVICE, members, node, section
from .configure import RESTART, cookie_file
from .nodes import NODE, STATE, first_running, the_cluster
from .users import account


@section.procedure(needs=[NODE])
def restart(hosts: Sequence[Host], cluster: Cluster, facts: Facts) -> Procedure:
    """Restart every node, one by one; stop at the first that does not return.

    Each waits until no queue depends on it, disconnects its clients, restarts, and accepts clients
    again.
    """
    refuse_without(members(cluster), facts, "restarting another one could stop the queues")
    for host in hosts:
        step = action(f"{host.name} has restarted", restart_commands(cluster), timeout=900)
        yield stage(
            f"restart {host.name}", host, step.clearing(RESTART), all_run(members(cluster), cluster)
        )
    if cluster[Versions].quorum_queues:
        yield stage(
            "spread the leaders",
            hosts[0],
            action("leaders are spread", "rabbitmq-queues rebalance quorum"),
        )


def running_nodes(facts: Facts) -> set[str]:
    """Names of the servers whose node runs."""
    return {name for name, known in facts.known(NODE).items() if known.running}


def refuse_without(nodes: Sequence[Host], facts: Facts, why: str) -> None:
    """Refuse unless all these nodes run."""
    running = running_nodes(facts)
    away = [host.name for host in nodes if host.name not in running]
    if away:
        raise RunbookError(
            f"{', '.join(away)} does not run; {why}. First run: fab rabbitmq.cluster"
        )


@section.procedure(needs=[NODE, STATE], help={"host": "the node to take out"})
def shrink(hosts: Sequence[Host], cluster: Cluster, facts: Facts, *, host: str) -> Procedure:
    """Remove a node from the cluster and from its queues. Asks first.

    Works also for a node that is lost for good. Its data stays on it, moved aside. Afterwards,
    remove it from hosts.yaml and run `fab rabbitmq`.
    """
    ours = the_cluster(facts)
    name = f"rabbit@{host}"
    if name not in ours:
        known = sorted(one.partition("@")[2] for one in ours)
        raise no_such(f"{host} is not a node", host, known)
    peer = running_majority(host, len(ours) - 1, cluster, facts)[0]
    gone = cluster.hosts.get(host)
    stays_enabled = "" if gone else " It is not in hosts.yaml, so disable its service there."
    yield Question(f"{host} leaves the message queue; its data stays on it, unused.{stays_enabled}")
    yield from without_replicas(host, peer, cluster)
    if gone and gone.name in facts.known(NODE):
        yield stage(f"stop RabbitMQ on {host}", gone, service_off(SERVICE), aside())
    elif not gone:
        yield stage(f"stop RabbitMQ on {host}", peer, stopped_remotely(name))
    yield stage(f"forget {host}", peer, forgotten(name, host))


def running_majority(host: str, left: int, cluster: Cluster, facts: Facts) -> list[Host]:
    """The remaining nodes that run; RunbookError if they are not a majority."""
    running = running_nodes(facts)
    up = [one for one in members(cluster) if one.name in running - {host}]
    if len(up) < left // 2 + 1:
        raise RunbookError(
            f"Without {host}, {len(up)} of {left} nodes would run, which is not a majority. "
            "Bring the others back first: fab rabbitmq.cluster"
        )
    return up


def stopped_remotely(name: str) -> Step:
    """Stop a node that hosts.yaml does not have, through its cluster."""
    return command(
        f"{name} does not run",
        f"rabbitmqctl -n {name} stop\nwhile rabbitmqctl -n {name} ping; do sleep 1; done",
        unless=f"! rabbitmqctl -n {name} ping",
        timeout=120,
    )


def forgotten(name: str, host: str) -> Step:
    """The cluster no longer counts this node."""
    return command(
        f"the cluster has no node {host}",
        f"until rabbitmqctl forget_cluster_node {name}; do sleep 2; done",
        unless=not_counted(name),
        timeout=60,
    )


def without_replicas(host: str, peer: Host, cluster: Cluster) -> Procedure:
    """No quorum queue counts on what this node holds."""
    if cluster[Versions].quorum_queues:
        step = action(f"replicas on {host} are gone", f"rabbitmq-queues shrink rabbit@{host}")
        yield stage(f"no queue has a replica on {host}", peer, step)


def aside() -> Step:
    """The node's data is kept, but no longer used."""
    return command(
        "its data are moved aside",
        f"{moved_aside(DATA, 'before', 'rabbitmq')}\nrunuser -u rabbitmq -- mkdir -m 0750 {DATA}",
        unless=f"[[ ! -e {DATA} || ! $(ls -A {DATA}) ]]",
    )


@section.procedure(
    needs=[NODE, STATE],
    help={"host": "the node that is to join", "i_know": "accept the loss of what that node holds"},
)
def join(
    hosts: Sequence[Host], cluster: Cluster, facts: Facts, *, host: str, i_know: bool = False
) -> Procedure:
    """Let a node that was a cluster of its own join, without its data. Needs --i-know.

    Its data is moved aside, not deleted.
    """
    joining = host_named(host, members(cluster), "node")
    if joining.name in facts.known(NODE) and blank(joining, facts):
        raise UsageError(f"{host} has no data to discard; to let it join: fab rabbitmq")
    if node(joining) in the_cluster(facts) and len(the_cluster(facts)) > 1:
        raise UsageError(f"{host} belongs to the cluster; to take it out: fab rabbitmq.shrink")
    holds = ""
    if host in facts.known(STATE):
        state = facts.of(STATE, joining)
        messages = sum(queue.get("messages", 0) for queue in state.queues)
        holds = f" Queues there: {len(state.queues)}, messages: {messages}, "
        holds += f"users: {', '.join(sorted(state.users))}."
    if not i_know:
        raise UsageError(
            f"The data of {host} leaves the message queue.{holds} "
            "If that is intended, add --i-know."
        )
    peer = first_running(cluster, facts, but=host)
    yield Question(f"{host} discards its data and joins the others.{holds}")
    yield from without_replicas(host, peer, cluster)
    yield stage(
        f"stop RabbitMQ on {host}",
        joining,
        service_off(SERVICE),
        aside(),
        command(
            f"{host} joins the others",
            f"systemctl enable --now {SERVICE}",
            unless=f"unit_is {SERVICE} active enabled",
            timeout=700,
        ),
        all_run(members(cluster), cluster),
    )
    if cluster[Versions].quorum_queues:
        step = action(f"replicas on {host} are made", f"rabbitmq-queues grow rabbit@{host} all")
        yield stage(f"every queue has a replica on {host}", peer, step)


@section.procedure(needs=[NODE], help={"cookie": "replace the Erlang cookie instead"})
def rotate(
    hosts: Sequence[Host], cluster: Cluster, facts: Facts, *, cookie: bool = False
) -> Procedure:
    """Set a new password for Airflow's user; with --cookie a new Erlang cookie.

    Nothing restarts.

    Open connections stay open; Airflow needs the new password for its next one. The cookie is
    replaced in the running nodes, all at the same time, and then on disk.
    """
    first = first_running(cluster, facts)
    if not cookie:
        yield Question("Airflow's user on RabbitMQ gets a new password; give it to Airflow next.")
        cluster.vault.renew(AIRFLOW)
        yield stage("a new password", first, account("airflow", AIRFLOW, cluster))
        return
    refuse_without(members(cluster), facts, "it would keep the old cookie")
    yield Question("All nodes get a new Erlang cookie, while they run.")
    value = cluster.vault.renew(COOKIE)
    take = action(
        "the running node takes the new cookie",
        f"""(set -euo pipefail
temp=$(mktemp)
trap 'rm -f "$temp"' EXIT
cat >"$temp" <<'EOF'
erlang:set_cookie(node(), '{value}').
EOF
chown rabbitmq "$temp"
rabbitmqctl -q eval_file "$temp")""",
    )
    yield stage("a new cookie", members(cluster), take, cookie_file(cluster))
    yield stage("all nodes still know each other", first, all_run(members(cluster), cluster))
