"""The runbook's Python: built from source on VM1, then shipped to every server of Airflow.

Each version has its own folder. Other installations of Python are not changed, not even one of the
same series in /usr/local.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from runbook.declare import steps
from runbook.declare.facts import Fact, Facts
from runbook.declare.operations import Part
from runbook.declare.probes import ERROR, OK, Answer, Probes, Verdict, probe
from runbook.declare.requirements import Kind, Source
from runbook.declare.section import Section
from runbook.declare.step import Step, Steps, quote
from runbook.declare.templates import script
from runbook.inventory.cluster import Cluster, Host

from .shared import airflow, copies
from .shared.python import PYTHON_SHA256, Python
from .shared.sources import Sources
from .shared.versions import Versions
from .ssh import key_host, unpack
from .ssh import ship as to_other

PACKAGES = (
    *("gcc", "make", "tar", "gzip", "xz"),
    *("openssl-devel", "bzip2-devel", "libffi-devel", "zlib-devel", "xz-devel", "readline-devel"),
    *("sqlite-devel", "ncurses-devel", "gdbm-devel", "libuuid-devel"),
)
"""The runbook's list, and what _lzma, readline, curses, dbm and uuid are compiled against."""

WORK = "/var/cache/airflow-runbook/python-build"
SCRIPT = "/usr/libexec/airflow-runbook/python-build"
FINGERPRINT = "/usr/libexec/airflow-runbook/fingerprint"
LOG = f"{WORK}/log"
UNIT = "python-build.service"
ROOM = 1500
"""MiB: sources, objects and the installation together, with optimizations."""

IMPORTS = "ssl, sqlite3, lzma, bz2, ctypes, readline"
"""Modules that are left out silently where their headers are missing."""


def builder(cluster: Cluster) -> Host:
    """VM1, which can log in to the servers that Python is shipped to."""
    [vm1] = key_host(cluster)
    return vm1


def everybody(cluster: Cluster) -> list[Host]:
    """The servers that get Python, and the one that builds it."""
    wanted = {builder(cluster).name, *(host.name for host in airflow.hosts(cluster))}
    return [host for host in cluster.hosts.values() if host.name in wanted]


def only_builder(cluster: Cluster) -> list[Host]:
    """The server that builds, as a list."""
    return [builder(cluster)]


def receivers(cluster: Cluster) -> list[Host]:
    """The servers that Python is shipped to."""
    return [host for host in everybody(cluster) if host != builder(cluster)]


section = Section(
    "python-build",
    on=everybody,
    key="python",
    settings=Python,
    runbook="Install Python",
    about="Build Python from source once, and ship it to every server of Airflow.",
    # It waits on VM1 for the compiler, and the mounts and HAProxy of VM1 would wait for it.
    after=("nfs", "haproxy"),
    parts=(Part("python-build.start", ("ssh",), planned=False),),
)


def url(cluster: Cluster) -> str:
    """Where the tarball is."""
    version = cluster[Versions].python
    at_home = f"https://www.python.org/ftp/python/{version}/Python-{version}.tgz"
    return cluster[Sources].python.url or at_home


def sha256(cluster: Cluster) -> str:
    """The SHA-256 of the tarball."""
    return cluster[Sources].python.sha256 or PYTHON_SHA256[cluster[Versions].python]


def tarball(cluster: Cluster) -> str:
    """Where the builder keeps it."""
    return f"{WORK}/{url(cluster).rpartition('/')[2]}"


def source(cluster: Cluster) -> str:
    """Where it is unpacked and compiled."""
    return f"{WORK}/Python-{cluster[Versions].python}"


def home(cluster: Cluster) -> str:
    """The folder of this Python alone, such as /opt/airflow/python-3.9.16."""
    return f"{cluster[Python].prefix}/python-{cluster[Versions].python}"


def python(cluster: Cluster) -> str:
    """The interpreter, such as /opt/airflow/python-3.9.16/bin/python3.9."""
    return f"{home(cluster)}/bin/python{cluster[Versions].python_series}"


