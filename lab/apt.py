"""This machine's own apt sources, as far as the lab's hosts are made from them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from lab.command import run
from lab.errors import LabError

SUITE = "bookworm"
USED_SUITES = frozenset({SUITE, f"{SUITE}-updates", f"{SUITE}-security"})


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


def of_source_code(listed: str) -> str:
    """The same sources, in either format, asked for source code."""
    listed = re.sub(r"^deb\b", "deb-src", listed, flags=re.MULTILINE)
    return re.sub(r"^Types:.*$", "Types: deb-src", listed, flags=re.MULTILINE | re.IGNORECASE)


def machine_sources(folder: Path) -> Iterator[Path]:
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


def options(settings: Mapping[str, object]) -> list[str]:
    """Settings of apt, as options of its commands."""
    return [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]


def download_source(package: str, folder: Path) -> Path:
    """Fetch what upstream released as a package's source, as Debian keeps it."""
    own = folder / "apt"
    for name in ("sources", "lists/partial", "cache"):
        (own / name).mkdir(parents=True)
    for path in machine_sources(own / "sources"):
        path.write_text(of_source_code(path.read_text()))
    settings = {
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": own / "sources",
        "Dir::State::lists": own / "lists",
        "Dir::Cache": own / "cache",
        "APT::Sandbox::User": "root",
    }
    apt_get = ["env", f"--chdir={folder}", "apt-get", "--quiet", *options(settings)]
    run(*apt_get, "update")
    run(*apt_get, "source", "--download-only", "--tar-only", package)
    return next(folder.glob(f"{package}_*.orig.tar.*"))


def _text(path: Path) -> str:
    return path.read_text(errors="replace")
