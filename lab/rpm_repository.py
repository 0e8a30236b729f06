"""Make dnf repositories out of Debian packages, as lab.packages describes them."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lab.command import run
from lab.errors import LabError
from lab.modules import module_metadata
from lab.packages import NOT_SHIPPED, PACKAGES
from lab.packages.model import REPOSITORIES, Directory, File, Module, Package, User
from lab.rpm_tree import place, to_rhel_layout
from lab.wheels import download, unpack

UNIT = re.compile(r"/usr/lib/systemd/system/[^/]+\.(service|socket|timer|target|path)")


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


@dataclass(frozen=True)
class Rpm:
    """An RPM to be built: its entry's key, how it differs, and the Debian packages in it."""

    key: str
    package: Package
    debs: tuple[Deb, ...]
    requires: frozenset[str]

    @property
    def name(self) -> str:
        return self.package.name or self.key

    @property
    def version(self) -> str:
        if self.package.version:
            return self.package.version
        if self.package.wheel:
            return self.package.wheel.version
        return rpm_version(self.debs[0].version)

    @property
    def artifact(self) -> str:
        """How a module names it."""
        arch = "noarch" if self.package.noarch else "x86_64"
        return f"{self.name}-0:{self.version}-{self.package.release}.{arch}"

    @property
    def summary(self) -> str:
        if self.package.summary or not self.debs:
            return self.package.summary or self.name
        return self.debs[0].description


def build_repository(base: Path, output: Path) -> None:
    """Fill `output` with one folder a repository, for hosts that are made from `base`."""
    work = output / "work"
    rpms = plan_rpms(_download(base, work / "debs"))
    with ThreadPoolExecutor(os.cpu_count()) as builders:
        list(builders.map(lambda rpm: _build(rpm, base, work, output), rpms))
    for name in REPOSITORIES:
        inside = [rpm for rpm in rpms if rpm.package.repository == name]
        _index(output / name, inside, work)
    shutil.rmtree(work)


def _index(repository: Path, rpms: Iterable[Rpm], work: Path) -> None:
    """Write a repository's metadata."""
    repository.mkdir(exist_ok=True)
    run("createrepo_c", "--quiet", repository)
    artifacts: dict[Module, list[str]] = {}
    for rpm in rpms:
        if rpm.package.module:
            artifacts.setdefault(rpm.package.module, []).append(rpm.artifact)
    if artifacts:
        modules = work / "modules.yaml"
        modules.write_text(module_metadata(artifacts))
        run("modifyrepo_c", "--mdtype=modules", modules, repository / "repodata")


def build_stubs(base: Path, installed: str, output: Path) -> None:
    """Make RPMs without files, so that rpm's database knows what the base already has."""
    spec = [*_preamble("installed", "0", "0", "What the base has"), "%description", "."]
    for line in installed.splitlines():
        if line.strip() and not line.startswith("#"):
            spec += _stub(line, base)
    _rpmbuild("installed", "\n".join(spec), output.parent / "stub-work", output)


def rpm_version(debian: str) -> str:
    """A Debian version without epoch and revision, in the characters that rpm allows."""
    upstream = re.sub(r"^\d+:", "", debian).rsplit("-", 1)[0]
    return re.sub(r"[^A-Za-z0-9._+~^]", "_", re.sub(r"[+.]dfsg\d*|[+]ds\d*", "", upstream))


def plan_rpms(debs: Iterable[Deb]) -> list[Rpm]:
    """Which RPMs are built from which Debian packages, and what each requires."""
    shipped = {deb.name: deb for deb in debs if deb.name not in NOT_SHIPPED}
    claimed = {name: rpm for rpm, package in PACKAGES.items() for name in package.debs}
    providers = {virtual: deb.name for deb in shipped.values() for virtual in deb.provides}
    members: dict[str, list[Deb]] = {rpm: [] for rpm in PACKAGES}
    for deb in shipped.values():
        members.setdefault(claimed.get(deb.name, deb.name), []).append(deb)

    def required(depends: Iterable[tuple[str, ...]]) -> Iterator[str]:
        for alternatives in depends:
            candidates = (name if name in shipped else providers.get(name) for name in alternatives)
            chosen = next((name for name in candidates if name), None)
            if chosen:  # otherwise the base has it
                yield claimed.get(chosen, chosen)

    rpms = {}
    for key, inside in members.items():
        package = PACKAGES.get(key, Package())
        depends = [clause for deb in inside for clause in deb.depends]
        depends += [(name,) for name in package.depends]
        wanted = {*required(depends), *package.requires} - {key, *package.without}
        if package.part:
            inside = members[package.part.entry]
        order = {deb: position for position, deb in enumerate(package.debs)}
        inside.sort(key=lambda deb: order.get(deb.name, len(order)))
        if package.debs and not inside:
            raise LabError(f"the base already has what the lab's package {key} is made from")
        rpms[key] = Rpm(key, package, tuple(inside), frozenset(wanted))
    return list(_needed(rpms))


def _needed(rpms: Mapping[str, Rpm]) -> Iterator[Rpm]:
    """The RPMs of PACKAGES and what they require; not what only Debian's plumbing wanted."""
    waiting, seen = list(PACKAGES), set(PACKAGES)
    while waiting:
        rpm = rpms[waiting.pop()]
        yield rpm
        found = {name.split()[0] for name in rpm.requires}.intersection(rpms) - seen
        waiting += found
        seen |= found


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


