"""New passwords for the database's own roles and for Patroni, while everything runs."""

from __future__ import annotations

from collections.abc import Sequence

from runbook.declare.facts import Facts
from runbook.declare.step import Step
from runbook.declare.steps import wait_for
from runbook.declare.work import Procedure, Question, stage
from runbook.errors import RunbookError
from runbook.inventory.cluster import Cluster, Host
from runbook.inventory.entry import no_such

from .common import MAJOR, REPLICATION, REST_API, REWIND, SUPERUSER, members, rest, section
from .database import password
from .members import MEMBER, leader, replicas, serves
from .patroni import present
from .settings import Postgres
from .transport import TRANSPORT

WHAT = {
    "superuser": SUPERUSER,
    "replication": REPLICATION,
    "rewind": REWIND,
    "restapi": REST_API,
}
ROLE = {"superuser": "postgres", "replication": "replicator", "rewind": "rewinder"}
"""The roles of the database among them; the REST API's password is Patroni's own."""


@section.procedure(
    needs=[MEMBER, MAJOR, TRANSPORT],
    help={"what": "superuser, replication, rewind or restapi (default: all four)"},
)
def rotate(hosts: Sequence[Host], cluster: Cluster, facts: Facts, *, what: str = "") -> Procedure:
    """Set new passwords for superuser, replication, rewind and Patroni's REST API.

    Nothing stops: replicas connect again one after the other, with the new password. If it is
    interrupted, rerun the command. For Airflow's own password: fab airflow.secrets-rotate.
    """
    if what and what not in WHAT:
        raise no_such(f"{what} cannot be rotated", what, WHAT)
    first = leader(cluster, facts)
    refuse_without_members(cluster, facts)
    chosen = [what] if what else list(WHAT)
    for name in chosen:
        cluster.vault.refuse_overridden(WHAT[name])
    yield Question(
        f"New passwords for: {', '.join(chosen)}. Nothing stops; replicas connect again in turn."
    )
    values = {name: cluster.vault.renew(WHAT[name]) for name in chosen}
    roles = [password(ROLE[name], values[name]) for name in chosen if name in ROLE]
    if roles:
        yield stage("new passwords in the database", first, *roles)
    for host in [*replicas(cluster, facts), first]:
        settings = present(host, cluster, facts)
        yield stage(f"Patroni on {host.name} uses them", host, settings)
        yield stage(
            f"{host.name} is in its place", host, in_place(host, cluster), follow(first, cluster)
        )


def refuse_without_members(cluster: Cluster, facts: Facts) -> None:
    """Refuse while a member does not answer: it would keep the old passwords."""
    away = [host.name for host in members(cluster) if host.name not in facts.known(MEMBER)]
    if away:
        raise RunbookError(
            f"{', '.join(away)} does not answer; it would keep the old passwords. "
            "See fab postgres.check."
        )


def in_place(host: Host, cluster: Cluster) -> Step:
    """It leads or streams, also after the loop in which Patroni connects it again."""
    seconds = cluster[Postgres].loop_wait + 1
    return wait_for(
        f"{host.name} leads or streams", f"{{ sleep {seconds}; {serves(host)}; }}", timeout=120
    )


def follow(first: Host, cluster: Cluster) -> Step:
    """The leader has its replicas before the next one connects again."""
    streaming = f'curl -s -m 3 {rest(first)}/cluster | grep -o \'"state": *"streaming"\' | wc -l'
    test = f"(( $({streaming}) >= {len(members(cluster)) - 1} ))"
    return wait_for("all replicas stream from the leader", test, timeout=120)
