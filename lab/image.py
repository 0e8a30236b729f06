"""Builds what hosts boot from and download: a Debian base, Rocky, repositories, shelf."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

from lab.apt import SUITE, machine_sources
from lab.cache import Cache, key_of
from lab.command import run
from lab.rpm.repository import build_repositories
from lab.rpm.stubs import build_stubs
from lab.shelf import build_shelf, locks

HERE = Path(__file__).resolve().parent
ROCKY = HERE / "rocky"
RPM_BUILDERS = ("rpm", "pypi.py", "apt.py")
SHELF_BUILDERS = ("shelf.py", "pypi.py", "apt.py")


@dataclass(frozen=True)
class Image:
    """The cache entries that a lab runs on."""

    base: Path
    rocky: Path
    repository: Path
    shelf: Path

    @property
    def layers(self) -> str:
        """The read-only layers of a host's root, in overlayfs's notation."""
        return f"{self.rocky / 'upper'}:{self.base / 'root'}"

    @property
    def entries(self) -> tuple[Path, ...]:
        return (self.base, self.rocky, self.repository, self.shelf)

    def complete(self) -> bool:
        return all(entry.exists() for entry in self.entries)

    def names(self) -> dict[str, str]:
        return {field.name: getattr(self, field.name).name for field in fields(self)}

    @classmethod
    def named(cls, root: Path, names: Mapping[str, str]) -> Image:
        """The image of a lab's record; an entry that an old record lacks has a path to nothing."""
        return cls(*(root / names.get(field.name, field.name) for field in fields(cls)))


def wanted_image(cache: Cache) -> Image:
    """The image that this checkout describes, whether it is built or not."""
    base = key_of(SUITE, ROCKY / "build-base.sh", ROCKY / "base.packages")
    rpms = [HERE / name for name in RPM_BUILDERS]
    shelf = [HERE / name for name in SHELF_BUILDERS]
    return Image(
        base=cache.root / f"base-{base}",
        rocky=cache.root / f"image-{key_of(base, ROCKY, *rpms)}",
        repository=cache.root / f"repo-{key_of(base, HERE / 'packages', *rpms)}",
        shelf=cache.root / f"shelf-{key_of(*shelf, *locks())}",
    )


def build_image(cache: Cache, say: Callable[[str], None]) -> Image:
    """Build what the cache lacks of this checkout's image."""
    image = wanted_image(cache)
    if image.complete():
        return image

    def build(entry: Path, what: str, make: Callable[[Path], None]) -> None:
        if entry.exists():
            return
        say(f"building {what}")
        kind, _, key = entry.name.partition("-")
        cache.build(kind, key, make)
        say(f"built {what}")

    root = image.base / "root"
    shelf = "the shelf: Python's source and packages from PyPI"
    repositories, rocky = partial(build_repositories, root), partial(_build_rocky, root)
    with ThreadPoolExecutor(3) as builders:
        builds = [builders.submit(build, image.shelf, shelf, build_shelf)]
        build(image.base, "the base from Debian packages, a minute or two", _build_base)
        builds += [
            builders.submit(build, image.repository, "the dnf repositories", repositories),
            builders.submit(build, image.rocky, "the Rocky image", rocky),
        ]
    for finished in builds:
        finished.result()
    return image


def _build_base(output: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="lab-apt-") as folder:
        sources = list(machine_sources(Path(folder)))
        options = Path(folder) / "apt.conf"
        settings = run("apt-config", "dump", "Acquire").stdout.splitlines()
        options.write_text("\n".join(line for line in settings if "Proxy" in line) + "\n")
        _run_in_private_mounts(ROCKY / "build-base.sh", output / "root", SUITE, options, *sources)


def _build_rocky(base: Path, output: Path) -> None:
    stubs = output / "stubs"
    build_stubs(base, (ROCKY / "installed.rpms").read_text(), stubs)
    _run_in_private_mounts(ROCKY / "build-image.sh", base, output, stubs)
    shutil.rmtree(stubs)


def _run_in_private_mounts(*argv: object) -> None:
    """Run a command whose mounts vanish with it, however it ends."""
    run("unshare", "--mount", "--propagation", "private", "--", *argv)
