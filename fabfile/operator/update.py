"""`fab base.update`: new packages on a few servers at a time, the leaders last."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..base import section
from ..engine import steps
from ..engine.cluster import Cluster, Host
from ..engine.errors import RunbookError
from ..engine.section import Fact
from ..engine.step import Steps, quote
from .reboot import Whole, names, refuse_if_broken
from .rolling import BEFORE_RESTARTS, PLACES, batches
from .sections import settled

if TYPE_CHECKING:
    from ..engine.run import Run

SERVICES = {
    "postgres": ("patroni.service", "etcd.service"),
    "rabbitmq": ("rabbitmq-server.service",),
    "nfs": ("nfs-server.service",),
    "haproxy": ("haproxy.service",),
    "airflow": ("airflow-*.service",),
    "systemd": ("airflow-*.service",),
}
"""By section: services that new packages may restart."""

SERVES = Fact(
    "which services run",
    on="all",
    command=lambda cluster, host: "\n".join(
        f"if systemctl is-active -q {' '.join(map(quote, units))}; then echo {name}; fi"
        for name, units in SERVICES.items()
    ),
    parse=lambda text: frozenset(text.split()) & set(SERVICES),
    absent="it does not answer",
)
"""The sections of which a service runs on a host."""

OUTDATED = Fact(
    "whether packages are out of date",
    on="all",
    command=lambda cluster, host: "dnf -q --refresh check-update >/dev/null 2>&1; echo $?",
    parse=lambda text: text.strip() != "0",
    absent="it does not answer",
)


def in_turn(run: Run, hosts: Sequence[Host]) -> Iterator[Sequence[Host]]:
    """Batches: first, all at once, the servers on which new packages restart nothing.

    The others go as in a reboot: no two with a role in common, and leaders last, which hand over
    before their turn. After each batch, the checks of all sections at work find nothing wrong.
    """
    everywhere = replace(run, options=replace(run.options, hosts=""))
    facts = run.gather([OUTDATED, SERVES, *PLACES], list(run.cluster.hosts.values()))
    serving: dict[str, frozenset[str]] = facts.known(SERVES)
    outdated: dict[str, bool] = facts.known(OUTDATED)
    at_work = [one for one in hosts if serving.get(one.name) and outdated.get(one.name, True)]
    at_once = [host for host in hosts if host not in at_work]
    if at_once:
        yield at_once
    order = batches(at_work, run.cluster, facts)
    if run.options.plan:
        yield from order
        return
    sections = sorted({name for names in serving.values() for name in names})
    if order:
        refuse_if_broken(everywhere, sections)
    for number, batch in enumerate(order):
        if not BEFORE_RESTARTS.carry_out(everywhere, "base.update", batch):
            raise RunbookError(f"{not_updated(order[number:])} Fix the failed step, then rerun.")
        yield batch
        if not settled(everywhere, sections, patience=600, until=Whole(run.cluster)):
            raise RunbookError(
                f"The checks find errors after the update of {names(batch)}. "
                f"{not_updated(order[number + 1 :])} Fix the errors, then rerun: fab base.update"
            )


def not_updated(left: Sequence[Sequence[Host]]) -> str:
    """Which servers the update did not reach."""
    hosts = [host for batch in left for host in batch]
    return f"Not updated: {names(hosts)}." if hosts else "All servers have been updated."


@section.task(alone=True, rolling=in_turn)
def update(host: Host, cluster: Cluster) -> Steps:
    """Bring all packages up to date (dnf upgrade), in batches. By name only.

    New packages may restart services. So servers at work are updated like `inv cluster.reboot`
    reboots them: never two with a role in common, leaders last, the next ones only when all checks
    are fine again. It refuses to begin while a check finds an error.
    """
    yield steps.updated()
