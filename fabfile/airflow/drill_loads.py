"""The clients that work during drills: each reaches its service as Airflow does, and as its user.

They run in units that end by themselves, on a server that the drill does not strike. What they make
has names of its own: a schema, a queue, a file on the share.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from runbook.declare import steps
from runbook.declare.drills import Load
from runbook.declare.step import Steps, quote
from runbook.inventory.cluster import Cluster, Host

from ..nfs.common import RESCUED, clients, servers
from ..nfs.settings import Nfs
from ..rabbitmq.common import ANY_NODE
from ..shared import tls
from ..shared.airflow import AS_USER, DAGS, LOGS, USER, hosts
from ..shared.loads import LINES, MESSAGES, PAGES, ROWS
from ..shared.roles import HAPROXY, NFS, POSTGRES, RABBITMQ, WEBSERVER, WORKER
from ..shared.site import WEB_TRUSTED, site
from ..shared.versions import Versions
from .common import main_vip, section
from .installation import OPT, name_in_use

RUN = "/usr/libexec/airflow-drill"
"""The programs, which have to outlive a power loss, as their logs."""
STATE = "/var/lib/airflow-drill"
"""The logs."""
PYTHON = f'"{OPT}/{name_in_use()}/bin/python"'
"""Words of shell: the interpreter of the installation that the server's services use."""
LINES_FILE = f"{DAGS}/.airflow-drill"
LIFETIME = 1800
"""Seconds after which a client ends and removes what it has made, if nothing has stopped it."""
EVERY = {PAGES: 0.5}
"""Seconds between two items, if not 0.1."""


def idle_first(cluster: Cluster) -> Sequence[Host]:
    """The servers that reach everything, those with the least work first."""
    return sorted(clients(cluster), key=lambda host: (WORKER in host.roles, len(host.roles)))


def writers(cluster: Cluster) -> Sequence[Host]:
    """Those of them that may write to the share."""
    return [host for host in idle_first(cluster) if host.name in cluster[Nfs].writers]


def unit(kind: str) -> str:
    """The unit of a client."""
    return f"airflow-drill-{kind}.service"


def command(kind: str, action: str, cluster: Cluster, *more: str) -> str:
    """The command of a client, which reads its passwords in airflow.cfg."""
    options = {
        ROWS: (),
        MESSAGES: ("--ca", tls.TRUSTED, "--name", ANY_NODE, *queue(cluster)),
        LINES: ("--file", LINES_FILE),
        PAGES: (
            *("--ca", WEB_TRUSTED if site(cluster) else tls.TRUSTED),
            *(("--vip", main_vip(cluster)) if kind == PAGES else ()),
        ),
    }
    words = (kind, action, "--log", f"{STATE}/{kind}.log", *options[kind], *more)
    return " ".join([f"{PYTHON} -E -s {RUN}/load.py", *map(quote, words)])


def queue(cluster: Cluster) -> tuple[str, ...]:
    """Options for a queue like Airflow's own, with a replica on every node."""
    if not cluster[Versions].quorum_queues:
        return "--queue-type", "classic"
    return "--queue-type", "quorum", "--replicas", str(len(cluster.group(RABBITMQ)))


def shipped() -> Steps:
    """The programs are there, and a folder for what they log."""
    yield steps.directory(RUN)
    for name in ("clients.py", "load.py", "dag.py"):
        yield steps.template(f"{RUN}/{name}", f"airflow/drill/{name}", {})
    yield steps.directory(STATE, "0700", USER, USER)


def prepared(kind: str, host: Host, cluster: Cluster) -> Steps:
    """What the client needs is made."""
    yield from shipped()
    yield steps.action(f"{kind} have a place", f"{AS_USER} {command(kind, 'prepare', cluster)}")


def started(kind: str, host: Host, cluster: Cluster) -> Steps:
    """The client works, and ends by itself."""
    yield from shipped()
    every = str(EVERY.get(kind, 0.1))
    work = command(kind, "run", cluster, "--every", every, "--seconds", str(LIFETIME))
    yield steps.command(
        f"the client of {kind} works",
        f"systemd-run --quiet --collect --unit={unit(kind)} --uid={USER} --gid={USER} "
        f"--property=RuntimeMaxSec={LIFETIME + 60} --property=TimeoutStopSec=5 {work}",
        unless=f"systemctl is-active -q {unit(kind)}",
    )


