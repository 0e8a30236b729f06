"""The lock of an installation: Airflow's own of files/airflow, or one that `fab airflow.lock` made.

With airflow.packages in hosts.yaml, it is in the folder `locks` beside that file. Its name has the
version of Airflow, Python's series and a digest of the requirements, so that several locks can
stand side by side, and hosts.yaml decides which of them is used.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from pathlib import Path

from runbook.declare.templates import render
from runbook.errors import RunbookError, SettingsError
from runbook.inventory.cluster import Cluster, local_path
from runbook.inventory.shape import faults
from runbook.yaml_source import shown

from ..shared.versions import Versions
from .requirement import Package, Requirement, normal, package, wrong
from .settings import Airflow

FOLDER = "locks"

_PIN = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[a-z0-9,-]+\])?(?:==[A-Za-z0-9.!+_-]+| @ https://\S+)"
    r"(?: \\\n[ \t]+--hash=sha256:[0-9a-f]{64})+"
)
_COMMENT = re.compile(r"#.*|[ \t]*")


def own(cluster: Cluster) -> str:
    """The name of the lock of Airflow's own packages, in files/."""
    return f"airflow/{cluster[Versions].airflow}-py{cluster[Versions].python_series}.lock"


def packages(cluster: Cluster) -> tuple[Package, ...]:
    """What airflow.packages asks for; SettingsError if the requirements file has anything else."""
    asked = cluster[Airflow].packages
    lines = _of_file(asked, cluster) if isinstance(asked, str) else asked
    return tuple(sorted(map(package, lines), key=str))


def _of_file(name: str, cluster: Cluster) -> list[str]:
    """The requirements of a file, one a line; # begins a comment."""
    file = local_path(name, cluster.file.parent)
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8"
        raise SettingsError(
            f"{file} cannot be read: {why}. It is airflow.packages in {cluster.file.name}."
        ) from None
    found = {place: re.sub(r"(^|\s)#.*", "", line).strip() for place, line in enumerate(lines, 1)}
    asked = {place: line for place, line in found.items() if line}
    for place, line in asked.items():
        for sentence, _ in faults(Requirement, line):
            raise SettingsError(f"{file.name}:{place}: {sentence}.")
    places = list(asked)
    for objection in wrong(list(asked.values()), cluster[Airflow].package_hosts, ()):
        place = places[int(objection.path[-1])]
        raise SettingsError(f"{file.name}:{place}: {shown(asked[place])} {objection.sentence}.")
    return list(asked.values())


def file(cluster: Cluster) -> Path:
    """The lock that `fab airflow.lock` makes for the airflow.packages of hosts.yaml."""
    versions = cluster[Versions]
    asked = "\n".join(map(str, packages(cluster)))
    digest = hashlib.sha256(asked.encode()).hexdigest()[:8]
    name = f"airflow-{versions.airflow}-py{versions.python_series}-{digest}.lock"
    return cluster.file.parent / FOLDER / name


def text(cluster: Cluster) -> str:
    """The lock to install from; RunbookError if there is none for airflow.packages, or no lock."""
    if not packages(cluster):
        return render(own(cluster), {})
    place = file(cluster)
    try:
        found = place.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise RunbookError(
            f"airflow.packages of {cluster.file.name} has no lock for Airflow "
            f"{cluster[Versions].airflow} and Python {cluster[Versions].python_series}: "
            f"{FOLDER}/{place.name}. To make it: fab airflow.lock"
        ) from None
    pins(found, place.name)
    return found


@lru_cache(maxsize=8)
def pins(lock: str, name: str) -> dict[str, str]:
    """The pins of a lock by package, each with its hashes; RunbookError if it has anything else."""
    found, begin = {}, 0
    while begin < len(lock):
        pin = _PIN.match(lock, begin)
        part = pin or _COMMENT.match(lock, begin)
        end = part.end() if part else begin
        if lock[end : end + 1] not in ("\n", ""):
            place = lock.count("\n", 0, begin) + 1
            line = lock[begin:].partition("\n")[0]
            raise RunbookError(
                f"{name}:{place}: {shown(line)} is neither a version with its hashes nor a "
                "comment. Make it anew: fab airflow.lock"
            )
        if pin:
            found[normal(pin["name"])] = pin.group()
        begin = end + 1
    return found


def version(pin: str) -> str:
    """What a pin has after the name: a version, or `@` and a URL."""
    first = pin.partition(" \\")[0]
    return first.partition("==")[2] or f"@ {first.partition(' @ ')[2]}"
