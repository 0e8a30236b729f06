"""`inv cluster.reboot`: every server, a few at a time, without an outage where there is a spare."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Optional

import msgspec
from invoke import Context, Exit, task

from ..engine.errors import FAILED, RunbookError, UnreachableError
from ..engine.probes import REDUNDANCY
from ..engine.session import in_sentences, session
from .memory import forget, keep, recall
from .sections import settled

if TYPE_CHECKING:
    from ..engine.cluster import Cluster, Host
    from ..engine.results import HostResult
    from ..engine.run import Run

ONLY = {
    "postgres": "the database",
    "rabbitmq": "the message queue",
    "nfs": "the share",
    "haproxy": "the address of database and web",
    "scheduler": "the scheduler",
    "webserver": "the web UI",
    "worker": "the worker",
}
"""By role: what is away while the only server that has it reboots."""


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
    from ..engine.run import Options

    with session(Options(plan=plan, yes=yes)) as run:
        due = due_now(run, only_pending, afresh, plan)
        fine = not due or in_batches(run, due)
        if not due:
            run.report.say("No server has to reboot.")
        if fine and not plan and not only_pending:
            forget(run.cluster.state / "reboot.json")
        run.report.recap(run.exit_code)
        if not fine:
            run.report.say("\nWhen it is mended: the same command goes on with the others.")
        code = run.exit_code or (0 if fine else FAILED)
    if code:
        raise Exit(code=code)


def due_now(run: Run, only_pending: bool, afresh: bool, plan: bool) -> list[Host]:
    """The servers that have not rebooted since an earlier call began, or that wait for it."""
    from .leg import ANSWERS
    from .rolling import PENDING

    hosts = list(run.cluster.hosts.values())
    facts = run.gather([ANSWERS, PENDING], hosts)
    boots: dict[str, str] = facts.known(ANSWERS)
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


def not_yet(hosts: Sequence[Host], begun: Begun, boots: dict[str, str]) -> list[Host]:
    """Those that are still in the boot in which the call found them."""
    return [host for host in hosts if begun.boots.get(host.name) in (None, boots[host.name])]


def in_batches(run: Run, due: Sequence[Host]) -> bool:
    """Batch after batch, each when all is whole again after the one before."""
    from .rolling import IN_TURN, PLACES, batches

    if not run.options.plan:
        refuse_if_broken(run)
    order = batches(due, run.cluster, run.gather(PLACES, due))
    run.report.say(question(order, run.cluster))
    if not run.options.plan and not run.agreed():
        raise RunbookError("Nothing was done.")
    for batch in order:
        if not IN_TURN.carry_out(run, "cluster.reboot", batch):
            return False
        if not run.options.plan and not settled(run, patience=600, until=Whole(run.cluster)):
            return False
    return True


class Whole:
    """Whether the checks find nothing wrong, and everything can lose a server that has two."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def __call__(self, results: Sequence[HostResult]) -> bool:
        return not broken(results, self.cluster)


def refuse_if_broken(run: Run, sections: Optional[Sequence[str]] = None) -> None:
    """Nothing is begun that would take away what is left of these sections, or of all."""
    whole = Whole(run.cluster)
    before = len(run.report.results)
    if settled(run, sections, patience=0, until=whole):
        return
    found = broken(run.report.results[before:], run.cluster)
    raise RunbookError(
        f"Not begun, as the cluster is not whole: {'; '.join(found[:5])}. "
        "Mend that first: inv cluster.check"
    )


def broken(results: Sequence[HostResult], cluster: Cluster) -> list[str]:
    """What is wrong, and what could not lose a server although it has several."""
    found = []
    for result in results:
        section = result.task.partition(".")[0]
        if result.status in {"unreachable", "refused"}:
            found.append(f"{result.host} is {result.status}")
        several = len(cluster.group(section)) > 1
        for part in result.parts:
            margin_gone = (
                part.title.startswith(f"{REDUNDANCY}: ") and part.status != "ok" and several
            )
            if part.status in {"error", "unknown", "failed"} or margin_gone:
                found.append(f"{section}: {part.title}")
    return list(dict.fromkeys(found))


def question(order: Sequence[Sequence[Host]], cluster: Cluster) -> str:
    """Who reboots in which order, and what is away meanwhile."""
    rounds = "; ".join(f"{number}. {names(batch)}" for number, batch in enumerate(order, 1))
    text = f"{sum(map(len, order))} servers reboot, in {len(order)} rounds: {rounds}."
    due = {host.name for batch in order for host in batch}
    away = [
        f"{what} ({own[0].name})"
        for role, what in ONLY.items()
        if len(own := cluster.group(role)) == 1 and own[0].name in due
    ]
    if not away:
        return text
    return f"{text}\nWithout a second server, and away meanwhile: {', '.join(away)}."


def names(hosts: Iterable[Host]) -> str:
    """Names of hosts, as one reads them."""
    return ", ".join(host.name for host in hosts)
