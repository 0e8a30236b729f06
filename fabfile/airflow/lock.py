"""Compiles airflow.packages and Airflow's own pins into a lock, with uv, on this machine."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Optional

from runbook.declare.probes import CLUSTER_WIDE
from runbook.declare.templates import render
from runbook.errors import SettingsError
from runbook.inventory.cluster import Cluster, Host
from runbook.results import HostResult, Status, StepResult

from .. import python_build
from ..shared.versions import Versions
from . import pins
from .common import section
from .uv import resolved

if TYPE_CHECKING:
    from runbook.execute.run import Run


@section.on_controller(
    on=python_build.only_builder,
    alone=True,
    help={"upgrade": "take newer versions of what the lock already has"},
)
def lock(run: Run, hosts: Sequence[Host], *, upgrade: bool = False) -> None:
    """Lock airflow.packages together with Airflow's own: every file by its hash.

    The lock is a file in the folder `locks` beside hosts.yaml; commit it. fab airflow.install
    installs from it. A package that you name with a version takes the place of Airflow's pin.
    """
    cluster = run.cluster
    result = HostResult(run.task, CLUSTER_WIDE, run.options.mode)
    if not pins.packages(cluster):
        said = f"{cluster.file.name} has no airflow.packages; Airflow's own lock is used"
        result.add(StepResult(said, "", Status.OK))
        run.conclude(result)
        return
    file = pins.file(cluster)
    part = StepResult(f"{pins.FOLDER}/{file.name} is the lock of airflow.packages", "")
    before = file.read_text(encoding="utf-8") if file.is_file() else ""
    fresh = before and own_digest(cluster) in before and not upgrade
    text = before if fresh else compiled(cluster, before, upgrade)
    part.status = Status.OK
    if text != before:
        part.status = Status.DIFFERS if run.options.plan else Status.CHANGED
        part.output = list(changes(before or render(pins.own(cluster), {}), text))
    if part.status is Status.CHANGED:
        written(file, text)
        run.report.say("\n".join(f"  {line}" for line in part.output))
        run.report.say(f"  Commit {file}. Then: fab airflow.install airflow.ship airflow.receive")
    result.add(part)
    run.conclude(result)


def own_digest(cluster: Cluster) -> str:
    """The line of a lock that says on which pins of Airflow it is based."""
    digest = hashlib.sha256(render(pins.own(cluster), {}).encode()).hexdigest()[:16]
    return f"# Airflow's own pins: {digest}"


def changes(before: str, after: str) -> Iterator[str]:
    """The pins that come, go or change, as lines of a diff without their hashes."""
    old, new = (
        [f"{name} {pins.version(pin)}" for name, pin in sorted(pins.pins(text, "lock").items())]
        for text in (before, after)
    )
    for line in difflib.ndiff(old, new):
        if line.startswith(("+ ", "- ")):
            yield line


def written(file: Path, text: str) -> None:
    """Write the lock at once or not at all."""
    try:
        file.parent.mkdir(exist_ok=True)
        new = file.with_suffix(".new")
        new.write_text(text, encoding="utf-8")
        new.replace(file)
    except OSError as error:
        raise SettingsError(f"{file} cannot be written: {error.strerror}.") from None


def compiled(cluster: Cluster, before: str, upgrade: bool) -> str:
    """The text of the lock: what uv resolves, with Airflow's own pins as they are."""
    own = pins.pins(render(pins.own(cluster), {}), pins.own(cluster))
    text = resolved(requirements(cluster, own), before or latest(cluster), upgrade, cluster)
    found = pins.pins(text, "what uv made")
    kept = {name: own[name] if same(own.get(name), pin) else pin for name, pin in found.items()}
    body = "\n".join(kept[name] for name in sorted(kept))
    return f"{header(cluster)}\n{body}\n"


def latest(cluster: Cluster) -> str:
    """The newest lock of other packages for the same Airflow and Python; empty if there is none."""
    file = pins.file(cluster)
    others = file.parent.glob(f"{file.stem.rpartition('-')[0]}-*.lock")
    newest = max(others, key=lambda other: other.stat().st_mtime, default=None)
    return newest.read_text(encoding="utf-8") if newest else ""


def same(one: Optional[str], other: str) -> bool:
    """Whether two pins are of the same version."""
    return one is not None and pins.version(one) == pins.version(other)


def header(cluster: Cluster) -> str:
    """What the lock is for, in comments."""
    versions = cluster[Versions]
    lines = [
        f"# Airflow {versions.airflow} for Python {versions.python_series} with airflow.packages;"
        " made by fab airflow.lock:",
        *(f"#   {one}" for one in pins.packages(cluster)),
        own_digest(cluster),
    ]
    return "\n".join(lines)


def requirements(cluster: Cluster, own: Mapping[str, str]) -> list[str]:
    """What uv has to resolve: Airflow's pins and airflow.packages, which override them by name."""
    asked = pins.packages(cluster)
    overridden = {one.name for one in asked if one.versions or one.url}
    kept = [pin.partition(" \\")[0] for name, pin in own.items() if name not in overridden]
    return [*kept, *map(str, asked)]
