"""A section's share in starting, stopping or freeing hosts, carried out as a procedure."""

from __future__ import annotations

from collections.abc import Sequence

from runbook.declare import steps
from runbook.declare.answers import BootId, one
from runbook.declare.contents import Contents
from runbook.declare.facts import Fact, Facts
from runbook.declare.operations import Phase
from runbook.declare.work import Procedure, ProcedureTask, stage
from runbook.execute.run import Run
from runbook.execute.tasks import perform
from runbook.inventory.cluster import Cluster, Host

BOOT = Fact(
    "whether it answers",
    on="all",
    command=lambda cluster, host: "cat /proc/sys/kernel/random/boot_id",
    parse=lambda text: one(text.strip(), BootId),
    absent="it does not answer",
)
"""The id of a host's current boot, which changes with every boot."""


def carry_out(run: Run, task: str, phase: Phase, hosts: Sequence[Host]) -> bool:
    """Carry out the phase's stages on these hosts; False if one fails."""

    def chosen(cluster: Cluster) -> Sequence[Host]:
        return hosts

    work = ProcedureTask(
        name=task,
        doc=phase.stages.__doc__ or "",
        on=chosen,
        function=phase.stages,
        needs=phase.needs,
    )
    return perform(run, work, {})


def before_restarts(contents: Contents) -> Phase:
    """Every section frees hosts whose services are about to restart."""
    return _freeing(contents, reboot=False)


def reboot(contents: Contents) -> Phase:
    """Every section frees the hosts, then these reboot."""
    return _freeing(contents, reboot=True)


def _freeing(contents: Contents, reboot: bool) -> Phase:
    phases = [phase for phase in contents.free_phases if reboot or not phase.reboot_only]
    needs = dict.fromkeys(fact for phase in phases for fact in phase.needs)

    def stages(hosts: Sequence[Host], cluster: Cluster, facts: Facts) -> Procedure:
        """Hand over what these hosts lead, and reboot them."""
        for phase in phases:
            yield from phase.stages(hosts, cluster, facts)
        if reboot:
            yield stage("reboot", hosts, steps.reboot())

    return Phase("reboot" if reboot else "restart", stages, tuple(needs))


def power_off(hosts: Sequence[Host], cluster: Cluster, facts: Facts) -> Procedure:
    """Switch off all servers, three seconds after they have confirmed it."""
    switch = "systemd-run --quiet --on-active=3 systemctl poweroff"
    yield stage("switch the servers off", hosts, steps.action("it powers off", switch))
