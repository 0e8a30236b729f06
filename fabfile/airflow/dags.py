"""Releases the project's DAGs on the share: all files at once, after Airflow could import them."""

from __future__ import annotations

from collections.abc import Sequence

from runbook.declare import steps
from runbook.declare.facts import Fact, Facts
from runbook.declare.step import Step, Steps
from runbook.declare.work import Procedure, Question, stage
from runbook.inventory.cluster import Cluster, Host

from ..nfs import common as nfs
from ..nfs.common import NETWORK
from ..nfs.state import SERVER, the_active
from ..shared.airflow import AS_USER, DAGS, USER
from ..shared.roles import NFS
from .common import section
from .connections import reached
from .installation import INSTALLATIONS, used, wanted
from .releases import RUN, Place, chosen, current, files_of, parse, programs, to_stay
from .settings import Airflow
from .tree import Tree

OWN = f"{DAGS}/airflow-runbook"
"""The folder of the DAG `smoke`, which is no part of a release."""


@section.task(on=NFS, needs=[NETWORK, SERVER, INSTALLATIONS])
def dags(host: Host, cluster: Cluster, facts: Facts) -> Steps:
    """Release the project's DAGs: all files at once, after Airflow has imported them.

    airflow.dags in hosts.yaml is a folder, or a reference to a git repository. The files arrive
    beside those that run, and then a link changes. A --plan shows which files would be added,
    changed and removed. Files that others put on the share are kept, and read by Airflow.
    """
    yield from programs()
    if host != the_active(cluster, facts):
        return
    yield from smoke_dag(cluster)
    release = project_files(cluster)
    yield PLACE.staged(release)
    yield PLACE.importable("dags", release.name, used(host, cluster, facts), cluster)
    yield from released(release, cluster)


def project_files(cluster: Cluster) -> Tree:
    """The files of the project, and a line for Airflow, which must not look into releases."""
    syntax = cluster[Airflow].settings.get("core", {}).get("dag_ignore_file_syntax")
    line = "/.releases/" if syntax == "glob" else r"^\.releases(/|$)"
    return files_of("dags", cluster).with_line(".airflowignore", line)


def smoke_dag(cluster: Cluster) -> Steps:
    """The DAG that tests the cluster; without a target host, it has one task less."""
    yield steps.directory(OWN, owner=USER, group=USER)
    context = {"target": bool(reached(cluster))}
    yield steps.template(f"{OWN}/smoke.py", "airflow/smoke.py.j2", context, owner=USER, group=USER)


PLACE = Place(DAGS, f"{AS_USER} {RUN} {DAGS}", f"{AS_USER} ")
"""The releases on the share; Airflow's account does all that is done there."""


def tried(release: Tree, cluster: Cluster) -> Steps:
    """The installation of hosts.yaml can import these DAGs; what runs is not changed."""
    yield from programs()
    yield PLACE.staged(release)
    yield PLACE.importable("dags", release.name, wanted(cluster), cluster, also_running=True)


def released(release: Tree, cluster: Cluster) -> Steps:
    """The release runs: on the standby, too, no file of it is missing when the link changes."""
    if not nfs.alone(cluster):
        yield on_the_standby(release.name)
    yield steps.command(
        f"the DAGs are those of release {release.name}",
        switched(cluster, f"{PLACE.run} switch {release.name}"),
        unless=f"{PLACE.run} runs {release.name}",
    ).showing(PLACE.differences(release.name))
    away = "false" if nfs.alone(cluster) else f"! {FOLLOWS} >/dev/null 2>&1"
    # A standby that comes back would have to remove all of them at once (nfs.max_delete).
    yield PLACE.old(cluster, unless=away)


FOLLOWS = f"{AS_USER} timeout 60 {nfs.SCRIPTS}/push --show"
"""A command that lists what the standby lacks; it fails if the standby cannot be asked."""


def on_the_standby(name: str) -> Step:
    """Wait until the standby has the release, unless none follows: it gets the link a bit later."""
    return steps.wait_for(
        f"the standby of the share has release {name}",
        f"! systemctl is-active -q {nfs.SYNC} || ! lacks=$({FOLLOWS} 2>/dev/null) || "
        f"[[ $lacks != *'/.releases/{name}'* ]]",
    )


def switched(cluster: Cluster, command: str) -> str:
    """A command that changes what runs, on the server that serves the share."""
    address = nfs.vip(cluster).address
    return f"""[[ $(ip -o -4 addr show to {address}) ]] || {{
  echo 'This server does not serve the share any more. Run the same command again.'
  exit 1
}}
{command}"""


RELEASES = Fact(
    "the releases of the DAGs",
    on=NFS,
    command=lambda cluster, host: f"{PLACE.run} list",
    parse=parse,
    absent="fab airflow.dags makes the first one",
    thorough=True,
)


@section.procedure(
    needs=[NETWORK, SERVER, INSTALLATIONS, RELEASES],
    on=NFS,
    help={
        "to": "the release, by the beginning of its commit or digest (default: the one before)",
        "broken_dags": "go back even if Airflow cannot import all of its DAGs now",
    },
)
def dags_rollback(
    hosts: Sequence[Host],
    cluster: Cluster,
    facts: Facts,
    *,
    to: str = "",
    broken_dags: bool = False,
) -> Procedure:
    """Go back to the release of the DAGs that ran before. Asks first.

    --plan shows which files would be added, changed and removed. Running tasks end with the files
    that they began with.
    """
    active = the_active(cluster, facts)
    kept = facts.of(RELEASES, active)
    former, now = chosen(kept, to), current(kept)
    runs = f", instead of {now.name}" if now else ""
    yield Question(
        f"The DAGs of release {former.name} run{runs}. "
        + to_stay("dags", cluster[Airflow].dags, former)
    )
    imported = PLACE.importable("dags", former.name, used(active, cluster, facts), cluster)
    again = steps.command(
        f"the DAGs are those of release {former.name}",
        switched(cluster, f"{PLACE.run} back {former.name}"),
        unless=f"{PLACE.run} runs {former.name}",
    ).showing(PLACE.differences(former.name))
    yield stage(f"back to {former.name}", active, *([] if broken_dags else [imported]), again)
