"""Python packages from PyPI, made into files of an RPM."""

from __future__ import annotations

from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path
from zipfile import ZipFile

from lab.errors import LabError
from lab.packages.model import Wheel
from lab.pypi import fetch

LIBRARY = "usr/lib/python3/dist-packages"  # where the hosts' Python looks for what RPMs bring
# Patroni starts PostgreSQL in a child that imports the command again: hence the guard.
COMMAND = """\
#!/usr/bin/python3
import sys

from {module} import {function}

if __name__ == "__main__":
    sys.exit({function}())
"""


def download(wheel: Wheel, folder: Path) -> Path:
    """Fetch a wheel from PyPI; refuse one that is not the pinned one."""
    pinned = f"{wheel.project}=={wheel.version} --hash=sha256:{wheel.sha256}\n"
    [file] = fetch(pinned, folder, "--only-binary", ":all:")
    return file


def unpack(file: Path, commands: tuple[str, ...], tree: Path) -> None:
    """Lay a wheel and some of its commands into an RPM's tree."""
    with ZipFile(file) as archive:
        archive.extractall(tree / LIBRARY)
    found = dict(_entry_points(tree / LIBRARY))
    for name in commands:
        if name not in found:
            raise LabError(f"{file.name} has no command {name}; it has {', '.join(sorted(found))}")
        module, _, function = found[name].partition(":")
        path = tree / "usr/bin" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(COMMAND.format(module=module, function=function))
        path.chmod(0o755)


def _entry_points(library: Path) -> Iterator[tuple[str, str]]:
    for path in library.glob("*.dist-info/entry_points.txt"):
        parser = ConfigParser()
        parser.read(path)
        if parser.has_section("console_scripts"):
            yield from parser.items("console_scripts")