def made_from(cluster: Cluster) -> str:
    """The content of the mark: version, source, and how it was configured."""
    options = "optimized" if cluster[Python].optimizations else "plain"
    return f"{cluster[Versions].python} {sha256(cluster)} {options}"


def installed(cluster: Cluster) -> str:
    """A test: exactly this Python is complete on the host."""
    return copies.intact(home(cluster), made_from(cluster))


def foreign(cluster: Cluster) -> str:
    """A command that lists packages in this Python other than pip and setuptools."""
    return copies.packages(home(cluster), but=("pip", "setuptools"))


COPY = Fact(
    "which Python is installed",
    on=everybody,
    command=lambda cluster, host: copies.state(home(cluster)),
    parse=copies.parse,
    absent="it cannot be asked",
)

SHIPPED = Fact(
    "the Python that is shipped",
    on=only_builder,
    command=lambda cluster, host: copies.state(home(cluster), bytecode=True),
    parse=copies.parse,
    absent="it cannot be asked",
    used_by=receivers,
)

FOREIGN = Fact(
    "what was installed into Python",
    on=everybody,
    command=lambda cluster, host: foreign(cluster),
    parse=copies.distributions,
    absent="it does not answer",
)


@section.task(on=only_builder)
def deps(host: Host, cluster: Cluster) -> Steps:
    """Install compiler and headers on the server that builds."""
    yield steps.packages(*PACKAGES)


@section.task(on=only_builder)
def fetch(host: Host, cluster: Cluster) -> Steps:
    """Download the source; a file with a wrong hash is not kept."""
    file = tarball(cluster)
    yield steps.directory(WORK)
    yield steps.command(
        f"{file} with sha256 {sha256(cluster)[:12]}…",
        script(
            "python-build/fetch.sh",
            url=url(cluster),
            sha256=sha256(cluster),
            file=file,
            netrc=cluster[Sources].netrc(url(cluster)),
        ),
        unless=f"{installed(cluster)} || "
        f"sha256sum --status -c <<<{quote(f'{sha256(cluster)}  {file}')} 2>/dev/null",
        timeout=1800,
    )


@section.task(on=only_builder)
def build(host: Host, cluster: Cluster) -> Steps:
    """Configure, compile and install beside the system's Python, in the background.

    If this is interrupted, the build continues, and the next run waits for it; a build that was
    killed continues where it was. Its output is in /var/cache/airflow-runbook/python-build/log.
    """
    yield from begun(cluster)
    for stage in ("configured", "compiled"):
        yield waited(stage, cluster, f" || [[ -e {source(cluster)}-{stage} ]]")
    yield replace(waited("installed", cluster), test=installed(cluster))


@section.task(on=only_builder, alone=True)
def start(host: Host, cluster: Cluster) -> Steps:
    """Fetch the source and start to build it, without waiting for the end.

    Other sections can run meanwhile.
    """
    yield from deps(host, cluster)
    yield from fetch(host, cluster)
    yield from begun(cluster)


def begun(cluster: Cluster) -> Steps:
    """The build is running, if it is not done."""
    there = installed(cluster)
    yield steps.precondition(
        f"room for the build in {WORK}",
        f"{copies.marked(home(cluster), made_from(cluster))} || [[ -d {source(cluster)} ]] || "
        f'(($(df --output=avail -m "$(ls -d {WORK} 2>/dev/null || echo /var)" | tail -1) '
        f">= {ROOM}))",
        f"""df -h "$(ls -d {WORK} 2>/dev/null || echo /var)"
echo 'The build of Python takes {ROOM} MB there. Make room, or mount a larger disk.'""",
        early=True,
    )
    yield steps.precondition(
        f"no foreign packages in {home(cluster)}",
        f"[[ ! $({foreign(cluster)}) ]]",
        f"""echo "{home(cluster)} has foreign packages: $({foreign(cluster)})"
echo 'They would be removed; Airflow has its own environment. Uninstall them:'
echo '{python(cluster)} -m pip uninstall NAME'""",
    )
    yield steps.directory(SCRIPT.rpartition("/")[0])
    yield steps.template(SCRIPT, "python-build/build", {}, mode="0755")
    yield steps.template(FINGERPRINT, "shared/fingerprint.sh", {}, mode="0755")
    yield steps.command(
        f"the build of Python {cluster[Versions].python} has begun",
        f"""systemctl reset-failed {UNIT} 2>/dev/null || :
rm -f {copies.mark(home(cluster))}
systemd-run --quiet --unit={UNIT} --property=Nice=10 \\
  {SCRIPT} {WORK} {quote(tarball(cluster))} {home(cluster)} '{made_from(cluster)}' \\
  --prefix={home(cluster)}{" --enable-optimizations" * cluster[Python].optimizations}""",
        unless=f"{there} || systemctl is-active -q {UNIT}",
    )


