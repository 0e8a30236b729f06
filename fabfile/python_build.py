"""The runbook's Python: built from source on VM1, then shipped to every server of Airflow.

What the distribution calls python3 stays as it is (`make altinstall`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from .airflow import chapter as airflow
from .engine import steps
from .engine.cluster import Cluster, Host
from .engine.probes import ERROR, OK, Answer, Probes, Verdict, probe
from .engine.section import Fact, Facts, Section
from .engine.step import Step, Steps
from .settings import PYTHON_SHA256, python_series
from .ssh import key_host
from .ssh import ship as to_other

PACKAGES = (
    *("gcc", "make", "tar", "gzip", "xz"),
    *("openssl-devel", "bzip2-devel", "libffi-devel", "zlib-devel", "xz-devel", "readline-devel"),
    *("sqlite-devel", "ncurses-devel", "gdbm-devel", "libuuid-devel"),
)
"""The runbook's list, and what _lzma, readline, curses, dbm and uuid are compiled against."""

WORK = "/var/cache/airflow-runbook/python-build"
SCRIPT = "/usr/libexec/airflow-runbook/python-build"
LOG = f"{WORK}/log"
UNIT = "python-build.service"
ROOM = 1500
"""MiB: sources, objects and the installation together, with optimizations."""

IMPORTS = "ssl, sqlite3, lzma, bz2, ctypes, readline"
"""Modules that are left out silently where their headers are missing."""


def builder(cluster: Cluster) -> Host:
    """VM1: its key opens the servers that Python is shipped to."""
    [vm1] = key_host(cluster)
    return vm1


def everybody(cluster: Cluster) -> list[Host]:
    """The servers that get Python, and the one that builds it."""
    wanted = {builder(cluster).name, *(host.name for host in airflow.hosts(cluster))}
    return [host for host in cluster.hosts.values() if host.name in wanted]


def only_builder(cluster: Cluster) -> list[Host]:
    """The server that builds, as a list."""
    return [builder(cluster)]


section = Section(
    "python-build",
    on=everybody,
    runbook="Install Python",
    about="Build Python from source once, and ship it to every server of Airflow.",
)


def url(cluster: Cluster) -> str:
    """Where the tarball is."""
    version = cluster.versions.python
    at_home = f"https://www.python.org/ftp/python/{version}/Python-{version}.tgz"
    return cluster.sources.python.url or at_home


def sha256(cluster: Cluster) -> str:
    """What the tarball hashes to."""
    return cluster.sources.python.sha256 or PYTHON_SHA256[cluster.versions.python]


def tarball(cluster: Cluster) -> str:
    """Where the builder keeps it."""
    return f"{WORK}/{url(cluster).rpartition('/')[2]}"


def source(cluster: Cluster) -> str:
    """Where it is unpacked and compiled."""
    return f"{WORK}/Python-{cluster.versions.python}"


def python(cluster: Cluster) -> str:
    """The interpreter, such as /usr/local/bin/python3.9."""
    return f"{cluster.python.prefix}/bin/python{python_series(cluster.versions)}"


def library(cluster: Cluster) -> str:
    """Its library, such as /usr/local/lib/python3.9."""
    return f"{cluster.python.prefix}/lib/python{python_series(cluster.versions)}"


def mark(cluster: Cluster) -> str:
    """The last file that is written where Python gets installed: it says what it was made from."""
    return f"{library(cluster)}/airflow-runbook"


def made_from(cluster: Cluster) -> str:
    """What stands in the mark: version, source, and how it was configured."""
    options = "optimized" if cluster.python.optimizations else "plain"
    return f"{cluster.versions.python} {sha256(cluster)} {options}"


def installed(cluster: Cluster) -> str:
    """A test: this very Python is complete on the host."""
    return f"[[ $(cat {mark(cluster)} 2>/dev/null) == '{made_from(cluster)}' ]]"


MARK = Fact(
    "which Python is there",
    on=everybody,
    command=lambda cluster, host: f"cat {mark(cluster)} 2>/dev/null || echo none",
    parse=str.strip,
    absent="it cannot be asked",
)


@section.task(on=only_builder)
def deps(host: Host, cluster: Cluster) -> Steps:
    """Install compiler and headers on the server that builds."""
    yield steps.packages(*PACKAGES)


@section.task(on=only_builder)
def fetch(host: Host, cluster: Cluster) -> Steps:
    """Download the source; one with another hash than the wanted one is not kept."""
    file = tarball(cluster)
    yield steps.directory(WORK)
    yield steps.command(
        f"{file} with sha256 {sha256(cluster)[:12]}…",
        f"""curl -fsSL --netrc-optional --retry 3 --connect-timeout 10 \\
  -o {file}.part {url(cluster)} || {{
  echo '{url(cluster)} cannot be downloaded; name a mirror in sources.python.url of hosts.yaml.'
  exit 1
}}
found=$(sha256sum <{file}.part)
if [[ ${{found%% *}} != {sha256(cluster)} ]]; then
  rm {file}.part
  echo '{url(cluster)} is not what hosts.yaml expects (sources.python.sha256).'
  echo "It hashes to ${{found%% *}}. Nothing was kept."
  exit 1
fi
mv {file}.part {file}""",
        unless=f"{installed(cluster)} || "
        f"sha256sum --status -c <<<'{sha256(cluster)}  {file}' 2>/dev/null",
        timeout=1800,
    )