def ended(kind: str, host: Host, cluster: Cluster) -> Steps:
    """The client does not work."""
    yield steps.stopped(unit(kind), timeout=30)


def cleaned(kind: str, host: Host, cluster: Cluster) -> Steps:
    """What the client has made is removed."""
    yield from shipped()
    yield steps.action(f"no {kind} are left", f"{AS_USER} {command(kind, 'clean', cluster)}")


def asked(kind: str, action: str, host: Host, cluster: Cluster) -> str:
    """A question to the client."""
    return f"{AS_USER} {command(kind, action, cluster)}"


def swept(host: Host, cluster: Cluster) -> Steps:
    """No client works on this server, and none has left anything there."""
    for kind in (ROWS, MESSAGES, LINES, PAGES):
        yield from ended(kind, host, cluster)
    yield steps.command(
        f"{STATE} is removed",
        f"{AS_USER} find {STATE} -mindepth 1 -delete\nrmdir {STATE}",
        unless=f"[[ ! -e {STATE} ]]",
    )
    yield steps.command(f"{RUN} is removed", f"rm -r {RUN}", unless=f"[[ ! -e {RUN} ]]")


OURS = "-type f '(' -name .airflow-drill -o -name 'airflow_drill*' ')'"
"""Words for find: files that only drills make."""

TASK_LOGS = f"{LOGS}/dag_id=airflow_drill"
"""The folder of the DAG's logs, on each server where a task of it has run."""
PARSED = f"find {LOGS}/scheduler -maxdepth 2 -type f -name airflow_drill.py.log"
"""A command that names logs of the DAG's file."""


def nothing_logged(host: Host, cluster: Cluster) -> Steps:
    """No log of Airflow's is about a DAG of a drill."""
    yield steps.command(
        f"{LOGS} has no logs of a drill",
        f"{AS_USER} rm -rf -- {TASK_LOGS}\n{AS_USER} {PARSED} -delete 2>/dev/null || :",
        unless=f"{AS_USER} test ! -e {TASK_LOGS} && [[ ! $({AS_USER} {PARSED} 2>/dev/null) ]]",
    )


def nothing_rescued(host: Host, cluster: Cluster) -> Steps:
    """No file of a drill is among those that a returning server of the share had to give up."""
    yield steps.command(
        f"{RESCUED} has no file of a drill",
        f"""{AS_USER} find {RESCUED} {OURS} -delete
{AS_USER} find {RESCUED} -mindepth 1 -type d -empty -delete""",
        unless=f"[[ ! $({AS_USER} find {RESCUED} {OURS} 2>/dev/null) ]]",
    )


SWEEP = ((idle_first, swept), (servers, nothing_rescued), (hosts, nothing_logged))
"""Where drills leave something behind, and the steps that remove it."""


def client(kind: str, about: str, item: str, uses: tuple[str, ...], lossy: str = "") -> Load:
    """A load that is one program on one server."""
    return Load(
        name=kind,
        about=about,
        item=item,
        on=writers if kind == LINES else idle_first,
        uses=uses,
        prepare=partial(prepared, kind),
        start=partial(started, kind),
        stop=partial(ended, kind),
        clean=partial(cleaned, kind),
        pulse=partial(asked, kind, "pulse"),
        account=partial(asked, kind, "account"),
        sweep=SWEEP,
        lossy=lossy,
    )


section.load(
    client(ROWS, "rows, written to the database ten times a second", "row", (POSTGRES, HAPROXY))
)
section.load(
    client(MESSAGES, "messages, published ten times a second and confirmed", "message", (RABBITMQ,))
)
section.load(
    client(
        LINES,
        "lines, written to a file on the share ten times a second",
        "line",
        (NFS,),
        "the copy on the standby is a second or two late",
    )
)
section.load(
    client(PAGES, "pages of the web UI at its VIP, twice a second", "page", (WEBSERVER, HAPROXY))
)
