"""From nothing to what a host boots from: a Debian base, dressed as Rocky, and its repository."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lab.cache import Cache, key_of
from lab.command import run
from lab.errors import LabError
from lab.rpm_repository import build_repository, build_stubs

HERE = Path(__file__).resolve().parent
ROCKY = HERE / "rocky"
SUITE = "bookworm"
USED_SUITES = frozenset({SUITE, f"{SUITE}-updates", f"{SUITE}-security"})


@dataclass(frozen=True)
class Image:
    """The cache entries that a lab runs on."""

    base: Path
    rocky: Path
    repository: Path

    @property
    def layers(self) -> str:
        """The read-only layers of a host's root, in overlayfs's notation."""
        return f"{self.rocky / 'upper'}:{self.base / 'root'}"

    @property
    def entries(self) -> tuple[Path, Path, Path]:
        return (self.base, self.rocky, self.repository)

    def complete(self) -> bool:
        return all(entry.exists() for entry in self.entries)

    def names(self) -> dict[str, str]:
        return {
            "base": self.base.name,
            "rocky": self.rocky.name,
            "repository": self.repository.name,
        }

    @classmethod
    def named(cls, root: Path, names: dict[str, str]) -> Image:
        return cls(root / names["base"], root / names["rocky"], root / names["repository"])


def wanted_image(cache: Cache) -> Image:
    """The image that this checkout describes, whether it is built or not."""
    base = key_of(SUITE, ROCKY / "build-base.sh", ROCKY / "base.packages")
    rpms = HERE / "rpm_repository.py"
    return Image(
        base=cache.root / f"base-{base}",
        rocky=cache.root / f"image-{key_of(base, ROCKY, rpms)}",
        repository=cache.root / f"repo-{key_of(base, HERE / 'packages.py', rpms)}",
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

    build(image.base, "the base from Debian packages, a minute or two", _build_base)
    root = image.base / "root"
    with ThreadPoolExecutor(2) as builders:
        builds = [
            builders.submit(
                build,
                image.repository,
                "the dnf repository",
                lambda output: build_repository(root, output),
            ),
            builders.submit(
                build,
                image.rocky,
                "the Rocky image",
                lambda output: _build_rocky(root, output),
            ),
        ]
    for finished in builds:
        finished.result()
    return image


def apt_sources(listed: str) -> Iterator[str]:
    """The lines for the base's packages out of a file in apt's one-line format."""
    for line in listed.splitlines():
        words = re.sub(r"\[.*?\]", "", line).split()
        if words[:1] == ["deb"] and words[2] in USED_SUITES and "main" in words[3:]:
            yield line.strip()


def deb822_sources(listed: str) -> Iterator[str]:
    """The stanzas for the base's packages out of a file in apt's newer format."""
    for stanza in re.split(r"\n\s*\n", listed):
        fields = {
            name.lower(): value.split()
            for name, value in re.findall(r"^([\w-]+):[ \t]*(.*)$", stanza, re.MULTILINE)
        }
        wanted = USED_SUITES.intersection(fields.get("suites", ()))
        enabled = fields.get("enabled", ["yes"]) != ["no"]
        if (
            enabled
            and wanted
            and "deb" in fields.get("types", ())
            and "main" in fields.get("components", ())
        ):
            yield stanza.strip()


def _build_base(output: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="lab-apt-") as folder:
        sources = list(_machine_sources(Path(folder)))
        options = Path(folder) / "apt.conf"
        settings = run("apt-config", "dump", "Acquire").stdout.splitlines()
        options.write_text("\n".join(line for line in settings if "Proxy" in line) + "\n")
        _run_in_private_mounts(ROCKY / "build-base.sh", output / "root", SUITE, options, *sources)


def _machine_sources(folder: Path) -> Iterator[Path]:
    """The machine's own apt sources, those for Debian's base system only, in files of ours."""
    etc = Path("/etc/apt")
    lists = [etc / "sources.list", *sorted(etc.glob("sources.list.d/*.list"))]
    stanzas = sorted(etc.glob("sources.list.d/*.sources"))
    found = {
        "lab.list": [line for path in lists if path.exists() for line in apt_sources(_text(path))],
        "lab.sources": [stanza for path in stanzas for stanza in deb822_sources(_text(path))],
    }
    if not any(found.values()):
        raise LabError(
            f"the lab's hosts are made from Debian 12 ({SUITE}) packages, and none of the sources"
            " in /etc/apt offers them"
        )
    for name, entries in found.items():
        if entries:
            path = folder / name
            path.write_text("\n\n".join(entries) + "\n")
            yield path


def _text(path: Path) -> str:
    return path.read_text(errors="replace")


def _build_rocky(base: Path, output: Path) -> None:
    stubs = output / "stubs"
    build_stubs(base, (ROCKY / "installed.rpms").read_text(), stubs)
    _run_in_private_mounts(ROCKY / "build-image.sh", base, output, stubs)
    shutil.rmtree(stubs)


def _run_in_private_mounts(*argv: object) -> None:
    """Run a command whose mounts vanish with it, however it ends."""
    run("unshare", "--mount", "--propagation", "private", "--", *argv)
