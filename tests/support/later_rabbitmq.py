"""The lab's RabbitMQ and Erlang once more, under later versions, in a repository of the lab's.

Debian has one version of RabbitMQ that its hosts can run. The packages are the same, but for the
version that rpm sees and that the node reports: an upgrade stops a node, replaces its packages and
starts it, as between real versions. What a later RabbitMQ does differently is not in them.
"""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

from lab.machine import Lab
from lab.packages.model import RABBITMQ_ERLANG, RABBITMQ_SERVER

NAME = "later-rabbitmq"
RABBITMQ = "3.11.18"
ERLANG = "25.3.2"
SKIPPED = "3.12.10"
"""Two series after the lab's: nobody may go there in one step."""

SPEC = """Name: {name}
Version: {version}
Release: 1.el8
Summary: {name} once more
License: various
BuildArch: {arch}
AutoReqProv: no
{requires}
%description
.
%install
cp -a {tree}/. %{{buildroot}}/
{pre}
%post
systemctl daemon-reload >/dev/null 2>&1 || :
%files
{files}
"""


def offer(lab: Lab, folder: Path) -> str:
    """The URL of a repository that has both versions of both packages."""
    served = lab.state / "mirror"
    target = served / NAME
    target.mkdir(exist_ok=True)
    for repository, name, version, change in (
        (RABBITMQ_SERVER, "rabbitmq-server", RABBITMQ, report_version),
        (RABBITMQ_ERLANG, "erlang", ERLANG, report_otp),
    ):
        packages = list((served / repository).rglob("*.rpm"))
        for package in packages:
            shutil.copyfile(package, target / package.name)
        [package] = [path for path in packages if path.stat().st_size > 100_000]
        repack(package, name, version, change, folder / name, target)
    subprocess.run(["createrepo_c", "--quiet", str(target)], check=True)
    return f"http://$labmirror/{NAME}"


def report_version(tree: Path, version: str = RABBITMQ) -> None:
    [app] = tree.glob("usr/lib/rabbitmq/lib/*/plugins/rabbit-[0-9]*/ebin/rabbit.app")
    app.write_text(re.sub(r'\{vsn, ?"[0-9.]+"\}', f'{{vsn, "{version}"}}', app.read_text()))


def report_otp(tree: Path, version: str = ERLANG) -> None:
    [otp] = tree.glob("usr/lib/erlang/releases/*/OTP_VERSION")
    otp.write_text(f"{version}\n")


def repack(
    package: Path,
    name: str,
    version: str,
    change: Callable[[Path], None],
    work: Path,
    target: Path,
) -> None:
    """The files of a package, with something changed, in a package of another version."""
    tree = work / "tree"
    tree.mkdir(parents=True)
    with package.open("rb") as stream:
        archive = subprocess.run(
            ["rpm2archive", "-n", "-"], stdin=stream, capture_output=True, check=True
        )
    subprocess.run(["tar", "-x", "-C", str(tree)], input=archive.stdout, check=True)
    change(tree)
    form = "[%{FILENAMES}|%{FILEMODES:octal}|%{FILEUSERNAME}|%{FILEGROUPNAME}\n]"
    files = [line.split("|") for line in asked(package, "--qf", form)]
    needs = [line for line in asked(package, "--requires") if not line.startswith("rpmlib")]
    spec = work / f"{name}.spec"
    spec.write_text(
        SPEC.format(
            name=name,
            version=version,
            arch="".join(asked(package, "--qf", "%{ARCH}")),
            tree=tree,
            requires="\n".join(f"Requires: {line}" for line in needs),
            pre="\n".join(["%pre", *asked(package, "--qf", "%|PREIN?{%{PREIN}}:{true}|")]),
            files="\n".join(entry(*file) for file in files),
        )
    )
    quick = ["--define", "_binary_payload w1.gzdio", "--define", "_build_id_links none"]
    quick += ["--define", "__os_install_post %{nil}"]
    where = ["--define", f"_topdir {work}/top", "--define", f"_rpmdir {target}"]
    subprocess.run(["rpmbuild", "-bb", "--quiet", *quick, *where, str(spec)], check=True)


def asked(package: Path, *options: str) -> list[str]:
    done = subprocess.run(
        ["rpm", "-qp", *options, str(package)], capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def entry(path: str, mode: str, user: str, group: str) -> str:
    """A line of %files."""
    kind = stat.S_IFMT(int(mode, 8))
    if kind == stat.S_IFLNK:  # a link has no mode of its own
        return f'"{path}"'
    words = {stat.S_IFDIR: "%dir "}.get(kind, "")
    if path.startswith("/etc/") and not words:
        words = "%config(noreplace) "
    return f'{words}%attr({mode[-4:]},{user},{group}) "{path}"'
