"""Change RabbitMQ and Erlang to the versions in hosts.yaml, node by node. By name only.

Feature flags come first: a later RabbitMQ does not start while one that it requires is off, and it
may skip no series ("Upgrading RabbitMQ"). Each node gets both packages in one transaction while it
is stopped; the others have the queues meanwhile. There is no way back to an older version.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from runbook.declare import steps
from runbook.declare.facts import Facts
from runbook.declare.step import Step, Steps
from runbook.declare.steps import action, command, wait_for
from runbook.declare.templates import script
from runbook.declare.work import Procedure, Question, stage
from runbook.errors import RunbookError
from runbook.inventory.cluster import Cluster, Host

from ..shared.versions import Versions
from .cluster import all_run, enough_replicas
from .common import members, section
from .configure import RESTART, configuration
from .nodes import NODE, STATE, State
from .operate import refuse_without
from .queue_check import lacks_member, listed, unsynchronised
from .settings import NEXT_SERIES, number, series
from .transport import LISTENS, listens
from .version_check import INSTALLED, wanted

LAST_FLAGS = {"3.12": "3.11.18"}
"""Series that need flags which its predecessor has from a certain version on."""

KHEPRI_STABLE = [4, 2]
"""The first series in which khepri_db is one of the stable feature flags, which are enabled."""


@section.procedure(needs=[NODE, STATE, INSTALLED, LISTENS])
def upgrade(hosts: Sequence[Host], cluster: Cluster, facts: Facts) -> Procedure:
    """Upgrade RabbitMQ and Erlang to hosts.yaml's versions, node by node. Asks first.

    Refuses if a series is skipped, if queues lack a replica, during an alarm, and to RabbitMQ 4
    while queues are mirrored. If it is interrupted, rerun the command to complete it.
    """
    refuse_without(members(cluster), facts, "an upgrade could stop the queues")
    states = {host.name: facts.of(STATE, host) for host in members(cluster)}
    for sentence in objections(cluster, states):
        raise RunbookError(f"{sentence} Nothing was changed.")
    first = members(cluster)[0]
    waiting = [host for host in members(cluster) if differs(host, cluster, facts)]
    if waiting:
        yield Question(announced(waiting, cluster, states))
        yield stage("packages are on the servers", waiting, downloaded(cluster))
    if len({state.rabbitmq for state in states.values()}) == 1:
        yield stage("feature flags of the present version", first, all_flags())
    for host in waiting:
        yield stage(f"upgrade {host.name}", host, lambda host: of_one(host, cluster, facts))
    yield stage("feature flags of the new version", first, all_flags())
    if waiting:
        yield stage("queues are whole", members(cluster), lambda host: no_queue_needs_it(cluster))
    if waiting and cluster[Versions].quorum_queues:
        spread = action("leaders are spread", "rabbitmq-queues rebalance quorum")
        yield stage("spread the leaders", first, spread)


def differs(host: Host, cluster: Cluster, facts: Facts) -> bool:
    """Whether another version runs or is installed there."""
    state = facts.of(STATE, host)
    running = {"rabbitmq-server": state.rabbitmq, "erlang": state.erlang}
    return running != wanted(cluster) or facts.of(INSTALLED, host) != wanted(cluster)


def announced(waiting: Sequence[Host], cluster: Cluster, states: Mapping[str, State]) -> str:
    """What the user confirms."""
    now = sorted({f"{state.rabbitmq} on Erlang {state.erlang}" for state in states.values()})
    versions = cluster[Versions]
    moves = number(versions.rabbitmq) >= KHEPRI_STABLE and not all(
        state.khepri for state in states.values()
    )
    khepri = " With the feature flag khepri_db, metadata moves from Mnesia to Khepri."
    return (
        f"RabbitMQ {' and '.join(now)} becomes {versions.rabbitmq} on Erlang {versions.erlang}, "
        f"one node after the other: {', '.join(host.name for host in waiting)}. Clients of a node "
        f"that restarts connect to another one.{khepri if moves else ''} There is no way back to "
        "an older version."
    )


def objections(cluster: Cluster, states: Mapping[str, State]) -> Iterator[str]:
    """Why the cluster cannot be upgraded now."""
    target = cluster[Versions].rabbitmq
    for present in sorted({state.rabbitmq for state in states.values()}, key=number):
        yield from refused_step(present, target)
    for name, state in states.items():
        own = next((one for one in state.nodes if one["name"] == f"rabbit@{name}"), {})
        if own.get("partitions"):
            yield f"{name} is partitioned from other nodes: fab rabbitmq.check."
        if own.get("disk_free_alarm") or own.get("mem_alarm"):
            yield f"{name} has an alarm, disk or memory: fab rabbitmq.check."
        if number(state.rabbitmq) < [4] <= number(target) and state.khepri:
            yield (
                f"The experimental feature flag khepri_db is enabled, and RabbitMQ {target} cannot "
                f"read the metadata that {state.rabbitmq} keeps with it: set up a new cluster."
            )
        if state.mirroring and number(target) >= [4]:
            policies = ", ".join(str(one["name"]) for one in state.mirroring)
            yield (
                f"Policies mirror queues ({policies}), which RabbitMQ {target} does not do: "
                f"{listed(state.mirrored_queues) or 'no queue'} would lose the second copy. First "
                "change to an Airflow that uses quorum queues (fab airflow.upgrade)."
            )
        short = [queue for queue in state.quorum_queues if lacks_member(queue, state)]
        if short:
            yield f"Queues lack a member ({listed(short)}): fab rabbitmq.cluster rabbitmq.queues."
        bare = unsynchronised(state)
        if bare:
            yield f"Queues have no synchronised mirror ({listed(bare)}): fab rabbitmq.check."


def refused_step(present: str, target: str) -> Iterator[str]:
    """Why a version cannot become another one; nothing if it can."""
    old, new = series(present), series(target)
    if number(target) < number(present):
        yield f"{present} runs, and RabbitMQ does not go back to {target}."
    elif old != new and new not in NEXT_SERIES.get(old, ()):
        allowed = " or ".join(NEXT_SERIES.get(old, ())) or "no series that is known here"
        rungs = way(old, new)
        told = f"The way is {', '.join(rungs)}: one fab rabbitmq.upgrade each. " if rungs else ""
        yield (
            f"RabbitMQ {present} cannot become {target}: from {old}, the next is {allowed}. "
            "Each series requires feature flags of the one before, which have to be enabled there. "
            f"{told}Set versions.rabbitmq to a version of the next series first."
        )
    elif old != new and number(present) < number(LAST_FLAGS.get(new, "0")):
        yield (
            f"RabbitMQ {present} cannot become {target}: it lacks feature flags that {new} "
            f"requires. Set versions.rabbitmq to {LAST_FLAGS[new]} or later of {old} first."
        )


def way(old: str, new: str) -> list[str]:
    """The series from one to another, by the fewest upgrades; none if that is not known."""
    ways = [[old]]
    for rungs in ways:
        ways += [[*rungs, following] for following in NEXT_SERIES.get(rungs[-1], ())]
    return min((rungs[1:] for rungs in ways if rungs[-1] == new), key=len, default=[])


def all_flags() -> Step:
    """Every stable feature flag is enabled on all nodes."""
    off = r"grep -qP '\tstable\tdisabled$'"
    return command(
        "all stable feature flags are enabled",
        "rabbitmqctl enable_feature_flag all",
        unless="flags=$(rabbitmqctl -q list_feature_flags name stability state) && "
        f'! {off} <<<"$flags"',
        timeout=300,
    )


def of_one(host: Host, cluster: Cluster, facts: Facts) -> Steps:
    """One node gets its packages, and is back before the next one begins."""
    yield wait_for("no alarm on any node", "rabbitmq-diagnostics -q check_alarms")
    yield from no_queue_needs_it(cluster)
    yield configuration(host, cluster, listens(host, cluster, facts))
    change = script("rabbitmq/upgrade.sh", packages=pinned(cluster))
    step = action(f"{host.name} runs {pinned(cluster)}", change, timeout=1800)
    yield step.clearing(RESTART)
    yield from steps.version_locked(wanted(cluster))
    yield all_run(members(cluster), cluster)


def no_queue_needs_it(cluster: Cluster) -> Steps:
    """Wait until every queue has its replicas again."""
    if len(members(cluster)) > 1:
        yield action("no queue needs this node", enough_replicas(cluster))


def pinned(cluster: Cluster) -> str:
    """The packages with their versions, as dnf takes them."""
    return " ".join(f"{name}-{version}" for name, version in wanted(cluster).items())


def downloaded(cluster: Cluster) -> Step:
    """The packages are on the host, so that no node waits for them while it is stopped."""
    return action(
        f"downloaded: {pinned(cluster)}",
        f"dnf install -y --downloadonly --disableplugin=versionlock {pinned(cluster)}",
        timeout=900,
    )
