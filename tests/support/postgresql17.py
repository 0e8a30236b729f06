"""PostgreSQL 17 in PGDG's packages, and a pgBackRest that knows it, in repositories of the lab's.

The binaries are those of Debian 13. They need a newer C library than the lab's hosts have, so each
package brings the libraries and the dynamic loader that its programs use.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from lab import apt
from lab.machine import Lab
from lab.packages.database import CORE, ON_PATH
from lab.packages.model import PGDG_COMMON

SUITE = "trixie"
PROGRAMS = "/usr/pgsql-17"
POSTGRESQL, COMMON = "pgdg17", "pgdg-common-17"
"""The repositories on the lab's mirror."""

CLIENT = "postgresql17"
SERVER = "postgresql17-server"
CONTRIB = "postgresql17-contrib"
LIBS = "postgresql17-libs"
PRIVATE = "%dir %attr(0700,postgres,postgres)"

ALTERNATIVES = f"""%post -n {CLIENT}
for name in {" ".join(ON_PATH)}; do
  update-alternatives --quiet --install /usr/bin/$name pgsql-$name {PROGRAMS}/bin/$name 1700
done
%preun -n {CLIENT}
[ $1 -ne 0 ] || for name in {" ".join(ON_PATH)}; do
  update-alternatives --quiet --remove pgsql-$name {PROGRAMS}/bin/$name
done
"""


def run(*arguments: object, cwd: Path | None = None) -> str:
    """A command's output; it has to succeed."""
    words = [str(argument) for argument in arguments]
    return subprocess.run(words, cwd=cwd, check=True, capture_output=True, text=True).stdout


def offer(lab: Lab, folder: Path) -> dict[str, str]:
    """Settings of sources.pgdg with which the hosts find both."""
    debian, patchelf = fetched(folder)
    served = lab.state / "mirror"
    database = served / POSTGRESQL
    common = served / COMMON
    for repository in (database, common):
        shutil.rmtree(repository, ignore_errors=True)
        repository.mkdir()
    pack_postgresql(debian, patchelf, folder / "postgresql", database)
    for package in (served / PGDG_COMMON).rglob("*.rpm"):
        shutil.copyfile(package, common / package.name)
    [present] = common.glob("pgbackrest-*.rpm")
    pack_pgbackrest(present, debian, patchelf, folder / "pgbackrest", common)
    for repository in (database, common):
        run("createrepo_c", "--quiet", repository)
    return {
        "postgresql": f"http://$labmirror/{POSTGRESQL}",
        "common": f"http://$labmirror/{COMMON}",
    }


def fetched(folder: Path) -> tuple[Path, Path]:
    """Debian 13's packages in one tree, and the program patchelf."""
    own = folder / "apt"
    for name in ("sources", "lists/partial", "cache/archives/partial"):
        (own / name).mkdir(parents=True)
    for path in apt.machine_sources(own / "sources"):
        path.write_text(path.read_text().replace(apt.SUITE, SUITE))
    (own / "status").touch()
    settings = {
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": own / "sources",
        "Dir::State::lists": own / "lists",
        "Dir::State::status": own / "status",
        "Dir::Cache": own / "cache",
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "root",
    }
    apt_get = ["apt-get", "-q", "-y", *apt.options(settings)]
    run(*apt_get, "update")
    run(*apt_get, "install", "--download-only", "postgresql-17", "pgbackrest")
    for deb in (own / "cache/archives").glob("*.deb"):
        run("dpkg-deb", "--extract", deb, folder / "debian")
    run("apt-get", "download", "patchelf", cwd=own)
    run("dpkg-deb", "--extract", next(own.glob("patchelf_*.deb")), own / "patchelf")
    return folder / "debian", own / "patchelf/usr/bin/patchelf"


