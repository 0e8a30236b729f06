"""uv on this machine: resolves requirements into pins with hashes.

It is the uv of build-tools.lock, which also installs Airflow on VM1.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from runbook.declare.templates import render
from runbook.errors import RunbookError
from runbook.inventory.cluster import Cluster

from ..shared.sources import Sources
from ..shared.versions import Versions
from . import pins
from .install import BUILD_TOOLS, trusted
from .requirement import normal
from .settings import Airflow

PLATFORM = "x86_64-manylinux_2_28"
"""Wheels for EL 8 and later (glibc 2.28)."""

FROM_SOURCE = {
    "2.9.0": ("python-nvd3", "unicodecsv"),
    "2.7.3": ("cron-descriptor", "pendulum", "python-nvd3", "unicodecsv"),
}
"""Packages of Airflow's own locks that have no wheels; for all others, uv takes only wheels."""

PATIENCE = 900
"""Seconds that uv may take."""


def resolved(requirements: Sequence[str], preferred: str, upgrade: bool, cluster: Cluster) -> str:
    """The pins of these requirements and all that they need, with the hashes of every file.

    `preferred` is a lock whose versions stay where they fit, unless `upgrade`. RunbookError in uv's
    words if the requirements contradict each other.
    """
    with TemporaryDirectory(prefix="airflow-lock-") as place:
        folder = Path(place)
        asked, output = folder / "airflow.packages", folder / "compiled.lock"
        asked.write_text("\n".join(requirements) + "\n", encoding="utf-8")
        output.write_text(preferred, encoding="utf-8")
        files = ["-q", str(asked), "-o", str(output), *(["--upgrade"] if upgrade else [])]
        with logins(cluster, folder) as environment:
            compiled = [*program(cluster), "pip", "compile", *files, *options(cluster)]
            done = called(compiled, environment)
        if done.returncode:
            said = done.stderr.replace(f"{folder}/", "").strip()
            if "building from source is disabled" in said:
                said += "\n(airflow.source_packages names those that may be built from source.)"
            raise RunbookError(
                f"airflow.packages of {cluster.file.name} does not fit Airflow "
                f"{cluster[Versions].airflow} for Python {cluster[Versions].python}, or cannot be "
                f"found. uv says:\n{said}\nNothing was changed."
            )
        return output.read_text(encoding="utf-8")


def options(cluster: Cluster) -> list[str]:
    """What uv has to know of the servers, and where packages come from."""
    versions, pypi = cluster[Versions], cluster[Sources].pypi
    sources = [*FROM_SOURCE.get(versions.airflow, ()), *cluster[Airflow].source_packages]
    chosen = [
        *("--python-version", versions.python, "--python-platform", PLATFORM),
        *("--python", sys.executable, "--no-python-downloads"),
        *("--generate-hashes", "--no-header", "--no-annotate", "--only-binary", ":all:"),
        *(word for name in map(normal, sources) for word in ("--no-binary", name)),
    ]
    if pypi.wheelhouse:
        return [*chosen, "--no-index", "--find-links", str(cluster.path(pypi.wheelhouse))]
    return [*chosen, "--default-index", pypi.index] if pypi.index else chosen


def called(
    command: Sequence[str], environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a program on this machine, and capture what it says."""
    try:
        return subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
    except subprocess.TimeoutExpired:
        raise RunbookError(f"{command[0]} did not end within {PATIENCE} s.") from None


@contextmanager
def logins(cluster: Cluster, folder: Path) -> Iterator[Mapping[str, str]]:
    """The environment in which uv and pip find the logins of sources.logins."""
    urls = [one.url for one in pins.packages(cluster) if one.url]
    netrc = cluster[Sources].netrc(cluster[Sources].pypi.index, *urls)
    environment = {**os.environ, "UV_NO_PROGRESS": "1", "NO_COLOR": "1"}
    if netrc:
        file = folder / "netrc"
        file.touch(mode=0o600)
        file.write_text(netrc + "\n", encoding="utf-8")
        environment["NETRC"] = str(file)
    yield environment


def program(cluster: Cluster) -> list[str]:
    """The command uv of build-tools.lock; if it is missing, it is installed beside this Python."""
    pin = pins.pins(render(BUILD_TOOLS, {}), BUILD_TOOLS)["uv"]
    beside = Path(sys.prefix, "bin", "uv")
    apart = Path(sys.prefix, f"uv-{pins.version(pin)}")
    for uv in (beside, apart / "bin" / "uv"):
        if uv.is_file() and called([str(uv), "--version"], os.environ).stdout.startswith(
            f"uv {pins.version(pin)}"
        ):
            return [str(uv)]
    install(pin, apart, cluster)
    return [str(apart / "bin" / "uv")]


def install(pin: str, target: Path, cluster: Cluster) -> None:
    """Install uv into a folder, from the index or wheelhouse that Airflow comes from."""
    pypi = cluster[Sources].pypi
    chosen = trusted(cluster).split()
    if pypi.wheelhouse:
        chosen += ["--no-index", "--find-links", str(cluster.path(pypi.wheelhouse))]
    elif pypi.index:
        chosen += ["--index-url", pypi.index]
    with TemporaryDirectory(prefix="airflow-lock-") as place:
        wanted = Path(place, "uv.lock")
        wanted.write_text(f"{pin}\n", encoding="utf-8")
        pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        pinned = ["--no-deps", "--require-hashes", "--upgrade", "--target", str(target)]
        with logins(cluster, Path(place)) as environment:
            done = called([*pip, *pinned, *chosen, "-r", str(wanted)], environment)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise RunbookError(
            f"uv, which makes the lock, could not be installed in {target}: "
            f"{said[-1] if said else 'pip failed'}. It comes from sources.pypi in "
            f"{cluster.file.name}."
        )
