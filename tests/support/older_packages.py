"""Older versions of the database's packages, in a repository of the lab's mirror.

Patroni 4.0.7 is PyPI's. PostgreSQL is Debian's release, while the lab's hosts have a newer one of
its security archive; at other times its programs are made to call themselves one version lower. Of
etcd and pgBackRest there is one version only: it is packed again under a lower release.
"""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.machine import Lab
from lab.packages import database
from lab.packages.model import Wheel
from lab.rpm.wheels import LIBRARY, download, unpack

POSTGRESQL = ("postgresql15-libs", "postgresql15", "postgresql15-server", "postgresql15-contrib")
PACKAGES = (*POSTGRESQL, "patroni", "patroni-etcd", "pgbackrest", "etcd")
DEBS = ("libpq5", "postgresql-client-15", "postgresql-15")
PATRONI = Wheel(
    "patroni",
    "4.0.7",
    "f3dabbbb01d363d3f259538ad1ad47ec88b181b901832bca85cf172be33c0551",
    commands=database.PACKAGES["patroni"].wheel.commands,
)
RELEASE = "0.1"
NAME = "older-database"
REPOSITORY = f"""[older]
name=older
baseurl=http://$labmirror/{NAME}
gpgcheck=0
"""
Change = Callable[[Path], None]
"""Changes the files of a package, below this folder."""

SCRIPTS = (("pre", "PREIN"), ("post", "POSTIN"), ("preun", "PREUN"), ("postun", "POSTUN"))


def run(*arguments: object, cwd: Path | None = None) -> str:
    """A command's output; it has to succeed."""
    words = [str(argument) for argument in arguments]
    return subprocess.run(words, cwd=cwd, check=True, capture_output=True, text=True).stdout


def others_than(newest: str) -> list[str]:
    """The versions of PostgreSQL that Debian has beside that of the lab's hosts, newest first."""
    offered = run("apt-cache", "madison", "postgresql-15").splitlines()
    found = dict.fromkeys(line.split(" | ")[1].strip() for line in offered)
    return [one for one in found if one.partition("-")[0] != newest]


def build(lab: Lab, folder: Path) -> str:
    """Build all packages in their older version into the mirror; PostgreSQL's version."""
    served = lab.state / "mirror"
    shutil.rmtree(served / NAME, ignore_errors=True)
    [server] = served.glob("*/*/postgresql15-server-[0-9]*.rpm")
    newest = ask(server, "%{VERSION}")
    others = others_than(newest)
    version, older = from_debian(others[-1], folder) if others else renamed(newest)
    versions = dict.fromkeys(POSTGRESQL, version) | {
        "patroni": PATRONI.version,
        "patroni-etcd": PATRONI.version,
    }
    changes = dict.fromkeys(POSTGRESQL, older)
    changes["patroni"] = lambda tree: with_older_patroni(tree, folder)
    for name in PACKAGES:
        [rpm] = served.glob(f"*/*/{name}-[0-9]*.rpm")
        pack(rpm, name, versions.get(name, ask(rpm, "%{VERSION}")), folder, changes.get(name))
    shutil.copytree(folder / "repository", served / NAME)
    run("createrepo_c", "--quiet", served / NAME)
    return version


def from_debian(debian: str, folder: Path) -> tuple[str, Change]:
    """An older version of PostgreSQL, and how a package's files become those of it."""
    debs = folder / "debs"
    debs.mkdir()
    run("apt-get", "download", *(f"{name}={debian}" for name in DEBS), cwd=debs)
    for deb in debs.glob("*.deb"):
        run("dpkg-deb", "--extract", deb, debs / "tree")
    return debian.partition("-")[0], lambda tree: with_older_files(tree, debs / "tree")


def renamed(newest: str) -> tuple[str, Change]:
    """The version below the only one, and how a package's programs call themselves so."""
    major, _, minor = newest.partition(".")
    version = f"{major}.{int(minor) - 1:0{len(minor)}}"

    def change(tree: Path) -> None:
        for path in tree.rglob("*"):
            if path.is_file() and not path.is_symlink() and newest.encode() in path.read_bytes():
                path.write_bytes(path.read_bytes().replace(newest.encode(), version.encode()))

    return version, change


