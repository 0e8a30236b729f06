"""The dnf repositories that the lab's mirror serves: their RPMs, built, and their metadata."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lab.command import run
from lab.packages.model import REPOSITORIES, ROCKY, ROCKY9, Module
from lab.rpm.build import build_rpm
from lab.rpm.debs import download_debs
from lab.rpm.modules import module_metadata
from lab.rpm.plan import Rpm, plan_rpms


def build_repositories(base: Path, output: Path) -> None:
    """Fill `output` with one folder a repository, for hosts that are made from `base`."""
    work = output / "work"
    rpms = plan_rpms(download_debs(base, work / "debs"))
    with ThreadPoolExecutor(os.cpu_count()) as builders:
        list(builders.map(lambda rpm: build_rpm(rpm, base, work, output), rpms))
    _without_modules(output / ROCKY, output / ROCKY9, rpms)
    for name in REPOSITORIES:
        inside = [rpm for rpm in rpms if rpm.package.repository == name]
        _write_metadata(output / name, inside, work)
    shutil.rmtree(work)


def _without_modules(source: Path, target: Path, rpms: Iterable[Rpm]) -> None:
    """The same RPMs in another folder, without those of modules."""
    shutil.copytree(source, target, copy_function=os.link)
    for rpm in rpms:
        if rpm.package.module:
            for file in target.rglob(f"{rpm.name}-{rpm.version}-{rpm.package.release}.*.rpm"):
                file.unlink()


def _write_metadata(repository: Path, rpms: Iterable[Rpm], work: Path) -> None:
    """Write what dnf reads of a repository first, with the modules that its RPMs belong to."""
    repository.mkdir(exist_ok=True)
    run("createrepo_c", "--quiet", repository)
    artifacts: dict[Module, list[str]] = {}
    for rpm in rpms:
        if rpm.package.module:
            artifacts.setdefault(rpm.package.module, []).append(rpm.artifact)
    if artifacts:
        modules = work / "modules.yaml"
        modules.write_text(module_metadata(artifacts))
        run("modifyrepo_c", "--mdtype=modules", modules, repository / "repodata")