def bring_libraries(
    programs: Iterable[Path], debian: Path, tree: Path, place: str, patchelf: Path
) -> None:
    """The libraries of these programs are in `place` of the package, and are the ones they use."""
    target = Path(f"{tree}{place}")
    target.mkdir(parents=True, exist_ok=True)
    shutil.copy(debian / "usr/lib64/ld-linux-x86-64.so.2", target)
    found = Path(f"{debian}/usr/lib/x86_64-linux-gnu")
    waiting = list(programs)
    while waiting:
        one = waiting.pop()
        for name in run(patchelf, "--print-needed", one).split():
            library = next(iter(found.rglob(name)), None)
            if library and not (target / name).exists():
                shutil.copyfile(library, target / name)
                (target / name).chmod(0o755)
                waiting.append(target / name)


def relinked(program: Path, place: str, patchelf: Path) -> None:
    """An executable finds its loader and libraries there, and so do modules that it loads."""
    if program.read_bytes()[:4] != b"\x7fELF":
        return
    loader = f"{place}/ld-linux-x86-64.so.2"
    run(patchelf, "--set-interpreter", loader, "--force-rpath", "--set-rpath", place, program)


def version_of(program: Path, debian: Path) -> str:
    """The version that a program of Debian 13's reports."""
    loader = debian / "usr/lib64/ld-linux-x86-64.so.2"
    libraries = debian / "usr/lib/x86_64-linux-gnu"
    said = run(loader, "--library-path", libraries, program, "--version")
    found = re.search(r"[0-9]+\.[0-9.]+", said)
    assert found, said
    return found[0]


def pack_postgresql(debian: Path, patchelf: Path, work: Path, target: Path) -> None:
    """The four packages, at PGDG's paths."""
    tree, place = work / "tree", f"{PROGRAMS}/lib/bundled"
    own = tree / PROGRAMS.lstrip("/")
    source = debian / "usr/lib/postgresql/17"
    clients = {path.name for path in (source / "bin").iterdir()} & {*ON_PATH, "pg_isready"}
    shutil.copytree(source / "bin", own / "bin")
    (own / "lib").mkdir()
    for module in (source / "lib").glob("*.so"):
        if not module.name.startswith("llvm"):
            shutil.copy(module, own / "lib")
    shutil.copytree(debian / "usr/share/postgresql/17", tree / "usr/share/postgresql/17")
    bring_libraries([*own.glob("bin/*"), *own.glob("lib/*.so")], debian, tree, place, patchelf)
    for program in own.glob("bin/*"):
        relinked(program, place, patchelf)
    extension = "usr/share/postgresql/17/extension"
    contrib = set()
    for folder in (own / "lib", tree / extension):
        core = {path for pattern in CORE for path in folder.glob(pattern)}
        contrib |= {path for path in folder.iterdir() if path.is_file()} - core
    files: dict[str, list[str]] = {CLIENT: [], SERVER: [], CONTRIB: [], LIBS: []}
    for path in sorted(one for one in tree.rglob("*") if not one.is_dir() or one.is_symlink()):
        name = SERVER
        if "bundled" in path.parts:
            name = LIBS
        elif path in contrib or path.name in ("oid2name", "vacuumlo"):
            name = CONTRIB
        elif path.parent == own / "bin" and path.name in clients:
            name = CLIENT
        files[name].append(f'"/{path.relative_to(tree)}"')
    unit = tree / "usr/lib/systemd/system/postgresql-17.service"
    unit.parent.mkdir(parents=True)
    unit.write_text(
        "[Service]\nType=notify\nUser=postgres\n"
        f"ExecStart={PROGRAMS}/bin/postgres -D /var/lib/pgsql/17/data\n"
        "[Install]\nWantedBy=multi-user.target\n"
    )
    files[SERVER].append(f"/{unit.relative_to(tree)}")
    for name in ("17", "17/backups", "17/data"):
        (tree / "var/lib/pgsql" / name).mkdir(parents=True)
        files[SERVER].append(f"{PRIVATE} /var/lib/pgsql/{name}")
    version = version_of(source / "bin/postgres", debian)
    spec = "\n".join(spec_of_postgresql(version, tree, files))
    built(spec, work, target)