def waited(stage: str, cluster: Cluster, or_else: str = "") -> Step:
    """Wait until the build has come this far; if it failed, show its last lines."""
    there = f"{copies.marked(home(cluster), made_from(cluster))}{or_else}"
    return steps.command(
        f"Python {cluster[Versions].python} is {stage}",
        f"""until {there}; do
  if ! systemctl is-active -q {UNIT}; then
    sleep 1
    if {there}; then break; fi
    tail -n 15 {LOG}
    echo 'The build failed; its whole output is in {LOG}. Rerun the command to continue it.'
    exit 1
  fi
  sleep 1
done""",
        unless=there,
        timeout=2 * 3600,
    )


@section.task(needs=[COPY, FOREIGN], by=only_builder)
def ship(host: Host, cluster: Cluster, facts: Facts, hosts: Sequence[Host]) -> Steps:
    """Send Python to the other servers, except where it is complete and undamaged.

    VM1's key may deliver an archive, which nothing unpacks until python-build.receive.
    """
    others = copies.lacking(facts.known(COPY), made_from(cluster), hosts, but=host)
    way_out = f"Uninstall them: {python(cluster)} -m pip uninstall NAME"
    copies.refuse_foreign(others, home(cluster), facts.known(FOREIGN), way_out)
    for other in others:
        yield to_other(
            f"Python {cluster[Versions].python} has arrived on {other.name}",
            "python",
            cluster,
            other,
            home(cluster),
            made_from(cluster),
            again="fab python-build.build",
        )


@section.task(on=receivers, needs=[SHIPPED])
def receive(host: Host, cluster: Cluster, facts: Facts) -> Steps:
    """Unpack what arrived, and use it if it is exactly what VM1 has.

    The controller has asked VM1; the account that delivers it cannot change what is
    accepted.
    """
    yield unpack(
        f"{home(cluster)} is as {builder(cluster).name} has it",
        "python",
        cluster,
        host,
        home(cluster),
        made_from(cluster),
        copies.shipped(facts, SHIPPED, builder(cluster)),
        again="fab python-build.ship python-build.receive",
    )


section.fetches(
    Source("sources.python.url", Kind.FILE, lambda cluster: [url(cluster)]), on=only_builder
)


@section.check
def check(host: Host, cluster: Cluster) -> Probes:
    """Check that every server has the wanted Python, and all of it."""
    yield probe(
        f"{python(cluster)} is Python {cluster[Versions].python} and has {IMPORTS}",
        f"{python(cluster)} -c 'import platform, {IMPORTS}; print(platform.python_version())'",
        partial(runs, version=cluster[Versions].python),
        fix=f"fab -H {host.name} python-build",
    )
    yield probe(
        "the system's python3 is not ours",
        'readlink -f "$(type -P python3 || echo none)"',
        partial(not_ours, cluster=cluster),
        fix=f"look at type -a python3 on {host.name}",
    )


def runs(answer: Answer, version: str) -> Verdict:
    """It runs, has the modules, and is of this version."""
    last = answer.text.splitlines()[-1] if answer.text else "no answer"
    return Verdict(OK) if answer.code == 0 and last == version else Verdict(ERROR, last)


def not_ours(answer: Answer, cluster: Cluster) -> Verdict:
    """python3 is not below our prefix."""
    ours = answer.text.strip() == python(cluster)
    return Verdict(ERROR, f"python3 is {python(cluster)}") if ours else Verdict(OK)
