"""`inv drill.list`, `run`, `all`, `report` and `clean`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from invoke import Collection, Context, Exit, task

from runbook.declare.drills import Drill
from runbook.errors import FAILED, UsageError
from runbook.execute.session import in_sentences
from runbook.visible import in_json

from ..session import configured, session
from .ground import Ground, here

if TYPE_CHECKING:
    from runbook.inventory.cluster import Cluster

    from .ledger import Entry

MOST = 100
"""How often a drill may be repeated by one command."""

HELP = {
    "times": "how often each drill is carried out (default: 1)",
    "cluster": "on real servers, the cluster's name, which is asked for otherwise",
    "json": "one JSON document instead of text",
}


@task(
    name="list",
    help={"soft": "only those that real servers may have", "json": HELP["json"]},
)
@in_sentences
def list_(c: Context, soft: bool = False, json: bool = False) -> None:
    """List the drills: what fails, and what it may cost.

    It connects to no host. What hosts.yaml has no second server for is said below.
    """
    from .listing import listed, text

    cluster = configured()
    drills = [drill for drill in everything(cluster) if drill.soft or not soft]
    print(in_json(listed(drills, cluster), indent=2) if json else text(drills, cluster))


@task(
    positional=["name"],
    iterable=["name"],
    auto_shortflags=False,
    help={
        **HELP,
        "name": "a drill, or several; see inv drill.list",
        "plan": "connect, change nothing, show what would be struck, and how",
    },
)
@in_sentences
def run(
    c: Context,
    name: Sequence[str],
    times: int = 1,
    plan: bool = False,
    cluster: str = "",
    json: bool = False,
) -> None:
    """Cause faults under load, time and end them: inv drill.run leader-power-loss.

    In a lab (inv lab.exec) the faults are real. Real servers may have only those of
    inv drill.list --soft, and the cluster's name has to be typed. It begins only while the
    status is OK, and ends every fault, also on Ctrl-C. Exit code 1 if a mark was missed.
    """
    from .known import chosen

    if not name:
        raise UsageError("Which drill? See inv drill.list; for all of them: inv drill.all")
    ground = Ground(configured(), here())
    drills = chosen(name, everything(ground.cluster))
    if plan:
        planned(drills)
        return
    ground.refuse(drills)
    carry_out(Wanted(ground, drills, times, cluster, json))


@task(name="all", auto_shortflags=False, help=HELP)
@in_sentences
def all_(c: Context, times: int = 1, cluster: str = "", json: bool = False) -> None:
    """Carry out all drills, one after the other; each takes some minutes.

    In a lab, servers lose their power and do not reboot as well. On real servers, what only a
    lab may have is reported as not run.
    """
    ground = Ground(configured(), here())
    known = everything(ground.cluster)
    drills = [drill for drill in known if not (drill.gentle and ground.plugs)]
    carry_out(Wanted(ground, drills, times, cluster, json))


@task(
    auto_shortflags=False,
    help={
        "html": "a file to write instead; it is self-contained, and can be sent to others",
        "last": "only the last N runs of each drill",
        "json": HELP["json"],
    },
)
@in_sentences
def report(c: Context, html: str = "", last: int = 0, json: bool = False) -> None:
    """Show what drills have cost so far: seconds without service, lost, duplicated.

    A mark that was missed is said, with what decides about it. It connects to no host.
    """
    from .ledger import read

    if last < 0:
        raise UsageError("--last takes a number of runs, such as 5.")
    cluster = configured()
    entries = newest(read(cluster.state), last)
    if not entries:
        raise UsageError(f"There has been no drill yet ({cluster.state}). See inv drill.list")
    if html:
        page(cluster, entries, html)
    else:
        told(entries, json)


@task
@in_sentences
def clean(c: Context) -> None:
    """End the fault of a drill that was killed, and remove what its load has left.

    A second call changes nothing.
    """
    from runbook.execute.run import Options

    from .rounds import Round

    with session(Options(yes=True)) as run:
        Round(run, Ground(run.cluster, here())).clean()
        run.report.say("Nothing of a drill is left.")


drill = Collection("drill", list_, run, all_, report, clean)


def everything(cluster: Cluster) -> list[Drill]:
    """All drills of this inventory."""
    from ... import CONTENTS
    from .known import known

    return known(CONTENTS, cluster)


@dataclass(frozen=True)
class Wanted:
    """What a command asks for; `cluster` is the name that was given to confirm it."""

    ground: Ground
    drills: Sequence[Drill]
    times: int
    cluster: str
    json: bool


def carry_out(wanted: Wanted) -> None:
    """Carry out drills, after they were confirmed where that is necessary."""
    from runbook.execute.run import Options

    from .ledger import WRONG
    from .rounds import ONLY_IN_A_LAB, Round

    if not 1 <= wanted.times <= MOST:
        raise UsageError(f"--times must be from 1 to {MOST}, not {wanted.times}.")
    wanted.ground.confirm(wanted.drills, wanted.cluster)
    with session(Options(yes=True), as_json=wanted.json) as run:
        ground = Ground(run.cluster, wanted.ground.plugs)
        entries = Round(run, ground).carry_out(wanted.drills, wanted.times)
    told(entries, wanted.json)
    if any(one.word in WRONG and one.why != [ONLY_IN_A_LAB] for one in entries):
        raise Exit(code=FAILED)


def planned(drills: Sequence[Drill]) -> None:
    """Print what drills would do now."""
    from runbook.execute.run import Options

    from .listing import plan

    with session(Options(plan=True)) as run:
        run.report.say(plan(run, drills))


def told(entries: Sequence[Entry], json: bool) -> None:
    """Print what became of drills."""
    import msgspec

    from .table import text

    if json:
        print(in_json({"drills": msgspec.to_builtins(entries)}, indent=2))
    else:
        print(f"\n{text(entries)}")


def page(cluster: Cluster, entries: Sequence[Entry], html: str) -> None:
    """Write what became of drills as a page."""
    from runbook.declare.templates import render
    from runbook.secrets.private_file import write_private
    from runbook.visible import visible

    from ..status.tasks import writable
    from .table import document

    path = Path(html).expanduser()
    writable(path)
    names = [drill.name for drill in everything(cluster)]
    about: dict[str, Any] = {"told": document(entries, names)}
    text = visible(render("operator/drills.html.j2", about))
    write_private(path, text.encode(), mode=0o644)
    print(path)


def newest(entries: Sequence[Entry], count: int) -> list[Entry]:
    """The last so many entries of each drill; all of them if it is 0."""
    kept = []
    seen: dict[str, int] = {}
    for entry in reversed(entries):
        seen[entry.drill] = seen.get(entry.drill, 0) + 1
        if not count or seen[entry.drill] <= count:
            kept.append(entry)
    return list(reversed(kept))
