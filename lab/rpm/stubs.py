"""RPMs without files, which tell rpm's database what the base has from Debian packages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lab.errors import LabError
from lab.rpm.build import rpmbuild
from lab.rpm.debs import installed_debs, rpm_version
from lab.rpm.spec import preamble


def build_stubs(base: Path, installed: str, output: Path) -> None:
    """Build a stub for each line of rocky/installed.rpms."""
    debs = installed_debs(base)
    spec = [*preamble("installed", "0", "0", "What the base has"), "%description", "."]
    for line in installed.splitlines():
        if line.strip() and not line.startswith("#"):
            spec += _stub(line, debs)
    rpmbuild("installed", "\n".join(spec), output.parent / "stub-work", output)


def _stub(line: str, debs: Mapping[str, str]) -> list[str]:
    """A subpackage for one line of rocky/installed.rpms."""
    name, source, *provides = line.split()
    if source.startswith("="):
        version, _, release = source[1:].partition("-")
    elif source in debs:
        version, release = rpm_version(debs[source]), ""
    else:
        raise LabError(f"rocky/installed.rpms names {source}, which is not in rocky/base.packages")
    return [
        f"%package -n {name}",
        f"Version: {version}",
        f"Release: {release or '1.el8'}",
        f"Summary: {name}",
        *(f"Provides: {item.replace('=', ' = ')}" for item in provides),
        f"%description -n {name}",
        name,
        f"%files -n {name}",
    ]
