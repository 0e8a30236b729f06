"""Day-two operation: move the VIP to another server, and back. By name only."""

from __future__ import annotations

from collections.abc import Sequence

from runbook.declare.facts import Facts
from runbook.declare.steps import command, wait_for
from runbook.declare.work import Procedure, stage
from runbook.errors import RunbookError
from runbook.inventory.cluster import Cluster, Host, Vip
from runbook.inventory.entry import no_such

from ..shared import keepalived
from .common import AWAY, NETWORK, candidates, section
from .view import VIEW, View


@section.procedure(
    needs=[NETWORK, VIEW],
    on=candidates,
    help={"to": "the server that holds the VIP next (default: another one)"},
)
def failover(hosts: Sequence[Host], cluster: Cluster, facts: Facts, *, to: str = "") -> Procedure:
    """Move the VIP to the other server, or to --to HOST; clients connect again.

    It stays there until `failover --to` the preferred server, or a reboot of that one. If the
    server fails meanwhile, the preferred one takes over all the same.
    """
    vip, *more = keepalived.vips(cluster, "haproxy")
    if more:
        names = ", ".join(one.name for one in [vip, *more])
        raise RunbookError(f"{names}: failover supports exactly one VIP of role haproxy.")
    everybody = keepalived.members(cluster, vip)
    if to and to not in vip.members:
        raise no_such(f"{to} cannot hold {vip.name}", to, vip.members)
    holders = keepalived.holders(cluster, vip, facts)
    others = [member for member in everybody if member not in holders]
    target = cluster.hosts[to] if to else next(iter(others), everybody[0])
    refuse_unfit(target, vip, facts)
    yield stage(
        f"{target.name} may hold {vip.name}",
        target,
        command(f"{target.name} is not away", f"rm -f {AWAY}", unless=f"[[ ! -e {AWAY} ]]"),
    )
    preferred = [
        member
        for member in everybody[: everybody.index(target)]
        if member.name in facts.known(VIEW)
    ]
    if preferred:
        away = command("it is away", keepalived.sent_away(AWAY), unless=f"[[ -e {AWAY} ]]")
        yield stage(f"{', '.join(host.name for host in preferred)} leaves it", preferred, away)
    held = f"[[ $(ip -o -4 addr show to {vip.address}) ]]"
    yield stage(
        f"{target.name} takes {vip.name}",
        target,
        wait_for(f"{vip.name} is on {target.name}", held, timeout=30),
    )


def refuse_unfit(target: Host, vip: Vip, facts: Facts) -> None:
    """Refuse if the target's HAProxy or keepalived does not work."""
    view: View | None = facts.known(VIEW).get(target.name)
    if not view or not view.answers or not view.keepalived:
        lacks = "does not answer" if not view else "has no HAProxy that answers"
        if view and view.answers:
            lacks = "does not run keepalived"
        raise RunbookError(
            f"{target.name} {lacks}; {vip.name} was not moved. See fab haproxy.check"
        )
