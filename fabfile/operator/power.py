"""`inv cluster.stop` and `cluster.start`: a planned power cycle of everything, in order."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from invoke import Context, Exit, task

from runbook.declare.operations import Phase
from runbook.errors import RunbookError, UnreachableError
from runbook.execute.session import in_sentences

from .session import session

if TYPE_CHECKING:
    from runbook.execute.run import Run
    from runbook.inventory.cluster import Cluster, Host

BOOTING = 600
"""Seconds that servers have to answer after they were switched on."""

HELP = {
    "without": "servers to leave out, such as broken ones: mq2,sql3",
    "plan": "connect, change nothing, show what would be done",
}


@task(
    help={
        **HELP,
        "power-off": "switch the servers off once everything has stopped",
        "yes": "answer yes to every question",
    }
)
@in_sentences
def stop(
    c: Context, power_off: bool = False, without: str = "", plan: bool = False, yes: bool = False
) -> None:
    """Stop everything in the right order, for a planned power cycle. Asks first.

    Airflow stops first: schedulers, then workers when their tasks have ended. Then the clients
    unmount the share, the VIPs go down, and the database (replicas, leader, etcd), the message
    queue and the share stop. What starts at boot still does. A second call changes nothing.
    """
    from runbook.execute.run import Options
    from runbook.operate.phases import carry_out
    from runbook.operate.phases import power_off as switch_off

    with session(Options(plan=plan, yes=yes)) as run:
        hosts = answering(run, chosen(run.cluster, without), patience=0)
        run.report.say(
            f"Airflow and everything it needs stops on {len(hosts)} servers"
            f"{', which are then switched off' if power_off else ''}. "
            "Running tasks end first, however long they take."
        )
        if not plan and not run.agreed():
            raise RunbookError("Nothing was done.")
        phases = used(run, run.contents.stop_phases)
        fine = all(carry_out(run, "cluster.stop", phase, hosts) for phase in phases)
        if fine and power_off:
            fine = carry_out(run, "cluster.stop", Phase("power", switch_off), hosts)
        run.report.recap(run.results, run.exit_code)
        if fine and not plan:
            run.report.say("\nTo start it again: inv cluster.start")
        code = run.exit_code
    if code:
        raise Exit(code=code)


@task(help={**HELP, "wait": f"seconds that servers have to answer (default: {BOOTING})"})
@in_sentences
def start(c: Context, without: str = "", wait: int = BOOTING, plan: bool = False) -> None:
    """Start everything in the right order, after cluster.stop or a power failure.

    Waits for the servers, then starts the share, the message queue, the database (first the server
    that led last), the VIPs and Airflow, each when the checks of the one before find nothing wrong.
    At the end it runs all checks. A second call changes nothing.
    """
    from runbook.execute.run import Options
    from runbook.operate.checks import settled
    from runbook.operate.phases import carry_out

    with session(Options(plan=plan)) as run:
        hosts = answering(run, chosen(run.cluster, without), patience=0 if plan else wait)
        phases = used(run, run.contents.start_phases)
        for phase in phases:
            fine = carry_out(run, "cluster.start", phase, hosts)
            if fine and not plan and phase is not phases[-1] and not without:
                fine = settled(run, [phase.name])
            if not fine:
                run.report.say(
                    f"\n{phase.name} did not start. Fix it, then rerun: inv cluster.start"
                )
                break
        else:
            if not plan:
                settled(run)
        run.report.recap(run.results, run.exit_code)
        code = run.exit_code
    if code:
        raise Exit(code=code)


def used(run: Run, phases: Sequence[Phase]) -> list[Phase]:
    """The phases of sections that this inventory has hosts for."""
    from runbook.operate.checks import has_hosts

    return [phase for phase in phases if has_hosts(run.contents, run.cluster, phase.name)]


def chosen(cluster: Cluster, without: str) -> list[Host]:
    """All servers but these."""
    left_out = cluster.select(without) if without else []
    return [host for host in cluster.hosts.values() if host not in left_out]


def answering(run: Run, hosts: Sequence[Host], patience: float) -> list[Host]:
    """These hosts, once all of them answer; UnreachableError if one does not in time."""
    from runbook.execute.concurrent import separate_run
    from runbook.operate.phases import BOOT

    deadline, waited = time.monotonic() + patience, ""
    while True:
        attempt = separate_run(run, run.connections, run.report, fresh=True)
        known = attempt.gather([BOOT], hosts).known(BOOT)
        silent = ", ".join(host.name for host in hosts if host.name not in known)
        if not silent:
            return list(hosts)
        if time.monotonic() > deadline:
            within = f" within {patience:.0f} s" if patience else ""
            raise UnreachableError(
                f"{silent} did not answer{within}; nothing was done. Bring it back, or leave it "
                f"out: --without {silent.replace(' ', '')}"
            )
        if silent != waited:
            run.report.say(f"waiting for {silent}")
            waited = silent
        time.sleep(2)
