"""A package whose update restarts Patroni, as PGDG's own does, in a repository on each host."""

from __future__ import annotations

import base64
import io
import subprocess
import tarfile
from pathlib import Path

from lab.machine import Lab

NAME = "restarts-patroni"
SPEC = """Name: {name}
Version: {version}
Release: 1
Summary: An update that restarts a service
License: none
BuildArch: noarch
%description
.
%post
if [ $1 -gt 1 ]; then systemctl try-restart patroni; fi
%files
"""

REPOSITORY = """[restarting]
name=restarting
baseurl=file:///srv/restarting
gpgcheck=0
"""


def offer(lab: Lab, hosts: tuple[str, ...], folder: Path) -> None:
    """Version 1 is installed on these hosts, and their dnf knows version 2."""
    repository = folder / "repository"
    for version in (1, 2):
        spec = folder / f"{version}.spec"
        spec.write_text(SPEC.format(name=NAME, version=version))
        build = ["rpmbuild", "-bb", "--quiet", "--define", f"_rpmdir {repository}"]
        subprocess.run([*build, "--define", f"_topdir {folder}/top", str(spec)], check=True)
    subprocess.run(["createrepo_c", "--quiet", str(repository)], check=True)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.add(repository, arcname="restarting")
    text = base64.b64encode(packed.getvalue()).decode()
    for host in hosts:
        done = lab.root_shell(
            host,
            f"base64 -d <<'END' | tar -x -C /srv\n{text}\nEND\n"
            f"cat >/etc/yum.repos.d/restarting.repo <<'END'\n{REPOSITORY}END\n"
            f"dnf -q -y install {NAME}-1",
        )
        assert done.returncode == 0, done.stderr


def withdraw(lab: Lab, hosts: tuple[str, ...]) -> None:
    """The package and its repository are gone."""
    for host in hosts:
        lab.root_shell(
            host, f"rm -r /etc/yum.repos.d/restarting.repo /srv/restarting; rpm -e {NAME}"
        )
