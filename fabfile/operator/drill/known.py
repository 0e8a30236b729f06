"""Which drills there are: those of the sections, each server in turn, and all servers at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from runbook.declare import steps
from runbook.declare.contents import Contents
from runbook.declare.drills import (
    OK_AGAIN,
    POWER_LOSS,
    Deed,
    Drill,
    Load,
    Mark,
    Outage,
    Target,
    nothing,
)
from runbook.declare.facts import Facts
from runbook.declare.step import Steps
from runbook.inventory.cluster import Cluster, Host
from runbook.inventory.entry import no_such
from runbook.inventory.schema import Role

BACK = 60
"""Seconds after which the status has to be OK, once the power of all servers is back."""


def known(contents: Contents, cluster: Cluster) -> list[Drill]:
    """All drills of this inventory, in the runbook's order."""
    own = [
        drill
        for section in contents.sections
        if section.drill_function
        for drill in section.drill_function(cluster)
    ]
    return [*own, *of_hosts(contents, cluster)]


def loads(contents: Contents, cluster: Cluster) -> list[Load]:
    """The loads that have a host to run on."""
    return [load for section in contents.sections for load in section.loads if load.on(cluster)]


def chosen(names: Sequence[str], everything: Sequence[Drill]) -> list[Drill]:
    """The drills of these names, in the given order; UsageError for a name that there is not."""
    by_name = {drill.name: drill for drill in everything}
    for name in names:
        if name not in by_name:
            raise no_such(f"There is no drill {name}", name, by_name)
    return [by_name[name] for name in dict.fromkeys(names)]


def of_hosts(contents: Contents, cluster: Cluster) -> Iterator[Drill]:
    """Each server loses its power, or reboots; then all of them lose their power at once."""
    measured = tuple(load.name for load in loads(contents, cluster))
    for host in cluster.hosts.values():
        yield Drill(
            f"host-{host.name}",
            f"{host.name} loses its power.",
            Target(partial(only, host)),
            Outage(POWER_LOSS),
            measured,
            watch=60,
            patience=180,
        )
    for host in cluster.hosts.values():
        yield Drill(
            f"reboot-{host.name}",
            f"{host.name} reboots.",
            Target(partial(only, host)),
            Deed(rebooted, nothing, soft=True, roles=None),
            measured,
            watch=60,
            patience=600,
            gentle=True,
        )
    yield Drill(
        "all-power-loss",
        "All servers lose their power at the same moment, and get it back.",
        Target(everybody),
        Outage(POWER_LOSS),
        (OK_AGAIN,),
        Mark(seconds=BACK),
        watch=10,
        patience=10,
        alone=False,
        from_heal=True,
    )


def only(host: Host, cluster: Cluster, facts: Facts) -> Sequence[Host]:
    """This server."""
    return [host]


def everybody(cluster: Cluster, facts: Facts) -> Sequence[Host]:
    """All servers."""
    return list(cluster.hosts.values())


def rebooted(host: Host, cluster: Cluster) -> Steps:
    """It reboots a second later, so that it can still say so."""
    yield steps.action("it reboots", "systemd-run --quiet --on-active=1 systemctl reboot")


def gone(role: Role, struck: Sequence[Host], cluster: Cluster) -> bool:
    """Whether a role cannot do its work without these hosts, because too few others have it."""
    own = cluster.group(role)
    left = [host for host in own if host not in struck]
    if len(left) == len(own):
        return False
    return 2 * len(left) <= len(own) if role.majority else not left


def single_points(cluster: Cluster) -> list[str]:
    """What fails with one server, because no other has its role."""
    return [
        lacking(role, [host], cluster)
        for host in cluster.hosts.values()
        for role in cluster.roles
        if gone(role, [host], cluster)
    ]


def exposed(drill: Drill, struck: Sequence[Host], cluster: Cluster) -> list[str]:
    """What hosts.yaml has no second server for, if these hosts fail: a sentence for each role."""
    return [
        lacking(role, struck, cluster)
        for role in cluster.roles
        if drill.takes(role) and gone(role, struck, cluster)
    ]


def lacking(role: Role, struck: Sequence[Host], cluster: Cluster) -> str:
    """That too few hosts are left for a role, and the impact."""
    own = [host.name for host in cluster.group(role) if host in struck]
    one = len(cluster.group(role)) == 1
    who = (
        f"{own[0]} is the only {role.label}"
        if one
        else f"{' and '.join(own)} are too many {role.label}s"
    )
    return f"{who}: {role.loss or 'its work is not done'}"


def out(load: Load, drill: Drill, struck: Sequence[Host], cluster: Cluster) -> bool:
    """Whether a load cannot work until a drill's fault is healed: a role that it uses is gone."""
    return any(
        drill.takes(role) and gone(role, struck, cluster)
        for role in cluster.roles
        if role in load.uses
    )