def pack(rpm: Path, name: str, version: str, folder: Path, change: Change | None) -> None:
    """This RPM again, with older files where there are some, and with a lower version."""
    tree = folder / "trees" / name
    tree.mkdir(parents=True)
    with rpm.open("rb") as stream:
        archive = subprocess.run(["rpm2archive", "-n", "-"], stdin=stream, capture_output=True)
    if archive.stdout:
        subprocess.run(["tar", "-x", "-C", str(tree)], input=archive.stdout, check=True)
    if change:
        change(tree)
    spec = folder / f"{name}.spec"
    spec.write_text(spec_of(rpm, tree, name, version))
    options = {
        "_topdir": folder / "top",
        "_rpmdir": folder / "repository",
        "_binary_payload": "w1.gzdio",
        "_build_id_links": "none",
        "__os_install_post": "%{nil}",
        "debug_package": "%{nil}",
    }
    defines = [word for key, value in options.items() for word in ("--define", f"{key} {value}")]
    run("rpmbuild", "-bb", "--quiet", *defines, spec)


def with_older_files(tree: Path, older: Path) -> None:
    """Debian's older files, at PGDG's paths."""
    for path in tree.rglob("*"):
        inside = "/" + str(path.relative_to(tree))
        debian = inside.replace("/usr/pgsql-15/", "/usr/lib/postgresql/15/")
        source = Path(f"{older}{debian}")
        if path.is_file() and not path.is_symlink() and source.is_file():
            shutil.copyfile(source, path)


def with_older_patroni(tree: Path, folder: Path) -> None:
    """PyPI's older release in the place of the newest one."""
    for part in (tree / LIBRARY).glob("patroni*"):
        shutil.rmtree(part)
    wheel = download(PATRONI, folder / "wheel")
    unpack(wheel, PATRONI.commands, tree)


def ask(rpm: Path, query: str) -> str:
    return run("rpm", "-qp", "--qf", query, rpm)


def spec_of(rpm: Path, tree: Path, name: str, version: str) -> str:
    newest = ask(rpm, "%{VERSION}-%{RELEASE}")
    needs = [one.replace(newest, f"{version}-{RELEASE}") for one in lines(rpm, "--requires")]
    gives = [one for one in lines(rpm, "--provides") if not re.match(rf"{name}[ (]", one)]
    scripts = [
        f"%{kind}\n{ask(rpm, f'%{{{tag}}}')}"
        for kind, tag in SCRIPTS
        if ask(rpm, f"%{{{tag}}}") != "(none)"
    ]
    return "\n".join(
        [
            f"Name: {name}\nVersion: {version}\nRelease: {RELEASE}\nSummary: older\nLicense: none",
            "AutoReqProv: no",
            *(f"Requires: {one}" for one in needs if not one.startswith(("rpmlib(", "/bin/sh"))),
            *(f"Provides: {one}" for one in gives),
            "%description\nOlder.\n%install\nmkdir -p %{buildroot}",
            f"cp -a {tree}/. %{{buildroot}}/",
            *scripts,
            "%files",
            *files(rpm, tree),
        ]
    )


def lines(rpm: Path, option: str) -> list[str]:
    return run("rpm", "-qp", option, rpm).splitlines()


def files(rpm: Path, tree: Path) -> Iterator[str]:
    """Each file with the owner and mode of the newest package's; new ones are root's."""
    form = "[%{FILENAMES}|%{FILEMODES:octal}|%{FILEUSERNAME}|%{FILEGROUPNAME}\n]"
    packed = {}
    for line in lines_of_files(ask(rpm, form)):
        path, mode, user, group = line.split("|")
        attributes = f"%attr({mode[-4:]},{user},{group})"
        if stat.S_ISDIR(int(mode, 8)):
            (tree / path.lstrip("/")).mkdir(parents=True, exist_ok=True)
            yield f'%dir {attributes} "{path}"'
        else:
            packed[path] = attributes
    for one in sorted(tree.rglob("*")):
        path = "/" + str(one.relative_to(tree))
        if one.is_symlink():
            yield f'"{path}"'
        elif one.is_file():
            kind = "%config(noreplace) " if path.startswith("/etc/") else ""
            yield f'{kind}{packed.get(path, "%attr(0644,root,root)")} "{path}"'


def lines_of_files(text: str) -> list[str]:
    """The files of a package; one without files says so."""
    return [line for line in text.splitlines() if line.startswith("/")]


@contextmanager
def offered(lab: Lab, hosts: tuple[str, ...]) -> Iterator[None]:
    """These hosts know the repository as long as this lasts."""
    file = "/etc/yum.repos.d/older.repo"
    try:
        for host in hosts:
            lab.root_shell(host, f"cat >{file} <<'END'\n{REPOSITORY}END")
        yield
    finally:
        for host in hosts:
            lab.root_shell(host, f"rm -f {file}")


def downgrade(lab: Lab, host: str, *names: str) -> None:
    """The host has the older versions, held by nothing."""
    words = " ".join(names or PACKAGES)
    done = lab.root_shell(
        host, f": >/etc/dnf/plugins/versionlock.list; dnf -q -y downgrade --refresh {words}"
    )
    assert done.returncode == 0, done.stdout + done.stderr
