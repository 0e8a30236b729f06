"""RabbitMQ 4 and its Erlang in a repository of the lab's, in real binaries of Debian 13.

Debian has one RabbitMQ 4, so the later version is the same once more, but for what rpm sees and the
node reports. Erlang brings the libraries that it needs (support.trixie).
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from support.later_rabbitmq import repack, report_otp, report_version
from support.trixie import SUITE, bring_libraries, deb_version, fetched, relinked, run

from lab.image import wanted_image
from lab.machine import Lab
from lab.packages import PACKAGES
from lab.rpm.build import rpmbuild
from lab.rpm.plan import Rpm
from lab.rpm.spec import spec_of
from lab.rpm.tree import to_rhel_layout

NAME = "rabbitmq4"
LATER = "4.1.8"
LATER_ERLANG = "27.3.4.9"
BUNDLED = "/usr/lib/erlang/bundled"
SERVER_NEEDS = ("erlang >= 26.2", "logrotate")


@dataclass(frozen=True)
class Offer:
    """A repository of the lab's mirror, and the versions in it."""

    url: str
    rabbitmq: str
    erlang: str


def offer(lab: Lab, folder: Path, suite: str = SUITE) -> Offer:
    """A repository with Debian's versions of both packages, and the later ones."""
    debian, patchelf = fetched(folder, "rabbitmq-server", suite=suite)
    target = lab.state / "mirror" / f"{NAME}-{suite}"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    base = wanted_image(lab.cache).base / "root"
    rabbitmq = upstream(deb_version(debian, "rabbitmq-server"))
    erlang = upstream(deb_version(debian, "erlang-base"))
    for name, version in (("erlang", erlang), ("rabbitmq-server", rabbitmq)):
        pack(name, version, debian, patchelf, base, folder / name, target)
    for name, version, change in (
        ("erlang", LATER_ERLANG, partial(report_otp, version=LATER_ERLANG)),
        ("rabbitmq-server", LATER, partial(report_version, version=LATER)),
    ):
        [package] = target.rglob(f"{name}-[0-9]*.rpm")
        repack(package, name, version, change, folder / f"later-{name}", target)
    run("createrepo_c", "--quiet", target)
    return Offer(f"http://$labmirror/{target.name}", rabbitmq, erlang)


def upstream(version: str) -> str:
    """The version that upstream gave: 27.3.4.1 of 1%3a27.3.4.1+dfsg-1+deb13u4."""
    found = re.match(r"(?:[0-9]+(?::|%3a))?([0-9]+(?:\.[0-9]+)+)", version)
    assert found, version
    return found[1]


def pack(
    name: str, version: str, debian: Path, patchelf: Path, base: Path, work: Path, target: Path
) -> None:
    """One package, made as the lab's own are (lab.packages.rabbitmq)."""
    tree = work / "tree"
    tree.mkdir(parents=True)
    archives = debian.parent / "apt/cache/archives"
    for deb in archives.glob("erlang-*.deb" if name == "erlang" else f"{name}_*.deb"):
        run("dpkg-deb", "--extract", deb, tree)
    package = replace(PACKAGES[name], version=version)
    needs: tuple[str, ...] = ()
    if name == "erlang":
        bundle(tree, debian, patchelf)
    else:
        needs = SERVER_NEEDS
    to_rhel_layout(tree, name, package)
    rpm = Rpm(name, package, (), frozenset(needs))
    rpmbuild(name, spec_of(rpm, tree, base), work / "rpmbuild", target)


def bundle(tree: Path, debian: Path, patchelf: Path) -> None:
    """Erlang's programs, and what they load, find Debian 13's libraries."""
    programs = [path for path in tree.rglob("*") if binary(path)]
    bring_libraries(programs, debian, tree, BUNDLED, patchelf)
    for program in programs:
        if program.suffix != ".so":
            relinked(program, BUNDLED, patchelf)


def binary(path: Path) -> bool:
    """Whether this is a program or a module that one loads."""
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"
