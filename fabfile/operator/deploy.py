"""`inv cluster.deploy`: the whole runbook, from servers that nobody has logged in to."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from invoke import Context, Exit, task

from ..engine.entry import perhaps
from ..engine.errors import RunbookError, UsageError
from ..engine.session import in_sentences, session
from .memory import digest, forget, keep, recall
from .sections import CHECKS, has_hosts, perform, refused, settled

if TYPE_CHECKING:
    from ..engine.cluster import Cluster
    from ..engine.run import Run

NEEDS: dict[str, tuple[str, ...]] = {
    "ssh.trust": (),
    "ssh.bootstrap": ("ssh.trust",),
    "base.update": ("ssh.bootstrap",),
    "base": ("base.update",),
    "hostnames": ("base",),
    "hosts": ("hostnames",),
    "ssh": ("hosts",),
    "python-build.start": ("ssh",),
    "postgres": ("python-build.start",),
    "rabbitmq": ("python-build.start",),
    "nfs": ("python-build.start",),
    "haproxy": ("python-build.start",),
    # It waits on VM1 for the compiler, and the mounts and HAProxy of VM1 would wait for it.
    "python-build": ("nfs", "haproxy"),
    "airflow": ("postgres", "rabbitmq", "nfs", "haproxy", "python-build"),
    "systemd": ("airflow",),
    CHECKS: ("systemd",),
    "airflow.smoke": (CHECKS,),
}
"""The runbook in its order: what `fab` is told, and which of these come before it.

What does not need each other is carried out at the same time.
"""

ONLY_IF_ASKED = "base.update"
"""dnf upgrade restarts services: on a cluster that works it must not happen by itself."""


class Done(msgspec.Struct):
    """The parts that succeeded, and for which inventory each did."""

    parts: dict[str, str] = {}


@dataclass
class Deployment:
    """One call of cluster.deploy: what is left to do, and what is remembered of it."""

    run: Run
    file: Path
    inventory: str
    done: Done
    began: dict[str, float]

    def job(self, name: str) -> Any:
        """A part of the runbook, carried out with a run of its own."""

        def carry_out(run: Run) -> bool:
            self.began[name] = time.monotonic()
            try:
                return settled(run) if name == CHECKS else perform(run, name)
            except RunbookError as error:
                refused(run, name, error)
                return False

        return carry_out

    def ended(self, name: str, fine: bool) -> None:
        """Remember what succeeded before anything else is started."""
        seconds = time.monotonic() - self.began[name]
        self.run.report.say(f"{name}: {'done' if fine else 'failed'} after {seconds:.0f} s\n")
        if fine:
            self.done.parts[name] = self.inventory
            keep(self.file, self.done)


@task(
    help={
        "yes": "answer yes to every question, such as whether host keys are the servers' own",
        "from": "begin at this part (postgres, say) and take for done what comes before it",
        "afresh": "do all of it, whatever an earlier call got done",
        "update": "bring all packages up to date first (dnf upgrade), which may restart services",
        "json": "one JSON document instead of text",
    }
)
@in_sentences
def deploy(
    c: Context,
    yes: bool = False,
    from_: str = "",
    afresh: bool = False,
    update: bool = False,
    json: bool = False,
) -> None:
    """Carry out the whole runbook, from first contact to the checks; resumes.

    Sections that touch different servers run at the same time. The first section that fails is the
    last: what is under way comes to its end, and the same command goes on there once it is mended.
    A section that succeeded under another hosts.yaml runs again. On a cluster that is as it should
    be, nothing changes.
    """
    from ..engine.beside import at_the_same_time
    from ..engine.run import Options

    with session(Options(yes=yes), json) as run:
        deployment = begun(run, afresh)
        parts = left_to_do(run.cluster, deployment.done, deployment.inventory, from_, update)
        skipped = [name for name in wanted(run.cluster, update) if name not in parts]
        if skipped:
            run.report.say(f"done already: {', '.join(skipped)} (--afresh does them again)\n")
        jobs = {name: deployment.job(name) for name in parts}
        failed = at_the_same_time(run, jobs, among(NEEDS, parts), deployment.ended)
        run.report.recap(run.exit_code)
        if failed:
            not_done = [name for name in parts if name not in deployment.done.parts]
            run.report.say(way_on(failed, not_done))
        else:
            forget(deployment.file)
        code = run.exit_code or (1 if failed else 0)
    if code:
        raise Exit(code=code)


def begun(run: Run, afresh: bool) -> Deployment:
    """This call, with what an earlier one has got done."""
    file = run.cluster.state / "deploy.json"
    done = Done() if afresh else recall(file, Done)
    return Deployment(run, file, digest(run.cluster), done, {})


def wanted(cluster: Cluster, update: bool) -> list[str]:
    """The parts of the runbook that this inventory has hosts for, in order."""
    return [
        name for name in NEEDS if has_hosts(name, cluster) and (update or name != ONLY_IF_ASKED)
    ]


def left_to_do(
    cluster: Cluster, done: Done, inventory: str, begin_at: str, update: bool
) -> list[str]:
    """What has not succeeded yet for this inventory, or all from a part on."""
    parts = wanted(cluster, update)
    if begin_at:
        if begin_at not in parts:
            raise UsageError(
                f"--from {begin_at}: there is no such part{perhaps(begin_at, parts)}; "
                f"there are {', '.join(parts)}."
            )
        return parts[parts.index(begin_at) :]
    return [name for name in parts if done.parts.get(name) != inventory]


def among(needs: dict[str, tuple[str, ...]], parts: Sequence[str]) -> dict[str, set[str]]:
    """What each part needs of these; what one needs that is left out, it needs instead of that."""

    def nearest(name: str) -> set[str]:
        found: set[str] = set()
        for one in needs[name]:
            found |= {one} if one in parts else nearest(one)
        return found

    return {name: nearest(name) for name in parts}


def way_on(failed: str, left: Sequence[str]) -> str:
    """What to type."""
    return (
        f"\n{failed} failed. Not done: {', '.join(left)}.\n"
        "When it is mended: inv cluster.deploy goes on there."
    )
