"""Programs of Debian 13 for the lab's hosts, which are made from Debian 12.

They need a newer C library than the hosts have, so packages that are made from them bring the
libraries and the dynamic loader that their programs use.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from lab import apt

SUITE = "trixie"


def run(*arguments: object, cwd: Path | None = None) -> str:
    """A command's output; it has to succeed."""
    words = [str(argument) for argument in arguments]
    return subprocess.run(words, cwd=cwd, check=True, capture_output=True, text=True).stdout


def fetched(folder: Path, *packages: str, suite: str = SUITE) -> tuple[Path, Path]:
    """These packages of Debian 13, and what they need, in one tree; and the program patchelf."""
    own = folder / "apt"
    for name in ("sources", "lists/partial", "cache/archives/partial"):
        (own / name).mkdir(parents=True)
    for path in apt.machine_sources(own / "sources"):
        path.write_text(path.read_text().replace(apt.SUITE, suite))
    (own / "status").touch()
    settings = {
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": own / "sources",
        "Dir::State::lists": own / "lists",
        "Dir::State::status": own / "status",
        "Dir::Cache": own / "cache",
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "root",
    }
    apt_get = ["apt-get", "-q", "-y", *apt.options(settings)]
    run(*apt_get, "update")
    run(*apt_get, "install", "--download-only", *packages)
    for deb in (own / "cache/archives").glob("*.deb"):
        run("dpkg-deb", "--extract", deb, folder / "debian")
    run("apt-get", "download", "patchelf", cwd=own)
    run("dpkg-deb", "--extract", next(own.glob("patchelf_*.deb")), own / "patchelf")
    return folder / "debian", own / "patchelf/usr/bin/patchelf"


def bring_libraries(
    programs: Iterable[Path], debian: Path, tree: Path, place: str, patchelf: Path
) -> None:
    """The libraries of these programs are in `place` of the package, and are the ones they use."""
    target = Path(f"{tree}{place}")
    target.mkdir(parents=True, exist_ok=True)
    shutil.copy(debian / "usr/lib64/ld-linux-x86-64.so.2", target)
    found = Path(f"{debian}/usr/lib/x86_64-linux-gnu")
    waiting = list(programs)
    while waiting:
        one = waiting.pop()
        for name in run(patchelf, "--print-needed", one).split():
            library = next(iter(found.rglob(name)), None)
            if library and not (target / name).exists():
                shutil.copyfile(library, target / name)
                (target / name).chmod(0o755)
                waiting.append(target / name)


def relinked(program: Path, place: str, patchelf: Path) -> None:
    """An executable finds its loader and libraries there, and so do modules that it loads."""
    if program.read_bytes()[:4] != b"\x7fELF":
        return
    loader = f"{place}/ld-linux-x86-64.so.2"
    run(patchelf, "--set-interpreter", loader, "--force-rpath", "--set-rpath", place, program)


def deb_version(debian: Path, name: str) -> str:
    """The version of a downloaded Debian package, from its file's name."""
    [deb] = (debian.parent / "apt/cache/archives").glob(f"{name}_*.deb")
    return deb.name.split("_")[1]