def _download(base: Path, debs: Path) -> list[Deb]:
    """Fetch the Debian packages of lab.packages with all dependencies that the base lacks."""
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
    apt = ["apt-get", "--quiet", "--yes"]
    apt += [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    wanted = sorted(
        {name for package in PACKAGES.values() for name in (*package.debs, *package.depends)}
    )
    download = [*apt, "install", "--download-only", *wanted]
    if run(*download, check=False).returncode:
        # The cached base is older than the mirror: what its lists name may be gone.
        run(*apt, "update")
        run(*download)
    present = _debian_packages(base)
    found = [Deb.read(path) for path in sorted(debs.glob("*.deb"))]
    return [deb for deb in found if deb.name not in present]


def _debian_packages(base: Path) -> dict[str, str]:
    """Name → version of what is installed in the base."""
    shown = run(
        "dpkg-query", f"--admindir={base}/var/lib/dpkg", "-W", "-f", "${Package} ${Version}\\n"
    ).stdout
    return dict(line.split(" ", 1) for line in shown.splitlines() if not line.endswith(" "))


def _build(rpm: Rpm, base: Path, work: Path, output: Path) -> None:
    tree = work / "trees" / rpm.key
    tree.mkdir(parents=True)
    for deb in rpm.debs:
        run("dpkg-deb", "--extract", deb.path, tree)
    for name in rpm.package.from_base:
        shutil.copyfile(f"{base}{name}", place(tree, name))
    wheel = rpm.package.wheel
    if wheel:
        unpack(download(wheel, work / "wheels" / rpm.key), wheel.commands, tree)
    to_rhel_layout(tree, rpm.key, rpm.package)
    paths = sorted(f"/{path.relative_to(tree)}" for path in tree.rglob("*"))
    units = [
        path.rpartition("/")[2]
        for path in paths
        if UNIT.fullmatch(path) and not Path(f"{tree}{path}").is_symlink()
    ]
    has_library = any(re.search(r"\.so\.\d", path) for path in paths)
    release = rpm.package.release
    spec = [
        *_preamble(rpm.name, rpm.version, release, rpm.summary),
        *(["BuildArch: noarch"] if rpm.package.noarch else []),
        *([f"ModularityLabel: {rpm.package.module.label}"] if rpm.package.module else []),
        *(f"Requires: {name}" for name in sorted(rpm.requires)),
        *(f"Provides: {name} = {rpm.version}-{release}" for name in rpm.package.provides),
        "%description",
        rpm.summary,
        "%install",
        f"cp -a {tree}/. %{{buildroot}}/",
    ]
    for section, body in scriptlets(rpm.package, units, has_library).items():
        spec += [f"%{section}", body]
    spec += ["%files", "%defattr(-,root,root,-)", *_file_list(tree, paths, rpm.package, base)]
    repository = output / rpm.package.repository
    _rpmbuild(rpm.key, "\n".join(spec), work / "rpmbuild" / rpm.key, repository)
    shutil.rmtree(tree)


def _file_list(tree: Path, paths: Iterable[str], package: Package, base: Path) -> Iterator[str]:
    """The spec's %files. A folder that the base has belongs to the base."""
    owned: dict[str, Directory] = {**package.attributes, **package.directories}
    for name, content in package.files.items():
        if isinstance(content, File):
            owned[name] = Directory(content.mode, content.owner, content.group)
    for name in paths:
        path = Path(f"{tree}{name}")
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


def _stub(line: str, base: Path) -> list[str]:
    """A subpackage for one line of rocky/installed.rpms."""
    name, source, *provides = line.split()
    if source.startswith("="):
        version, _, release = source[1:].partition("-")
    else:
        version, release = rpm_version(_version_in(base, source)), "1.el8"
    return [
        f"%package -n {name}",
        f"Version: {version}",
        f"Release: {release or '1.el8'}",
        f"Summary: {name}",
        *(f"Provides: {item.replace('=', ' = ')}" for item in provides),
        f"%description -n {name}",
        name,
        f"%files -n {name}",
    ]


def _version_in(base: Path, deb: str) -> str:
    version = _debian_packages(base).get(deb)
    if not version:
        raise LabError(f"rocky/installed.rpms names {deb}, which is not in rocky/base.packages")
    return version


def _preamble(name: str, version: str, release: str, summary: str) -> list[str]:
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


def _rpmbuild(name: str, spec: str, work: Path, output: Path) -> None:
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


def _bare_name(clause: str) -> str:
    """The package's name in a clause such as `libc6:any (>= 2.36)`."""
    return re.sub(r"[:(\[\s].*", "", clause.strip())


def _escaped(text: str) -> str:
    return text.replace("%", "%%")


def _add_group(name: str, number: int) -> str:
    option = f"-g {number} " if number else ""
    return f"getent group {name} >/dev/null || groupadd -r {option}{name}\n"


def _add_user(user: User) -> str:
    option = f"-u {user.uid} " if user.uid else ""
    return (
        f"getent passwd {user.name} >/dev/null || "
        f"useradd -r -M -g {user.name} {option}-d {user.home} -s {user.shell} {user.name}\n"
    )
