"""`inv cluster.deploy`: the whole runbook, starting from servers without any setup."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

import msgspec
from invoke import Context, Exit, task

from runbook.declare.operations import CHECKS
from runbook.errors import USAGE, RunbookError
from runbook.execute.session import in_sentences
from runbook.inventory.entry import no_such
from runbook.results import DO, Status

from .checkpoint import digest, forget, keep, recall
from .session import session

if TYPE_CHECKING:
    from runbook.declare.contents import Contents
    from runbook.execute.run import Run
    from runbook.inventory.cluster import Cluster


class Done(msgspec.Struct):
    """The parts that succeeded, and for which inventory each did."""

    parts: dict[str, str] = {}


@dataclass
class Deployment:
    """One call of cluster.deploy: what is left to do, and the saved progress."""

    run: Run
    file: Path
    inventory: str
    done: Done
    began: dict[str, float]
    ignored: frozenset[str] = frozenset()
    """Preflight parts whose findings do not stop the deployment."""
    misused: bool = False
    """A part was refused because of the command line or a file on the controller."""

    def job(self, name: str) -> Any:
        """A part of the runbook, carried out with a run of its own."""

        def carry_out(run: Run) -> bool:
            from runbook.operate.checks import perform_named, refused, settled

            self.began[name] = time.monotonic()
            try:
                if name in self.ignored:
                    return unheeded(run, name)
                return settled(run) if name == CHECKS else perform_named(run, name)
            except RunbookError as error:
                refused(run, name, error)
                self.misused |= error.exit_code == USAGE
                return False

        return carry_out

    def ended(self, name: str, fine: bool) -> None:
        """Save that a part succeeded, before any other one is started."""
        seconds = time.monotonic() - self.began[name]
        self.run.report.say(f"{name}: {'done' if fine else 'failed'} after {seconds:.0f} s\n")
        if fine:
            self.done.parts[name] = self.inventory
            keep(self.file, self.done)


@task(
    help={
        "yes": "answer yes to every question, except whether to pin the servers' host keys",
        "accept_host_keys": "pin the host keys of new servers without a question",
        "from": "begin at this part, such as postgres, and skip the parts before it",
        "afresh": "do all of it again, even if an earlier call has done it",
        "ignore_preflight": "continue even if base.preflight finds errors",
        "update": "update all packages first (dnf upgrade), which may restart services",
        "json": "one JSON document instead of text",
    }
)
@in_sentences
def deploy(
    c: Context,
    yes: bool = False,
    accept_host_keys: bool = False,
    from_: str = "",
    afresh: bool = False,
    ignore_preflight: bool = False,
    update: bool = False,
    json: bool = False,
) -> None:
    """Carry out the whole runbook, from first contact to the checks; can be resumed.

    Before the first change, base.preflight checks the servers; errors end the deployment.
    Sections on different servers run at the same time. After a failure no further section starts,
    and those in progress are finished. After the fix, the same command continues there.
    A section that succeeded with another hosts.yaml runs again. On a cluster in the wanted state,
    nothing changes.
    """
    from runbook.execute.concurrent import run_concurrently
    from runbook.execute.run import Options

    with session(Options(yes=yes, accept_host_keys=accept_host_keys), json) as run:
        deployment = begun(run, afresh, ignore_preflight)
        everything = wanted(run.contents, run.cluster, update)
        parts = left_to_do(everything, deployment.done, deployment.inventory, from_)
        skipped = [name for name in everything if name not in parts]
        if skipped:
            run.report.say(f"done already: {', '.join(skipped)} (--afresh does them again)\n")
        jobs = {name: deployment.job(name) for name in parts}
        needs = {part.name: part.after for part in run.contents.parts}
        failed = run_concurrently(run, jobs, nearest(needs, parts), deployment.ended)
        run.report.recap(run.results, run.exit_code)
        if failed:
            not_done = [name for name in parts if name not in deployment.done.parts]
            run.report.say(way_on(failed, not_done))
        else:
            forget(deployment.file)
        code = ending(run, deployment, failed)
    if code:
        raise Exit(code=code)


def ending(run: Run, deployment: Deployment, failed: Optional[str]) -> int:
    """The exit code: that of a wrong command if nothing was changed because of it."""
    changed = any(result.count(Status.CHANGED) for result in run.results)
    if deployment.misused and not changed:
        return USAGE
    return run.exit_code or (1 if failed else 0)


def begun(run: Run, afresh: bool, ignore_preflight: bool = False) -> Deployment:
    """This call, with the progress of an earlier one."""
    file = run.cluster.state / "deploy.json"
    done = Done() if afresh else recall(file, Done)
    looking = {part.name for part in run.contents.parts if part.preflight and ignore_preflight}
    return Deployment(run, file, digest(run.cluster), done, {}, frozenset(looking))


def unheeded(run: Run, name: str) -> bool:
    """Carry out a preflight part; show its findings, but do not stop because of them."""
    from runbook.operate.checks import perform_named

    perform_named(replace(run, options=replace(run.options, keep_going=True)), name)
    for result in run.results:
        if result.task == name and result.fine:
            result.mode = DO
    return True


def wanted(contents: Contents, cluster: Cluster, update: bool) -> list[str]:
    """The parts of the runbook that this inventory has hosts for, in order.

    Without `update`, dnf upgrade is left out: it restarts services of a cluster that works.
    """
    from runbook.operate.checks import has_hosts

    return [
        part.name
        for part in contents.parts
        if has_hosts(contents, cluster, part.name) and (update or not part.on_request)
    ]


def left_to_do(parts: Sequence[str], done: Done, inventory: str, begin_at: str) -> list[str]:
    """What has not succeeded yet for this inventory, or all from a part on."""
    if not begin_at:
        return [name for name in parts if done.parts.get(name) != inventory]
    if begin_at not in parts:
        raise no_such(f"--from {begin_at} is not a part of the deployment", begin_at, parts)
    return list(parts[parts.index(begin_at) :])


def nearest(needs: Mapping[str, Sequence[str]], parts: Sequence[str]) -> dict[str, set[str]]:
    """The parts of these that each one needs; one that is left out is replaced by its own needs."""

    def of(name: str) -> set[str]:
        found: set[str] = set()
        for one in needs[name]:
            found |= {one} if one in parts else of(one)
        return found

    return {name: of(name) for name in parts}


def way_on(failed: str, left: Sequence[str]) -> str:
    """The message after a failure: what was not done, and the command to continue."""
    return (
        f"\n{failed} failed. Not done: {', '.join(left)}.\n"
        "After the fix, continue with: inv cluster.deploy"
    )
