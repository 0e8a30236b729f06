"""Older versions of the database's packages, in a repository that the controller serves.

PostgreSQL 15.18 is Debian's, beside the newer one of its security archive, and Patroni 4.0.7 is
PyPI's. Of etcd and pgBackRest there is one version only: it is packed again under a lower release.
"""

from __future__ import annotations

import base64
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.machine import Lab

NEWEST = {
    "postgresql15-libs": "pgdg15",
    "postgresql15": "pgdg15",
    "postgresql15-server": "pgdg15",
    "postgresql15-contrib": "pgdg15",
    "patroni": "pgdg-common",
    "patroni-etcd": "pgdg-common",
    "pgbackrest": "pgdg-common",
    "etcd": "pgdg-extras",
}
"""The packages, and the repository of the lab that has them."""

DEBS = ("libpq5", "postgresql-client-15", "postgresql-15")
POSTGRESQL, PATRONI = "15.18", "4.0.7"
PORT = 8642
REPOSITORY = f"""[older]
name=older
baseurl=http://192.168.83.1:{PORT}/
gpgcheck=0
"""


def run(*arguments: object, cwd: Path | None = None) -> str:
    """A command's output; it has to succeed."""
    words = [str(argument) for argument in arguments]
    return subprocess.run(words, cwd=cwd, check=True, capture_output=True, text=True).stdout


def build(lab: Lab, folder: Path) -> None:
    """Build all packages in their older version into folder/repository."""
    debs, wheel = folder / "debs", folder / "wheel"
    for one in (debs, wheel, folder / "newest"):
        one.mkdir(parents=True)
    versions = [f"{name}={POSTGRESQL}-0+deb12u1" for name in DEBS]
    run("apt-get", "download", *versions, cwd=debs)
    for deb in debs.glob("*.deb"):
        run("dpkg-deb", "--extract", deb, debs / "tree")
    pip = (sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--dest", wheel)
    run(*pip, f"patroni=={PATRONI}")
    with zipfile.ZipFile(next(wheel.glob("*.whl"))) as archive:
        archive.extractall(wheel / "tree")
    for name in NEWEST:
        pack(fetched(lab, name, folder / "newest"), name, folder)
    run("createrepo_c", "--quiet", folder / "repository")


def fetched(lab: Lab, name: str, folder: Path) -> Path:
    """The newest RPM of this name, as the lab's mirror has it."""
    place = lab.root_shell("sql1", f"dnf -q repoquery --latest-limit=1 --location {name}").stdout
    target = folder / f"{name}.rpm"
    done = lab.root_shell("sql1", f"curl -sf {place.split()[-1]} | base64 -w0")
    assert done.returncode == 0, done.stderr
    target.write_bytes(base64.b64decode(done.stdout))
    return target


def pack(rpm: Path, name: str, folder: Path) -> None:
    """This RPM again, with older files where there are some, and with a lower version."""
    tree = folder / "trees" / name
    tree.mkdir(parents=True)
    subprocess.run(f"rpm2cpio {rpm} | cpio -id --quiet", cwd=tree, shell=True, check=True)
    version, release = ask(rpm, "%{VERSION}"), "0.1"
    if name.startswith("postgresql"):
        version = POSTGRESQL
        with_older_files(tree, folder / "debs/tree")
    elif name.startswith("patroni"):
        version = PATRONI
        for own in tree.rglob("patroni-*.dist-info"):
            shutil.rmtree(own)
        for own in [one for one in tree.rglob("patroni") if (one / "ha.py").exists()]:
            shutil.rmtree(own)
            for part in (folder / "wheel/tree").iterdir():
                shutil.copytree(part, own.parent / part.name)
    spec = folder / f"{name}.spec"
    spec.write_text(spec_of(rpm, tree, name, version, release))
    options = {"_topdir": folder / "top", "_rpmdir": folder / "repository"}
    options |= {"__os_install_post": "%{nil}", "debug_package": "%{nil}"}
    options |= {"_build_id_links": "none"}
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


def ask(rpm: Path, query: str) -> str:
    return run("rpm", "-qp", "--qf", query, rpm)


def spec_of(rpm: Path, tree: Path, name: str, version: str, release: str) -> str:
    newest = ask(rpm, "%{VERSION}-%{RELEASE}")
    needs = [one.replace(newest, f"{version}-{release}") for one in lines(rpm, "--requires")]
    gives = [
        one for one in lines(rpm, "--provides") if not one.startswith((f"{name} ", f"{name}("))
    ]
    scripts = [
        f"%{kind}\n{ask(rpm, f'%{{{tag}}}')}"
        for kind, tag in (("pre", "PREIN"), ("post", "POSTIN"), ("preun", "PREUN"))
        if ask(rpm, f"%{{{tag}}}") != "(none)"
    ]
    return "\n".join(
        [
            f"Name: {name}\nVersion: {version}\nRelease: {release}\nSummary: older\nLicense: none",
            "AutoReqProv: no",
            *(f"Requires: {one}" for one in needs if not one.startswith("rpmlib(")),
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
    entry = "[%{FILEMODES:octal} %{FILEUSERNAME} %{FILEGROUPNAME} %{FILENAMES}\n]"
    packed = {}
    for line in ask(rpm, entry).splitlines():
        mode, user, group, path = line.split(" ", 3)
        packed[path] = (mode, user, group)
        if mode.startswith("4"):
            (tree / path.lstrip("/")).mkdir(parents=True, exist_ok=True)
            yield f"%dir %attr({mode[-4:]},{user},{group}) {path}"
    for one in tree.rglob("*"):
        path = "/" + str(one.relative_to(tree))
        if one.is_dir() and not one.is_symlink():
            continue
        mode, user, group = packed.get(path, ("100644", "root", "root"))
        yield f'%attr({"-" if one.is_symlink() else mode[-4:]},{user},{group}) "{path}"'


@contextmanager
def offered(lab: Lab, hosts: tuple[str, ...], folder: Path) -> Iterator[None]:
    """These hosts know the repository as long as this lasts."""
    command = [sys.executable, "-m", "http.server", "--directory", str(folder / "repository")]
    server = subprocess.Popen(
        lab.inside([*command, str(PORT)]), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for host in hosts:
            lab.root_shell(host, f"cat >/etc/yum.repos.d/older.repo <<'END'\n{REPOSITORY}END")
        yield
    finally:
        server.terminate()
        server.wait(timeout=10)
        for host in hosts:
            lab.root_shell(host, "rm -f /etc/yum.repos.d/older.repo")


def downgrade(lab: Lab, host: str, *names: str) -> None:
    """The host has the older versions, held by nothing."""
    words = " ".join(names or NEWEST)
    done = lab.root_shell(
        host, f": >/etc/dnf/plugins/versionlock.list; dnf -q -y downgrade --refresh {words}"
    )
    assert done.returncode == 0, done.stdout + done.stderr
