"""Folders of VM1 on other servers: rsync for real, between two folders of this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from fabfile import ssh
from fabfile.shared import copies
from runbook.declare.library import library

MADE_FROM = "3.9.16 plain"

# The other server is a folder beside: what would be done in `here` there is done in `there`.
STAND_INS = {
    "runuser": 'shift 3\nexec "$@"\n',
    "sudo": 'shift\nexec "$@"\n',
    "ssh": "while [[ $1 == -* ]]; do case $1 in -[opl]) shift 2 ;; *) shift ;; esac; done\n"
    'shift\ncommand="$*"\numask 077\n'
    'if [[ $command == *"bash -s" ]]; then sed "s|/here|/there|g" | bash -c "$command"\n'
    'else exec bash -c "${command//\\/here//there}"; fi\n',
}


@dataclass
class Servers:
    """A made folder here, and the one that it is shipped to."""

    folder: Path
    there: Path
    step: object

    def run(self, text: str) -> subprocess.CompletedProcess[str]:
        path = f"{self.folder.parent.parent}/bin:{os.environ['PATH']}"
        return subprocess.run(
            ["bash", "-c", f"set -euo pipefail\n{text}"],
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )

    def is_there(self) -> bool:
        return self.run(self.step.test).returncode == 0

    def ship(self) -> subprocess.CompletedProcess[str]:
        return self.run(self.step.apply)


@pytest.fixture
def servers(tmp_path, cluster) -> Servers:
    if not shutil.which("rsync"):
        pytest.skip("rsync is not here")
    (tmp_path / "bin").mkdir()
    for name, text in STAND_INS.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/bash\n{text}")
        (tmp_path / "bin" / name).chmod(0o755)
    folder = tmp_path / "here" / "made"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "tool").write_text("1\n")
    step = ssh.ship("t", cluster, cluster.hosts["ftp"], str(folder), MADE_FROM, again="fab make")
    made = Servers(folder, tmp_path / "there" / "made", step)
    answer = made.run(f'echo "{MADE_FROM} $( {copies.fingerprint(str(folder))} )"')
    copies_mark(folder).write_text(answer.stdout)
    return made


def copies_mark(folder: Path) -> Path:
    return Path(copies.mark(str(folder)))


def test_a_folder_is_shipped_with_its_modes_whatever_umask_the_other_server_has(servers):
    assert not servers.is_there()
    done = servers.ship()
    assert done.returncode == 0, done.stderr
    assert servers.is_there()
    modes = [servers.there.parent, servers.there, servers.there / "bin", copies_mark(servers.there)]
    assert [oct(path.stat().st_mode & 0o777) for path in modes] == ["0o755"] * 3 + ["0o644"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda there: (there / "bin" / "tool").unlink(),
        lambda there: (there / "bin" / "tool").chmod(0o600),
        lambda there: (there / "bin" / "more").touch(),
        lambda there: (there / "bin").chmod(0o700),
        lambda there: same_size_and_time(there / "bin" / "tool"),
        lambda there: copies_mark(there).unlink(),
    ],
)
def test_what_is_damaged_there_is_seen_and_mended(servers, damage):
    servers.ship()
    damage(servers.there)
    assert not servers.is_there()
    done = servers.ship()
    assert done.returncode == 0, done.stderr
    assert servers.is_there()
    assert (servers.there / "bin" / "tool").read_text() == "1\n"


def same_size_and_time(path: Path) -> None:
    before = path.stat()
    path.write_text("2\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_damage_is_not_shipped(servers):
    (servers.folder / "bin" / "tool").unlink()
    done = servers.ship()
    assert done.returncode == 1
    assert "is not here, or it is damaged. First: fab make" in done.stdout
    assert not servers.there.exists()


def test_the_step_is_understood_by_the_shell_of_a_run(servers):
    """A test runs beside the library, whose variables it must not change."""
    answer = subprocess.run(
        ["bash", "-s"],
        input=f"{library()}\nmark=m mode=do\n{servers.step.test}; echo $mark $mode",
        capture_output=True,
        text=True,
    )
    assert answer.stdout == "m do\n"
