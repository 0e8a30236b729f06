"""Day-two operation: hand over, bring the standby up to date, appoint a leader. By name only."""

from __future__ import annotations

from collections.abc import Sequence

from runbook.declare.facts import Facts
from runbook.declare.step import Step
from runbook.declare.steps import action, command
from runbook.declare.templates import script
from runbook.declare.work import Procedure, Question, stage
from runbook.errors import RunbookError, UsageError
from runbook.inventory.cluster import Cluster, Host, host_named

from .common import (
    AS_USER,
    NETWORK,
    NUMBER,
    NUMBERS,
    RUN,
    SCRIPTS,
    SETTINGS,
    SYNC,
    USER,
    peer,
    section,
    servers,
)
from .state import SERVER, active, the_active
from .sync import numbers
from .vip import may_lead


@section.procedure(
    needs=[NETWORK, SERVER], help={"to": "the server that serves next (default: the other one)"}
)
def failover(hosts: Sequence[Host], cluster: Cluster, facts: Facts, *, to: str = "") -> Procedure:
    """Hand the share over to the other server, without losing files.

    Clients wait for seconds while the last changes are copied. --to HOST is refused if that server
    is active already.
    """
    first = the_active(cluster, facts)
    other = peer(first, cluster)
    if to and host_named(to, servers(cluster), "NFS server") == first:
        raise UsageError(f"{to} is active already.")
    known = facts.known(SERVER)
    if other.name not in known or not known[other.name].fit:
        raise RunbookError(
            f"{other.name} is not up to date, so it may not lead. See fab nfs.check."
        )
    yield stage(f"hand over from {first.name} to {other.name}", first, handover(first, other))
    yield stage(f"{first.name} follows", first, may_lead(first))


def handover(first: Host, other: Host) -> Step:
    """Block writes while the last changes are copied; then keepalived gives up the VIP.

    However that ends, this server serves again: if the other one did not take over, it keeps
    leading.
    """
    return action(
        f"{other.name} is active instead of {first.name}",
        script(
            "nfs/handover.sh",
            user=USER,
            scripts=SCRIPTS,
            run=RUN,
            sync=SYNC,
            ssh_config=f"{SETTINGS}/ssh_config",
        ),
    )


@section.procedure(
    needs=[NETWORK, SERVER],
    help={"max_delete": "remove up to this many files (default: nfs.max_delete)"},
)
def resync(
    hosts: Sequence[Host], cluster: Cluster, facts: Facts, *, max_delete: int = 0
) -> Procedure:
    """Bring the standby up to date; --plan lists the files. Asks first.

    Files that only the standby has, or that differ there, are kept in its /app1/airflow/rescued.
    With --max-delete N up to N files may be removed, instead of the number in hosts.yaml.
    """
    first = the_active(cluster, facts)
    standby = peer(first, cluster)
    behind = facts.of(SERVER, first).behind
    found = "" if behind is None else f" (files: {len(behind)})"
    yield Question(f"{standby.name} gets from {first.name} the files that it lacks{found}.")
    limit = f" {max_delete}" if max_delete else ""
    show = f"runuser -u {USER} -- {SCRIPTS}/push --show"
    yield stage(
        f"copy to {standby.name}",
        first,
        command(
            f"{standby.name} has what {first.name} has",
            f"systemctl stop {SYNC}\n"
            f"runuser -u {USER} -- {SCRIPTS}/push{limit} || "
            f"{{ systemctl start --no-block {SYNC}; exit 1; }}\n"
            f"systemctl start {SYNC}",
            unless=f"lacks=$({show}) && [[ ! $lacks ]] && systemctl is-active -q {SYNC}",
            timeout=6 * 3600,
        ).showing(show),
    )


LEAP = 10
"""Generations that the other server may have begun unseen: an appointed leader is newer."""


@section.procedure(
    needs=[NETWORK],
    help={
        "host": "the server that is to lead",
        "i_know": "accept the loss of newer files that the other server may have",
    },
)
def lead(
    hosts: Sequence[Host], cluster: Cluster, facts: Facts, *, host: str, i_know: bool = False
) -> Procedure:
    """Let a server lead although the other one may have newer files.

    Needs --i-know.

    For use when the server that led last is lost. If it comes back, files that only it has are kept
    in its /app1/airflow/rescued.
    """
    chosen = host_named(host, servers(cluster), "NFS server")
    holder = active(cluster, facts)
    if holder:
        raise UsageError(f"{holder.name} is active; to move the share: fab nfs.failover")
    if not i_know:
        raise UsageError(
            f"{peer(chosen, cluster).name} may have files that {host} lacks; clients would see the "
            "older ones. If that is intended, add --i-know."
        )
    yield Question(f"{host} leads with the files that it has.")
    yield stage(
        f"{host} may lead",
        chosen,
        numbers(),
        command(
            f"{host} may lead",
            f"own=$({NUMBERS} get generation) || own=0\n"
            f"[[ $own =~ {NUMBER} ]] || own=0\n"
            f"{NUMBERS} set generation $((own + {LEAP}))\n"
            f"{AS_USER} touch {RUN}/fit",
            unless=f"[[ -e {RUN}/fit ]]",
        ),
    )