def spec_of_postgresql(version: str, tree: Path, files: dict[str, list[str]]) -> Iterator[str]:
    needs = {LIBS: (), CLIENT: (LIBS,), SERVER: (CLIENT, LIBS), CONTRIB: (SERVER,)}
    about = "License: PostgreSQL\nAutoReqProv: no"
    yield f"Name: {CLIENT}-all\nVersion: {version}\nRelease: 1PGDG.rhel8\nSummary: all\n{about}"
    yield "%description\nAll.\n%install\nmkdir -p %{buildroot}"
    yield f"cp -a {tree}/. %{{buildroot}}/"
    for name, others in needs.items():
        yield f"%package -n {name}\nSummary: {name}\nAutoReqProv: no"
        yield from (f"Requires: {other} = {version}" for other in others)
        yield f"%description -n {name}\n{name}."
        yield f"%files -n {name}\n%defattr(-,root,root)"
        yield from files[name]
    yield ALTERNATIVES


def pack_pgbackrest(present: Path, debian: Path, patchelf: Path, work: Path, target: Path) -> None:
    """The lab's pgBackRest with a newer program."""
    tree, place = work / "tree", "/usr/lib/pgbackrest-bundled"
    tree.mkdir(parents=True)
    with present.open("rb") as stream:
        archive = subprocess.run(
            ["rpm2archive", "-n", "-"], stdin=stream, capture_output=True, check=True
        )
    subprocess.run(["tar", "-x", "-C", str(tree)], input=archive.stdout, check=True)
    program = tree / "usr/bin/pgbackrest"
    shutil.copyfile(debian / "usr/bin/pgbackrest", program)
    bring_libraries([program], debian, tree, place, patchelf)
    relinked(program, place, patchelf)
    version = re.sub(r"^.*?([0-9]+\.[0-9.]*[0-9]).*$", r"\1", deb_version(debian, "pgbackrest"))
    entry = "[%{FILEMODES:octal} %{FILEUSERNAME} %{FILEGROUPNAME} %{FILENAMES}\n]"
    lines = run("rpm", "-qp", "--qf", entry, present).splitlines()
    kept = [owned(*line.split(" ", 3)) for line in lines]
    needs = [
        line
        for line in run("rpm", "-qp", "--requires", present).splitlines()
        if not line.startswith("rpmlib(")
    ]
    scripts = []
    for kind, tag in (("pre", "PREIN"), ("post", "POSTIN")):
        text = run("rpm", "-qp", "--qf", f"%{{{tag}}}", present)
        scripts += [f"%{kind}\n{text}"] if text != "(none)" else []
    about = "Release: 1PGDG.rhel8\nSummary: newer\nLicense: MIT\nAutoReqProv: no"
    spec = [
        f"Name: pgbackrest\nVersion: {version}\n{about}",
        *(f"Requires: {need}" for need in needs),
        "%description\nNewer.\n%install\nmkdir -p %{buildroot}",
        f"cp -a {tree}/. %{{buildroot}}/",
        *scripts,
        "%files\n%defattr(-,root,root)",
        *kept,
        place,
    ]
    built("\n".join(spec), work, target)


def owned(mode: str, user: str, group: str, path: str) -> str:
    """A line of %files, as in the package that is there."""
    if mode.startswith("12"):
        return f'"{path}"'
    if mode.startswith("4"):
        kind = "%dir "
    else:
        kind = "%config(noreplace) " if path.startswith("/etc/") else ""
    return f'{kind}%attr({mode[-4:]},{user},{group}) "{path}"'


def deb_version(debian: Path, name: str) -> str:
    """The version of a downloaded Debian package, from its file's name."""
    [deb] = (debian.parent / "apt/cache/archives").glob(f"{name}_*.deb")
    return deb.name.split("_")[1]


def built(spec: str, work: Path, target: Path) -> None:
    """Packages of this spec are in a repository."""
    file = work / "it.spec"
    file.write_text(f"{spec}\n")
    options = {"_topdir": work / "top", "_rpmdir": target, "__os_install_post": "%{nil}"}
    options |= {"debug_package": "%{nil}", "_build_id_links": "none"}
    options |= {"_binary_payload": "w1.gzdio"}
    defines = [word for key, value in options.items() for word in ("--define", f"{key} {value}")]
    done = subprocess.run(
        ["rpmbuild", "-bb", "--quiet", *defines, str(file)],
        capture_output=True,
        text=True,
        env={**os.environ, "LC_ALL": "C"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
