"""New passwords for Airflow's database and broker, and a new fernet key. By name only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from runbook.declare.facts import Fact, Facts
from runbook.declare.step import Steps
from runbook.declare.steps import action
from runbook.declare.work import Procedure, Question, Stage, stage
from runbook.inventory.cluster import Cluster, Host
from runbook.inventory.entry import no_such

from ..postgres.common import AIRFLOW as DATABASE_PASSWORD
from ..postgres.database import password
from ..postgres.members import MEMBER, leader
from ..rabbitmq.common import AIRFLOW as BROKER_PASSWORD
from ..rabbitmq.nodes import NODE, first_running
from ..rabbitmq.users import account
from ..shared.airflow import hosts
from . import services, transport
from .all_servers import refuse_a_part, set_up, start_in_batches
from .common import (
    CLI,
    FERNET,
    FERNET_NEXT,
    FERNET_OLD,
    FERNET_RETIRED,
    database_answers,
    first_scheduler,
    same_version,
    section,
)

WHAT = {"database": DATABASE_PASSWORD, "broker": BROKER_PASSWORD, "fernet": FERNET}
NEEDS: tuple[Fact[Any], ...] = (MEMBER, NODE, *transport.NEEDS)


@section.procedure(needs=NEEDS, help={"what": "database, broker or fernet (default: all three)"})
def secrets_rotate(
    hosts: Sequence[Host], cluster: Cluster, facts: Facts, *, what: str = ""
) -> Procedure:
    """Set new passwords for database and broker, and a new fernet key. Asks first.

    Database and broker: Airflow is stopped meanwhile. Fernet: everything keeps running, and
    restarts in turn. If the rotation is interrupted, rerun the command to complete it.
    """
    if what and what not in WHAT:
        raise no_such(f"{what} cannot be rotated", what, WHAT)
    refuse_a_part("airflow.secrets-rotate", hosts, cluster, facts)
    chosen = [what] if what else list(WHAT)
    for name in chosen:
        cluster.vault.refuse_overridden(WHAT[name])
    yield may_begin(chosen, cluster)
    passwords = [name for name in chosen if name != "fernet"]
    if passwords:
        yield from standing_still(passwords, cluster, facts)
    if "fernet" in chosen:
        yield from going_on(cluster, facts)


def may_begin(names: Sequence[str], cluster: Cluster) -> Stage:
    """Refuse if a server waits for an upgrade, or if a password that is kept is wrong."""

    def asked(host: Host) -> Steps:
        yield same_version(cluster)
        if "database" not in names and host in first_scheduler(cluster):
            yield database_answers(cluster)

    return stage("may it begin?", hosts(cluster), asked)


def standing_still(names: Sequence[str], cluster: Cluster, facts: Facts) -> Procedure:
    """Change passwords while Airflow is stopped, because they change for all servers at once.

    Neither change needs the old password, so an interrupted one is simply repeated.
    """
    servers = {"database": leader, "broker": first_running}
    places = {name: servers[name](cluster, facts) for name in names}
    yield Question(
        f"Airflow stops, gets a new password for its {' and its '.join(names)}, and starts. "
        "Running tasks may end first. Until it starts, no task begins, and there is no web UI."
    )
    yield from services.stop_all(services.service_hosts(cluster), cluster)
    for name, server in places.items():
        value = cluster.vault.renew(WHAT[name])
        change = (
            password("airflow", value)
            if name == "database"
            else account("airflow", WHAT[name], cluster)
        )
        yield stage(f"a new password for the {name}", server, change)
    yield set_up("every server gets it", cluster, facts)
    yield stage("it opens the database", first_scheduler(cluster), database_answers(cluster))
    yield from start_in_batches(services.service_hosts(cluster), cluster)


def going_on(cluster: Cluster, facts: Facts) -> Procedure:
    """Rotate the fernet key: all servers can read the new one before the first one writes with it.

    secrets.yaml records the progress, and fab airflow.configure follows it: key and next, then key
    and old, then the key alone. An interrupted rotation continues from there.
    """
    vault = cluster.vault
    yield Question(
        "Connections and variables are encrypted with a new key. Airflow keeps running, and "
        "restarts three times, server by server; workers end their tasks before they restart."
    )
    if not vault.knows(FERNET_OLD):
        if not vault.knows(FERNET_NEXT):
            vault.renew(FERNET_NEXT)
        yield from taken_up("every server can read the new key", cluster, facts)
        vault.put(FERNET_OLD, vault.get(FERNET))
        vault.put(FERNET, vault.get(FERNET_NEXT))
        vault.forget(FERNET_NEXT)
    yield from taken_up("every server writes with the new key", cluster, facts)
    yield stage(
        "encrypt connections and variables with the new key",
        first_scheduler(cluster),
        action("connections, variables and triggers have the new key", f"{CLI} rotate-fernet-key"),
    )
    vault.put(FERNET_RETIRED, vault.get(FERNET_OLD))
    vault.forget(FERNET_OLD)
    yield from taken_up("no server has the old key", cluster, facts)


def taken_up(title: str, cluster: Cluster, facts: Facts) -> Procedure:
    """Write new settings everywhere, and restart one server after the other with them."""
    yield set_up(title, cluster, facts)
    yield from services.restart_all(services.service_hosts(cluster), cluster)
