"""`inv drill.list`, `run`, `all`, `report` and `clean`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Optional

from invoke import Collection, Context, Exit, task

from runbook.declare.drills import Drill
from runbook.errors import FAILED, UsageError
from runbook.execute.session import in_sentences
from runbook.visible import in_json

from ..session import configured, session
from .ground import Ground, Plugs

if TYPE_CHECKING:
    from runbook.inventory.cluster import Cluster

    from .ledger import Entry

MOST = 100
"""How often a drill may be repeated by one command."""

JSON = "one JSON document instead of text"
CLUSTER = "on real servers, the cluster's name, which is asked for otherwise"
TIMES = "how often each drill is carried out (default: 1)"

Here = Callable[[], Optional[Plugs]]
"""The lab in which this process runs, if it does."""


def collection(here: Here) -> Collection:
    """The tasks; `here` finds the lab, of which the product itself knows nothing."""

    @task(name="list", help={"soft": "only those that real servers may have", "json": JSON})
    @in_sentences
    def list_(c: Context, soft: bool = False, json: bool = False) -> None:
        """List the drills: what fails, what it is timed by, what it may cost.

        It connects to no host. What hosts.yaml has no second server for is said beside it.
        """
        from ... import CONTENTS
        from .known import known
        from .listing import listed, text

        cluster = configured()
        drills = [drill for drill in known(CONTENTS, cluster) if drill.soft or not soft]
        print(in_json(listed(drills, cluster), indent=2) if json else text(drills, cluster))

    @task(
        positional=["name"],
        iterable=["name"],
        auto_shortflags=False,
        help={
            "name": "a drill, or several; see inv drill.list",
            "times": TIMES,
            "plan": "connect, change nothing, show what would be struck, and how",
            "cluster": CLUSTER,
            "json": JSON,
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
        carry_out(here, lambda known: chosen(name, known), times, plan, cluster, json)

    @task(
        name="all",
        auto_shortflags=False,
        help={"times": TIMES, "cluster": CLUSTER, "json": JSON},
    )
    @in_sentences
    def all_(c: Context, times: int = 1, cluster: str = "", json: bool = False) -> None:
        """Carry out all drills, one after the other; each takes some minutes.

        In a lab, servers lose their power and do not reboot as well. On real servers, what only a
        lab may have is reported as not run.
        """
        in_a_lab = here() is not None

        def choose(known: Sequence[Drill]) -> list[Drill]:
            return [drill for drill in known if not (drill.gentle and in_a_lab)]

        carry_out(here, choose, times, False, cluster, json, skip=True)

    @task(
        auto_shortflags=False,
        help={
            "html": "a file to write instead; it is self-contained, and can be sent to others",
            "last": "only the last N runs of each drill",
            "json": JSON,
        },
    )
    @in_sentences
    def report(c: Context, html: str = "", last: int = 0, json: bool = False) -> None:
        """Show what drills have cost so far: seconds without service, lost, duplicated.

        A mark that was missed is said, with what decides about it. It connects to no host.
        """
        reported(configured(), html, last, json)

    @task
    @in_sentences
    def clean(c: Context) -> None:
        """End the fault of a drill that was killed, and remove what its load has left.

        A second call changes nothing.
        """
        from runbook.execute.run import Options

        from .round import Round

        with session(Options(yes=True)) as run:
            Round(run, Ground(run.cluster, here())).clean()
            run.report.say("Nothing of a drill is left.")

    return Collection("drill", list_, run, all_, report, clean)


def carry_out(
    here: Here,
    choose: Callable[[Sequence[Drill]], list[Drill]],
    times: int,
    plan: bool,
    cluster: str,
    json: bool,
    skip: bool = False,
) -> None:
    """Carry out drills, or show what they would do. `skip`: leave out what is not allowed here."""
    from runbook.execute.run import Options

    from ... import CONTENTS
    from .known import known
    from .round import ONLY_IN_A_LAB, Round

    if not 1 <= times <= MOST:
        raise UsageError(f"--times must be from 1 to {MOST}, not {times}.")
    inventory = configured()
    ground = Ground(inventory, here())
    drills = choose(known(CONTENTS, inventory))
    allowed = [drill for drill in drills if ground.allows(drill)]
    if not skip:
        ground.refuse(drills)
    if not plan:
        ground.confirm(allowed, cluster)
    with session(Options(yes=True), as_json=json) as run:
        if plan:
            from .listing import planned

            run.report.say(planned(run, drills))
            return
        entries = Round(run, Ground(run.cluster, ground.plugs)).carry_out(drills, times)
    told(entries, json)
    if any(one.word in wrong() and one.why != [ONLY_IN_A_LAB] for one in entries):
        raise Exit(code=FAILED)


def wrong() -> Sequence[str]:
    """Words for drills that end in exit code 1."""
    from .ledger import WRONG

    return WRONG


def told(entries: Sequence[Entry], json: bool) -> None:
    """Print what became of the drills."""
    import msgspec

    from .table import text

    if json:
        print(in_json({"drills": msgspec.to_builtins(entries)}, indent=2))
    else:
        print(f"\n{text(entries)}")


def reported(cluster: Cluster, html: str, last: int, json: bool) -> None:
    """Print the ledger as a table or as JSON, or write it as a page."""
    from runbook.declare.templates import render
    from runbook.secrets.private_file import write_private
    from runbook.visible import visible

    from ... import CONTENTS
    from .known import known
    from .ledger import read
    from .table import document

    if last < 0:
        raise UsageError("--last takes a number of runs, such as 5.")
    entries = newest(read(cluster.state), last)
    if not entries:
        raise UsageError(f"There has been no drill yet ({cluster.state}). See inv drill.list")
    if html:
        path = Path(html).expanduser()
        names = [drill.name for drill in known(CONTENTS, cluster)]
        about: dict[str, Any] = {"told": document(entries, names)}
        page = visible(render("operator/drills.html.j2", about))
        write_private(path, page.encode(), mode=0o644)
        print(path)
    else:
        told(entries, json)


def newest(entries: Sequence[Entry], count: int) -> list[Entry]:
    """The last so many entries of each drill; all of them if it is 0."""
    kept = []
    seen: dict[str, int] = {}
    for entry in reversed(entries):
        seen[entry.drill] = seen.get(entry.drill, 0) + 1
        if not count or seen[entry.drill] <= count:
            kept.append(entry)
    return list(reversed(kept))
