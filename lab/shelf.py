"""What the mirror offers beside RPMs: Python's source code and the packages of our locks.

The packages come as an index of the simple kind (PEP 503), made of files alone.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from html import escape
from pathlib import Path
from urllib.parse import quote
from zipfile import ZipFile

from lab import CHECKOUT
from lab.apt import download_source
from lab.errors import LabError
from lab.pypi import PYTHON, fetch

FOLDER = CHECKOUT / "files" / "airflow"
LOCKS = f"*-py{PYTHON}.lock"
MORE = CHECKOUT / "lab" / f"more-py{PYTHON}.lock"  # what a team installs beside Airflow
TOOLS = "build-tools.lock"
PIN = re.compile(r"^\w.*(?:\n[ \t].*)*", re.MULTILINE)  # of a lock: the pin with its hashes
DOWNLOADS = 4  # at a time; pip itself fetches one file after the other

SOURCES, INDEX = "sources", "simple"  # what the mirror serves them as
PACKAGE = "python3.11"  # Debian's, for its upstream source
TARBALL = "Python-3.11.2.tgz"  # what python.org calls it
TARBALL_SHA256 = "2411c74bda5bbcfcddaf4531f66d1adc73f247f529aee981b029513aefdbf849"


def locks(folder: Path = FOLDER) -> list[Path]:
    """The locks for the hosts' Python; that of the tools which build packages comes last.

    Among them is one of packages that no lock of Airflow has, as a team would install.
    """
    found = sorted(folder.glob(LOCKS))
    if not found:
        raise LabError(f"there is no {LOCKS} in {folder}")
    return [*found, MORE, folder / TOOLS]


def build_shelf(output: Path) -> None:
    """Fill `output` with what the mirror serves as /sources/ and /simple/."""
    work = output / "work"
    *packages, tools = locks()
    with ThreadPoolExecutor(DOWNLOADS + 1) as downloads:
        tarball = downloads.submit(_download_python, work / "python", output / SOURCES)
        files = fetch(tools.read_text(), work / "tools")
        build = _build_environment(files, work / "lib")

        def download(numbered: tuple[int, str]) -> list[Path]:
            number, share = numbered
            return fetch(share, work / str(number), "--no-build-isolation", env=build)

        for fetched in downloads.map(download, enumerate(shares(pins(packages), DOWNLOADS))):
            files += fetched
        tarball.result()
    write_index(files, output / INDEX)
    shutil.rmtree(work)


def pins(files: Iterable[Path]) -> list[str]:
    """What the locks pin, each once."""
    return sorted({pin for file in files for pin in PIN.findall(file.read_text())})


def shares(sorted_pins: list[str], count: int) -> list[str]:
    """Pins dealt out so that two versions of a project, which pip refuses, are apart."""
    return ["\n".join(sorted_pins[number::count]) + "\n" for number in range(count)]


def write_index(files: Iterable[Path], index: Path) -> None:
    """Move wheels and source distributions into an index: a folder with a page a project."""
    for file in files:
        folder = index / project_of(file.name)
        folder.mkdir(parents=True, exist_ok=True)
        file.replace(folder / file.name)
    projects = sorted(index.iterdir())
    for folder in projects:
        _write_page(folder, [f"{file.name}#sha256={sha256(file)}" for file in folder.iterdir()])
    _write_page(index, [f"{folder.name}/" for folder in projects])


def project_of(file: str) -> str:
    """The project's name, as an index spells it, of a wheel or a source distribution."""
    name = file.partition("-")[0] if file.endswith(".whl") else file.rpartition("-")[0]
    return re.sub(r"[-_.]+", "-", name).lower()


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _write_page(folder: Path, links: Iterable[str]) -> None:
    lines = ["<!DOCTYPE html>", f"<title>{folder.name}</title>"]
    for link in sorted(links):
        name = link.partition("#")[0].rstrip("/")
        lines.append(f'<a href="{quote(link, safe="/#=")}">{escape(name)}</a><br>')
    (folder / "index.html").write_text("\n".join(lines) + "\n")


def _download_python(work: Path, output: Path) -> None:
    downloaded = download_source(PACKAGE, work)
    if sha256(downloaded) != TARBALL_SHA256:
        raise LabError(f"Debian's source of {PACKAGE} is not that of {TARBALL} any more")
    output.mkdir()
    downloaded.rename(output / TARBALL)


def _build_environment(tools: Iterable[Path], library: Path) -> dict[str, str]:
    """Lets pip ask a source distribution for its name, with no tools but these."""
    for file in tools:
        if file.name.endswith("-none-any.whl"):
            with ZipFile(file) as archive:
                archive.extractall(library)
    return {"PYTHONPATH": str(library)}
