"""Airflow's vhost and user, an administrator, and no other user."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from runbook.declare import steps
from runbook.declare.facts import Facts
from runbook.declare.step import Step, Steps, quote
from runbook.declare.steps import with_stdin
from runbook.errors import RunbookError
from runbook.inventory.cluster import Cluster, Host
from runbook.secrets.vault import Secret

from ..shared.versions import Versions
from .common import ADMIN, AIRFLOW, COOKIE, VHOST, api, node, section
from .nodes import NODE, STATE, first_running

DELAYS = "celery_delayed_[0-9]+"


@section.task(needs=[NODE])
def users(host: Host, cluster: Cluster, facts: Facts) -> Steps:
    """Create the vhost airflow, its user, the administrator; remove guest."""
    first = first_running(cluster, facts)
    if not cluster.vault.knows(COOKIE):
        raise RunbookError(
            f"{cluster.vault.file} does not have the nodes' cookie, so it is not this cluster's. "
            "Copy the cluster's file here. Nothing was changed."
        )
    if host != first:
        return
    yield account("admin", ADMIN, cluster, f"{api(cluster, 'whoami')} >/dev/null")
    yield steps.command(
        "user admin is an administrator",
        "rabbitmqctl set_user_tags admin administrator",
        unless=f"{api(cluster, 'users/admin')} | grep -q administrator",
    )
    yield vhost(cluster)
    yield account("airflow", AIRFLOW, cluster)
    for name in ("airflow", "admin"):
        yield steps.command(
            f"user {name} may use vhost {VHOST}",
            f"rabbitmqctl set_permissions -p {VHOST} {name} '.*' '.*' '.*'",
            unless=f"{api(cluster, f'permissions/{VHOST}/{name}')} "
            '| grep -q \'"configure":".\\*","write":".\\*","read":".\\*"\'',
        )
    yield steps.command(
        "there is no user guest",
        "rabbitmqctl delete_user guest",
        unless=f"! {api(cluster, 'users/guest')}",
    )


def vhost(cluster: Cluster) -> Step:
    """Airflow's vhost, whose queues are of the type that this Airflow can use."""
    kind = "quorum" if cluster[Versions].quorum_queues else "classic"
    too_old = (
        "RabbitMQ before 3.11.14 cannot change that of a vhost that exists. To delete it with its "
        f"queues: rabbitmqctl delete_vhost {VHOST}"
    )
    return steps.command(
        f"vhost {VHOST} with {kind} queues by default",
        f"""if rabbitmqctl -q list_vhosts | grep -x {VHOST} >/dev/null
then
  rabbitmqctl update_vhost_metadata {VHOST} --default-queue-type {kind} ||
    {{ echo '{too_old}'; exit 1; }}
else rabbitmqctl add_vhost {VHOST} --default-queue-type {kind}
fi""",
        unless=f'{api(cluster, f"vhosts/{VHOST}")} | grep -q \'"default_queue_type":"{kind}"\'',
    )


def account(name: str, secret: Secret, cluster: Cluster, login: str = "") -> Step:
    """A user with the password of secrets.yaml, which is read from standard input.

    `login`: a command that succeeds with this password only, tried before rabbitmqctl.
    """
    # From 3.13 on, rabbitmqctl reads standard input only if it has no options (its own script).
    authenticates = f"printf '%s' \"$text\" | rabbitmqctl authenticate_user {name} >/dev/null"
    return with_stdin(
        f"user {name} with the password of secrets.yaml",
        f"""if rabbitmqctl -q list_users | cut -f1 | grep -x {name} >/dev/null
then change=change_password
else change=add_user
fi
rabbitmqctl "$change" {name}""",
        cluster.secret(secret),
        unless=f"{login} || {authenticates}" if login else authenticates,
    )


@section.task(needs=[NODE])
def policies(host: Host, cluster: Cluster, facts: Facts) -> Steps:
    """Mirror queues for Airflow 2.7.3; later versions use quorum queues instead."""
    if host != first_running(cluster, facts):
        return
    present = f"{api(cluster, f'policies/{VHOST}/mirrored')}"
    if not cluster[Versions].quorum_queues:
        definition = '{"ha-mode":"exactly","ha-params":2,"ha-sync-mode":"automatic"}'
        yield steps.command(
            "queues are mirrored to a second node",
            f"rabbitmqctl set_policy -p {VHOST} --apply-to queues mirrored '.*' '{definition}'",
            unless=f'{present} | grep -q \'"ha-mode":"exactly"\'',
        )
        return
    yield steps.command(
        "no queue is mirrored",
        f"rabbitmqctl clear_policy -p {VHOST} mirrored",
        unless=f"! {present}",
    )


def delays(queue: Mapping[str, Any]) -> bool:
    """Whether this is one of Celery's queues for delayed tasks, of which Airflow has none."""
    return bool(re.fullmatch(DELAYS, queue["name"])) and queue.get("state") == "running"


def no_classic_delays() -> Step:
    """Celery's empty queues for delayed tasks make room for quorum queues of the same names.

    A worker declares them when it starts, and with their only node down it would wait for minutes.
    """
    listed = f"rabbitmqctl -q list_queues -p {VHOST} --silent name type state messages"
    stale = f"{listed} | grep -P '^{DELAYS}\\tclassic\\trunning\\t0$'"
    return steps.command(
        "Celery's queues for delayed tasks are not on one node only",
        f"{stale} | while read -r name _\n"
        f'do rabbitmqctl delete_queue -p {VHOST} --if-empty "$name" </dev/null\ndone',
        unless=f"! {stale}",
        timeout=300,
    )


@section.task(needs=[NODE, STATE])
def queues(host: Host, cluster: Cluster, facts: Facts) -> Steps:
    """Give every quorum queue a replica on every node, including new nodes."""
    views = facts.known(STATE).values()  # a node that has just joined may have none of its own yet
    if not any(node(host) in view.running for view in views):
        return
    stale = any(delays(queue) for view in views for queue in view.classic_queues)
    if stale and cluster[Versions].quorum_queues and host == first_running(cluster, facts):
        yield no_classic_delays()
    lacking = f'$1 == "quorum" && !/{node(host)}[^0-9a-z-]/ {{ found = 1 }} END {{ exit !found }}'
    listed = 'rabbitmqctl -q list_queues -p "$vhost" type members </dev/null'
    everywhere = f"rabbitmqctl -q list_vhosts --silent | while read -r vhost; do {listed}; done"
    if any(node(host) not in one["members"] for view in views for one in view.quorum_queues):
        none_lacks = f"! {everywhere} | awk {quote(lacking)}"
        # A queue refuses a new member while another node becomes one.
        yield steps.command(
            f"every quorum queue has a replica on {host.name}",
            f"for _ in {{1..10}}; do\n  rabbitmq-queues grow {node(host)} all || :\n"
            f"  if {none_lacks}; then break; fi\n  sleep 2\ndone",
            unless=none_lacks,
            timeout=300,
        )
