"""One RPM: its files are put together, and rpmbuild packs them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from lab.command import run
from lab.rpm.plan import Rpm
from lab.rpm.spec import spec_of
from lab.rpm.tree import place, to_rhel_layout
from lab.rpm.wheels import download, unpack


def build_rpm(rpm: Rpm, base: Path, work: Path, output: Path) -> None:
    """Build an RPM into its repository's folder in `output`."""
    tree = work / "trees" / rpm.key
    _fill(tree, rpm, base, work)
    spec = spec_of(rpm, tree, base)
    rpmbuild(rpm.key, spec, work / "rpmbuild" / rpm.key, output / rpm.package.repository)
    shutil.rmtree(tree)


def _fill(tree: Path, rpm: Rpm, base: Path, work: Path) -> None:
    """Lay the RPM's files into the tree: of Debian packages, the base, a wheel, and its entry."""
    tree.mkdir(parents=True)
    for deb in rpm.debs:
        run("dpkg-deb", "--extract", deb.path, tree)
    for name in rpm.package.from_base:
        shutil.copyfile(f"{base}{name}", place(tree, name))
    wheel = rpm.package.wheel
    if wheel:
        unpack(download(wheel, work / "wheels" / rpm.key), wheel.commands, tree)
    to_rhel_layout(tree, rpm.key, rpm.package)


def rpmbuild(name: str, spec: str, work: Path, output: Path) -> None:
    """Run rpmbuild; `work` is gone afterwards, and the RPMs are below `output`."""
    work.mkdir(parents=True)
    output.mkdir(parents=True, exist_ok=True)
    path = work / f"{name}.spec"
    path.write_text(spec + "\n")
    macros: Mapping[str, object] = {
        "_topdir": work / "top",
        "_rpmdir": output,
        "buildroot": work / "buildroot",
        "__os_install_post": "%{nil}",
        "debug_package": "%{nil}",
        "_build_id_links": "none",
        "_binary_payload": "w1.gzdio",
    }
    defines = [word for macro, body in macros.items() for word in ("--define", f"{macro} {body}")]
    run("rpmbuild", "-bb", "--quiet", *defines, path)
    shutil.rmtree(work)