@section.task(on=only_builder)
def build(host: Host, cluster: Cluster) -> Steps:
    """Configure, compile and install beside the system's Python, in the background.

    The build goes on if this is interrupted, and is waited for by the next run; one that was
    killed goes on where it was. Its output is in /var/cache/airflow-runbook/python-build/log.
    """
    yield from begun(cluster)
    for stage in ("configured", "compiled", "installed"):
        yield waited(f"Python {cluster.versions.python} is {stage}", stage, cluster)


@section.task(on=only_builder, alone=True)
def start(host: Host, cluster: Cluster) -> Steps:
    """Fetch the source and start to build it, without waiting for the end.

    Other sections can take their time meanwhile.
    """
    yield from deps(host, cluster)
    yield from fetch(host, cluster)
    yield from begun(cluster)


def begun(cluster: Cluster) -> Steps:
    """The build runs, if it is not done."""
    yield steps.required(
        f"room for the build in {WORK}",
        f"{installed(cluster)} || [[ -d {source(cluster)} ]] || "
        f"(($(df --output=avail -m $(ls -d {WORK} 2>/dev/null || echo /var) | tail -1) >= {ROOM}))",
        f"""df -h {WORK}
echo 'The build of Python takes {ROOM} MB there. Make room, or mount a larger disk.'""",
    )
    yield steps.directory(SCRIPT.rpartition("/")[0])
    yield steps.template(SCRIPT, "python-build/build", {}, mode="0755")
    yield steps.command(
        f"the build of Python {cluster.versions.python} has begun",
        f"""systemctl reset-failed {UNIT} 2>/dev/null || :
systemd-run --quiet --unit={UNIT} --property=Nice=10 \\
  {SCRIPT} {WORK} {tarball(cluster)} {mark(cluster)} '{made_from(cluster)}' \\
  --prefix={cluster.python.prefix}{" --enable-optimizations" * cluster.python.optimizations}""",
        unless=f"{installed(cluster)} || systemctl is-active -q {UNIT}",
    )


def waited(title: str, stage: str, cluster: Cluster) -> Step:
    """The build has come so far; if it broke off, its last lines are shown."""
    there = installed(cluster)
    if stage != "installed":
        there += f" || [[ -e {source(cluster)}-{stage} ]]"
    return steps.command(
        title,
        f"""until {there}; do
  if ! systemctl is-active -q {UNIT}; then
    sleep 1
    if {there}; then break; fi
    tail -n 15 {LOG}
    echo 'The build broke off; all of its output is in {LOG}. Run it again: it goes on there.'
    exit 1
  fi
  sleep 1
done""",
        unless=there,
        timeout=2 * 3600,
    )


@section.task(needs=[MARK], by=only_builder)
def ship(host: Host, cluster: Cluster, facts: Facts, hosts: Sequence[Host]) -> Steps:
    """Copy Python to the other servers; what is there complete stays."""
    series = python_series(cluster.versions)
    names = [f"bin/python{series}", f"bin/pip{series}", f"lib/python{series}"]
    for other in lacking(facts.known(MARK), made_from(cluster), hosts, but=host):
        yield to_other(
            f"{other.name} has Python {cluster.versions.python} as {host.name} has it",
            cluster,
            other,
            [f"{cluster.python.prefix}/{name}" for name in names],
            mark=mark(cluster),
            text=made_from(cluster),
            exclude=("test", "tests", "*.a"),
        )


def lacking(known: Mapping[str, str], wanted: str, hosts: Sequence[Host], but: Host) -> list[Host]:
    """Who has something else than is wanted, of those that could be asked."""
    return [host for host in hosts if host != but and known.get(host.name, wanted) != wanted]


@section.check
def check(host: Host, cluster: Cluster) -> Probes:
    """Say whether every server has the wanted Python, and all of it."""
    yield probe(
        f"{python(cluster)} is Python {cluster.versions.python} and has {IMPORTS}",
        f"{python(cluster)} -c 'import platform, {IMPORTS}; print(platform.python_version())'",
        partial(runs, version=cluster.versions.python),
        fix=f"fab -H {host.name} python-build",
    )
    yield probe(
        "the system's python3 is not ours",
        'readlink -f "$(type -P python3 || echo none)"',
        partial(not_ours, cluster=cluster),
        fix=f"rm {cluster.python.prefix}/bin/python3 on {host.name}",
    )


def runs(answer: Answer, version: str) -> Verdict:
    """It runs, has the modules, and is of this version."""
    last = answer.text.splitlines()[-1] if answer.text else "no answer"
    return Verdict(OK) if answer.code == 0 and last == version else Verdict(ERROR, last)


def not_ours(answer: Answer, cluster: Cluster) -> Verdict:
    """python3 is nothing below our prefix."""
    ours = answer.text.strip() == python(cluster)
    return Verdict(ERROR, f"python3 is {python(cluster)}") if ours else Verdict(OK)
