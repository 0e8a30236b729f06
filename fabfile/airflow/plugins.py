"""Releases Airflow's plugins: on every server, for its services when they start again."""

from __future__ import annotations

from collections.abc import Sequence

from runbook.declare import steps
from runbook.declare.facts import Fact, Facts
from runbook.declare.step import Step, Steps
from runbook.declare.work import Procedure, Question, stage
from runbook.errors import RunbookError
from runbook.inventory.cluster import Cluster, Host

from ..shared.airflow import AS_USER, PLUGINS, hosts
from . import services
from .common import SETTINGS, section
from .configure import CHANGED
from .installation import INSTALLATIONS, used
from .releases import RUN, Place, chosen, current, files_of, parse, programs, to_stay
from .settings import Airflow

FOLDER = "/opt/airflow/plugins"
"""Root's, so that no task can change what webservers and schedulers import."""

ENVIRONMENT = f"{SETTINGS}/plugins.env"
"""Names the folder of the release. A service that runs goes on with the one that it began with."""


PLACE = Place(FOLDER, f"{RUN} {FOLDER} --plain")
"""The releases on a server."""


@section.task(needs=[INSTALLATIONS])
def plugins(host: Host, cluster: Cluster, facts: Facts) -> Steps:
    """Release the project's plugins on every server, after Airflow has imported them.

    airflow.plugins in hosts.yaml is a folder, or a reference to a git repository; without it,
    Airflow has the plugins that others put into /app1/airflow/plugins. They take effect when the
    services restart, which fab systemd does in order.
    """
    if cluster[Airflow].plugins is None:
        yield none_released()
        return
    yield no_others()
    yield from programs()
    yield steps.directory(FOLDER)
    release = files_of("plugins", cluster)
    yield PLACE.staged(release)
    yield PLACE.importable("plugins", release.name, used(host, cluster, facts), cluster)
    yield running(release.name).then(CHANGED)
    yield PLACE.old(cluster)


def none_released() -> Step:
    """Airflow has the plugins of its own folder."""
    return steps.command(
        f"plugins are those in {PLUGINS}",
        f"rm -f {ENVIRONMENT}",
        unless=f"[[ ! -e {ENVIRONMENT} ]]",
    ).then(CHANGED)


def no_others() -> Step:
    """Refuse if others have put plugins into Airflow's own folder, which would not be loaded."""
    files = f"{AS_USER} find {PLUGINS} -name __pycache__ -prune -o -type f -printf '%P\\n'"
    return steps.precondition(
        f"nobody else has plugins in {PLUGINS}",
        f"[[ ! $({files} 2>/dev/null) ]]",
        f"""echo "{PLUGINS} has plugins that others put there: $({files} | paste -sd ' ')."
echo 'They would not be loaded any more. Put them into the folder of airflow.plugins, then move'
echo "them away: {AS_USER} mv -nT {PLUGINS} {PLUGINS}.by-hand\"""",
    )


def running(name: str, command: str = "switch") -> Step:
    """Services that start have the plugins of this release."""
    run = PLACE.run
    wanted = f"AIRFLOW__CORE__PLUGINS_FOLDER=$({run} has {name})"
    return steps.command(
        f"the plugins are those of release {name}",
        f"""(set -euo pipefail
{run} {command} {name}
folder=$({run} has {name})
umask 022
echo "AIRFLOW__CORE__PLUGINS_FOLDER=$folder" >{ENVIRONMENT}.new
mv -fT {ENVIRONMENT}.new {ENVIRONMENT})""",
        unless=f'{run} runs {name} && [[ $(cat {ENVIRONMENT}) == "{wanted}" ]]',
    ).showing(PLACE.differences(name))


RELEASES = Fact(
    "the releases of the plugins",
    on=hosts,
    command=lambda cluster, host: f"[[ -d {FOLDER} ]] && {PLACE.run} list",
    parse=parse,
    absent="fab airflow.plugins makes the first one",
    thorough=True,
)


@section.procedure(
    needs=[INSTALLATIONS, RELEASES],
    help={"to": "the release, by the beginning of its commit or digest (default: the one before)"},
)
def plugins_rollback(
    hosts: Sequence[Host], cluster: Cluster, facts: Facts, *, to: str = ""
) -> Procedure:
    """Go back to the former release of the plugins, and restart Airflow. Asks first."""
    source = cluster[Airflow].plugins
    if source is None:
        raise RunbookError(f"{cluster.file.name} has no airflow.plugins, so no release of them.")
    kept = facts.of(RELEASES, hosts[0])
    former, now = chosen(kept, to), current(kept)
    runs = f", instead of {now.name}" if now else ""
    yield Question(
        f"The plugins of release {former.name} are loaded{runs}. Airflow restarts server by "
        f"server; workers end their tasks first. {to_stay('plugins', source, former)}"
    )

    def again(host: Host) -> Steps:
        installation = used(host, cluster, facts)
        yield PLACE.importable("plugins", former.name, installation, cluster)
        yield running(former.name, "back").then(CHANGED)

    yield stage(f"back to {former.name}", hosts, again)
    mine = [host for host in hosts if services.components(host)]
    yield from services.restart_all(mine, cluster)
