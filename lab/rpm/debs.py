"""The Debian packages that RPMs are made from, with all that they depend on."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab import apt
from lab.command import run
from lab.packages import PACKAGES


@dataclass(frozen=True)
class Deb:
    """A downloaded Debian package."""

    path: Path
    name: str
    version: str
    description: str
    depends: tuple[tuple[str, ...], ...]  # each with its alternatives
    provides: tuple[str, ...]

    @classmethod
    def read(cls, path: Path) -> Deb:
        return cls.parse(path, run("dpkg-deb", "--field", path).stdout)

    @classmethod
    def parse(cls, path: Path, control: str) -> Deb:
        fields: dict[str, str] = dict(re.findall(r"^([\w-]+):[ \t]*(.*)$", control, re.MULTILINE))
        clauses = f"{fields.get('Pre-Depends', '')},{fields.get('Depends', '')}"
        return cls(
            path=path,
            name=fields["Package"],
            version=fields["Version"],
            description=fields.get("Description", fields["Package"]),
            depends=tuple(
                tuple(_bare_name(alternative) for alternative in clause.split("|"))
                for clause in clauses.split(",")
                if clause.strip()
            ),
            provides=tuple(
                _bare_name(name) for name in fields.get("Provides", "").split(",") if name.strip()
            ),
        )


def rpm_version(debian: str) -> str:
    """A Debian version without epoch and revision, in the characters that rpm allows."""
    upstream = re.sub(r"^\d+:", "", debian).rsplit("-", 1)[0]
    return re.sub(r"[^A-Za-z0-9._+~^]", "_", re.sub(r"[+.]dfsg\d*|[+]ds\d*", "", upstream))


def download_debs(base: Path, debs: Path) -> list[Deb]:
    """Download the Debian packages of lab.packages and all dependencies that the base lacks."""
    wanted = {name for package in PACKAGES.values() for name in (*package.debs, *package.depends)}
    return download(base, sorted(wanted), debs)


def download(base: Path, wanted: Sequence[str], debs: Path) -> list[Deb]:
    """Download Debian packages and all dependencies that the base lacks."""
    (debs / "partial").mkdir(parents=True)
    lists = debs.parent / "lists"
    shutil.copytree(base / "var/lib/apt/lists", lists)
    settings = {
        "Dir::State::status": base / "var/lib/dpkg/status",
        "Dir::State::extended_states": base / "var/lib/apt/extended_states",
        "Dir::State::lists": lists,
        "Dir::Etc::sourcelist": base / "etc/apt/sources.list",
        "Dir::Etc::sourceparts": base / "etc/apt/sources.list.d",
        "Dir::Cache": debs.parent,
        "Dir::Cache::archives": debs,
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "root",
        "APT::Keep-Downloaded-Packages": "true",
    }
    apt_get = ["apt-get", "--quiet", "--yes", *apt.options(settings)]
    install = [*apt_get, "install", "--download-only", *wanted]
    if run(*install, check=False).returncode:
        # The cached base is older than the mirror: what its lists name may be gone.
        run(*apt_get, "update")
        run(*install)
    present = installed_debs(base)
    found = [Deb.read(path) for path in sorted(debs.glob("*.deb"))]
    return [deb for deb in found if deb.name not in present]


def installed_debs(base: Path) -> dict[str, str]:
    """Name → version of the Debian packages that are installed in the base."""
    shown = run(
        "dpkg-query", f"--admindir={base}/var/lib/dpkg", "-W", "-f", "${Package} ${Version}\\n"
    ).stdout
    return dict(line.split(" ", 1) for line in shown.splitlines() if not line.endswith(" "))


def _bare_name(clause: str) -> str:
    """The package's name in a clause such as `libc6:any (>= 2.36)`."""
    return re.sub(r"[:(\[\s].*", "", clause.strip())
