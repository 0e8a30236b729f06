"""The spec file of an RPM: what rpmbuild is told."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from lab.packages.model import Directory, File, Package, User
from lab.rpm.plan import Rpm
from lab.rpm.tree import inside

UNIT = re.compile(r"/usr/lib/systemd/system/[^/]+\.(service|socket|timer|target|path)")


def spec_of(rpm: Rpm, tree: Path, base: Path) -> str:
    """The spec of an RPM with the files in `tree`, for hosts that are made from `base`."""
    package = rpm.package
    paths = sorted(f"/{path.relative_to(tree)}" for path in tree.rglob("*"))
    units = [
        path.rpartition("/")[2]
        for path in paths
        if UNIT.fullmatch(path) and not inside(tree, path).is_symlink()
    ]
    has_library = any(re.search(r"\.so\.\d", path) for path in paths)
    lines = [
        *preamble(rpm.name, rpm.version, package.release, rpm.summary),
        *(["BuildArch: noarch"] if package.noarch else []),
        *([f"ModularityLabel: {package.module.label}"] if package.module else []),
        *(f"Requires: {name}" for name in sorted(rpm.requires)),
        *(f"Provides: {name} = {rpm.version}-{package.release}" for name in package.provides),
        "%description",
        rpm.summary,
        "%install",
        f"cp -a {tree}/. %{{buildroot}}/",
    ]
    for section, body in scriptlets(package, units, has_library).items():
        lines += [f"%{section}", body]
    lines += ["%files", "%defattr(-,root,root,-)", *_file_list(tree, paths, package, base)]
    return "\n".join(lines)


def preamble(name: str, version: str, release: str, summary: str) -> list[str]:
    """The first lines of a spec."""
    return [
        f"Name: {name}",
        f"Version: {version}",
        f"Release: {release}",
        f"Summary: {_escaped(summary)}",
        "License: various",
        "Vendor: the lab",
        # Requires and Provides come from the Debian packages, not from looking into the files.
        "AutoReqProv: no",
    ]


def scriptlets(package: Package, units: Iterable[str], has_library: bool) -> dict[str, str]:
    """What the RPM runs when it is installed and removed, the way RHEL's macros do it."""
    names = " ".join(sorted(unit for unit in units if "@" not in unit))
    reload = "systemctl daemon-reload >/dev/null 2>&1 || :\n" if names else ""
    ldconfig = "/usr/sbin/ldconfig\n" if has_library else ""
    groups = {**package.groups, **{user.name: user.uid for user in package.users}}
    pre = "".join(_add_group(name, number) for name, number in groups.items())
    pre += "".join(_add_user(user) for user in package.users)
    post = preun = ""
    if names:
        post = f"[ $1 -ne 1 ] || systemctl --no-reload preset {names} >/dev/null 2>&1 || :\n"
        preun = (
            f"[ $1 -ne 0 ] || systemctl --no-reload disable --now {names} >/dev/null 2>&1 || :\n"
        )
    bodies = {
        "pre": pre,
        "post": ldconfig + post + reload + package.post,
        "preun": preun + package.preun,
        "postun": ldconfig + reload,
    }
    return {section: body for section, body in bodies.items() if body}


def _add_group(name: str, number: int) -> str:
    option = f"-g {number} " if number else ""
    return f"getent group {name} >/dev/null || groupadd -r {option}{name}\n"


def _add_user(user: User) -> str:
    option = f"-u {user.uid} " if user.uid else ""
    return (
        f"getent passwd {user.name} >/dev/null || "
        f"useradd -r -M -g {user.name} {option}-d {user.home} -s {user.shell} {user.name}\n"
    )


def _file_list(tree: Path, paths: Iterable[str], package: Package, base: Path) -> Iterator[str]:
    """The spec's %files. A folder that the base has belongs to the base."""
    owned: dict[str, Directory] = {**package.attributes, **package.directories}
    for name, content in package.files.items():
        if isinstance(content, File):
            owned[name] = Directory(content.mode, content.owner, content.group)
    for name in paths:
        path = inside(tree, name)
        attributes = owned.get(name)
        prefix = ""
        if attributes:
            prefix = f"%attr({attributes.mode},{attributes.owner},{attributes.group}) "
        if path.is_dir() and not path.is_symlink():
            if attributes or not os.path.lexists(f"{base}{name}"):
                yield f'{prefix}%dir "{_escaped(name)}"'
            continue
        if name.startswith("/etc/") and not path.is_symlink():
            prefix += "%config(noreplace) "
        yield f'{prefix}"{_escaped(name)}"'


def _escaped(text: str) -> str:
    return text.replace("%", "%%")
