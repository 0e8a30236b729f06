"""`inv cluster.reboot`: every server, a few at a time, without an outage where there is a spare."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec
from invoke import Context, Exit, task

from runbook.declare.facts import Fact
from runbook.errors import FAILED, RunbookError, UnreachableError
from runbook.execute.session import in_sentences

from ..shared.vitals import WHY_REBOOT
from .checkpoint import forget, keep, recall
from .session import session

if TYPE_CHECKING:
    from runbook.execute.run import Run
    from runbook.inventory.cluster import Cluster, Host

PENDING = Fact(
    "why it has to reboot",
    on="all",
    command=lambda cluster, host: (
        f"""why=$({WHY_REBOOT})
if [[ $why ]]; then echo "$why"
elif type needs-restarting >/dev/null 2>&1 && ! needs-restarting -r >/dev/null 2>&1
then echo "libraries that everything uses are new"
else echo "it need not"
fi"""
    ),
    parse=lambda text: "" if text.strip() == "it need not" else text.strip(),
    absent="it does not answer",
)
"""Empty if nothing asks for it."""


class Begun(msgspec.Struct):
    """A call that has not come to its end: the boot that each server was in when it began."""

    boots: dict[str, str] = {}


@task(
    help={
        "only-pending": "only servers that wait for it: a new kernel, or a change that asks for it",
        "afresh": "begin again, also with servers that an earlier call has rebooted",
        "plan": "connect, change nothing, show what would be done",
        "yes": "answer yes to every question",
    }
)
@in_sentences
def reboot(
    c: Context,
    only_pending: bool = False,
    afresh: bool = False,
    plan: bool = False,
    yes: bool = False,
) -> None:
    """Reboot the servers, never two with a role in common, leaders last. Asks.

    Refuses while a check finds something wrong or redundancy is gone, and goes on to the next
    servers only when all is whole again. Stopped half-way, the same command goes on with those that
    have not rebooted. What has no second server is away meanwhile: the question says what.
    """
    from runbook.execute.run import Options

    with session(Options(plan=plan, yes=yes)) as run:
        due = due_now(run, only_pending, afresh, plan)
        fine = not due or in_batches(run, due)
        if not due:
            run.report.say("No server has to reboot.")
        if fine and not plan and not only_pending:
            forget(run.cluster.state / "reboot.json")
        run.report.recap(run.results, run.exit_code)
        if not fine:
            run.report.say("\nAfter the fix, the same command continues with the other servers.")
        code = run.exit_code or (0 if fine else FAILED)
    if code:
        raise Exit(code=code)


def due_now(run: Run, only_pending: bool, afresh: bool, plan: bool) -> list[Host]:
    """The servers that have not rebooted since an earlier call began, or that wait for it."""
    from runbook.operate.phases import BOOT

    hosts = list(run.cluster.hosts.values())
    facts = run.gather([BOOT, PENDING], hosts)
    boots = facts.known(BOOT)
    silent = [host.name for host in hosts if host.name not in boots]
    if silent:
        raise UnreachableError(
            f"{', '.join(silent)} does not answer, so another one must not be away; bring it back "
            "first. Nothing was done."
        )
    if only_pending:
        for name, reason in facts.known(PENDING).items():
            if reason:
                run.report.say(f"{name}: {reason}")
        return [host for host in hosts if facts.known(PENDING).get(host.name)]
    file = run.cluster.state / "reboot.json"
    begun = Begun() if afresh else recall(file, Begun)
    left = not_yet(hosts, begun, boots)
    if len(left) < len(hosts):
        run.report.say(f"rebooted already: {names(one for one in hosts if one not in left)}")
    if not plan:
        keep(file, Begun({**boots, **begun.boots}))
    return left


def not_yet(hosts: Sequence[Host], begun: Begun, boots: Mapping[str, str]) -> list[Host]:
    """Those that are still in the boot in which the call found them."""
    return [host for host in hosts if begun.boots.get(host.name) in (None, boots[host.name])]


def in_batches(run: Run, due: Sequence[Host]) -> bool:
    """Batch after batch, each when all is whole again after the one before."""
    from runbook.operate import rolling
    from runbook.operate.checks import settled
    from runbook.operate.phases import carry_out
    from runbook.operate.phases import reboot as rebooted

    if not run.options.plan:
        rolling.refuse_if_broken(run)
    facts = run.gather(rolling.leader_facts(run.contents), due)
    order = rolling.batches(run.contents, due, run.cluster, facts)
    run.report.say(question(order, run.cluster))
    if not run.options.plan and not run.agreed():
        raise RunbookError("Nothing was done.")
    for batch in order:
        if not carry_out(run, "cluster.reboot", rebooted(run.contents), batch):
            return False
        if run.options.plan:
            continue
        if not settled(run, patience=rolling.PATIENCE, until=rolling.whole):
            return False
    return True


def question(order: Sequence[Sequence[Host]], cluster: Cluster) -> str:
    """Who reboots in which order, and what is away meanwhile."""
    rounds = "; ".join(f"{number}. {names(batch)}" for number, batch in enumerate(order, 1))
    text = f"{sum(map(len, order))} servers reboot, in {len(order)} rounds: {rounds}."
    due = {host.name for batch in order for host in batch}
    away = [
        f"{role.service} ({own[0].name})"
        for role in cluster.roles
        if role.service and len(own := cluster.group(role)) == 1 and own[0].name in due
    ]
    if not away:
        return text
    return f"{text}\nWithout a second server, and away meanwhile: {', '.join(away)}."


def names(hosts: Iterable[Host]) -> str:
    """Names of hosts, as one reads them."""
    return ", ".join(host.name for host in hosts)
