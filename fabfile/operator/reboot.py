"""`inv cluster.reboot`: reboots servers a few at a time, with no outage of what is redundant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec
from invoke import Context, Exit, task

from runbook.declare.answers import Line, one
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
    parse=lambda text: "" if text.strip() == "it need not" else one(text.strip(), Line),
    absent="it does not answer",
)
"""Empty if it does not have to."""


class Begun(msgspec.Struct):
    """A call that has not finished: the boot that each server was in when it began."""

    boots: dict[str, str] = {}


@task(
    help={
        "only-pending": "only servers that need it: for a new kernel, or to complete a change",
        "afresh": "begin again, including servers that an earlier call has rebooted",
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
    """Reboot the servers, never two with a role in common, leaders last. Asks first.

    It refuses while a check finds something wrong or redundancy is lost, and continues with the
    next servers only when the cluster is healthy again. If it is interrupted, the same command
    continues with the servers that have not rebooted. A service without a second server is
    unavailable meanwhile; the question names it.
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
            f"{', '.join(silent)} does not answer, so no other server may be rebooted. Bring it "
            "back first. Nothing was done."
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
    """The servers that have not rebooted since the call began."""
    return [host for host in hosts if begun.boots.get(host.name) in (None, boots[host.name])]


def in_batches(run: Run, due: Sequence[Host]) -> bool:
    """Reboot batch after batch, each when the cluster is healthy again after the one before."""
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
    """Which servers reboot in which order, and what is unavailable meanwhile."""
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
    return f"{text}\nUnavailable meanwhile, without a second server: {', '.join(away)}."


def names(hosts: Iterable[Host]) -> str:
    """The names of hosts, separated by commas."""
    return ", ".join(host.name for host in hosts)
