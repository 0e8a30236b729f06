"""Folders of VM1 on other servers: sent, compared and put in place, in folders of this machine."""

from __future__ import annotations

import getpass
import grp
import io
import os
import subprocess
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from fabfile.shared import copies
from fabfile.ssh import shipping
from runbook.declare.library import library
from runbook.declare.step import Step
from runbook.inventory.cluster import Cluster

MADE_FROM = "3.9.16 plain"
VM1, OTHER = "airflow", "ftp"

STAND_INS = {
    "runuser": 'shift 3\nexec "$@"\n',
    # As sshd runs a forced command, with another umask than root's.
    "ssh": "while [[ $1 == -* ]]; do case $1 in -[opl]) shift 2 ;; *) shift ;; esac; done\n"
    'umask 077\nshift\nSSH_ORIGINAL_COMMAND="$*" exec bash @receive@ python airflow\n',
}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@dataclass
class Servers:
    """A made folder on VM1, and the place on the other server where it should be."""

    root: Path
    cluster: Cluster

    @property
    def here(self) -> Path:
        return self.root / "here" / "made"

    @property
    def there(self) -> Path:
        return self.root / "there" / "made"

    @property
    def archives(self) -> list[str]:
        return names(self.root / "arrived")

    def run(self, text: str) -> subprocess.CompletedProcess[str]:
        for old, new in (
            (shipping.ARRIVED, str(self.root / "arrived")),
            ("-user root", f"-user {getpass.getuser()}"),
            ("-group root", f"-group {grp.getgrgid(os.getgid()).gr_name}"),
        ):
            text = text.replace(old, new)
        path = f"{self.root}/bin:{os.environ['PATH']}"
        return subprocess.run(
            ["bash", "-c", f"set -euo pipefail\n{text}"],
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )

    def made(self, folder: Path) -> copies.Copy:
        """What the controller is told about a folder."""
        return copies.parse(self.run(copies.state(str(folder), bytecode=True)).stdout)

    def mark(self) -> None:
        """The folder on VM1 is complete as it is now."""
        found = self.run(copies.fingerprint(str(self.here))).stdout
        Path(copies.mark(str(self.here))).write_text(f"{MADE_FROM} {found}")

    @property
    def sending(self) -> Step:
        other = self.cluster.hosts[OTHER]
        return shipping.ship(
            "s", "python", self.cluster, other, str(self.here), MADE_FROM, "fab make"
        )

    def placing(self, **options: str) -> Step:
        shipped = self.made(self.here)
        place = str(self.there)
        return shipping.unpack(
            *("u", "python", self.cluster, self.cluster.hosts[OTHER], place, MADE_FROM, shipped),
            again="fab ship",
            **options,
        )

    def ship(self, **options: str) -> subprocess.CompletedProcess[str]:
        """Send it, and put it in place."""
        sent = self.run(self.sending.apply)
        return self.run(self.placing(**options).apply) if sent.returncode == 0 else sent

    def is_there(self) -> bool:
        return self.run(self.placing().test).returncode == 0

    def forge(self, change: Callable[[Path], object]) -> subprocess.CompletedProcess[str]:
        """What arrives is not what VM1 has: its account has replaced the archive."""
        assert self.run(self.sending.apply).returncode == 0
        forged = self.root / "forged"
        self.run(f"cp -a {self.here} {forged}; rm {copies.mark(str(forged))}")
        change(forged)
        [archive] = self.archives
        self.run(f"tar -C {forged} -cf {self.root}/arrived/{archive} .")
        return self.run(self.placing().apply)


@pytest.fixture
def servers(tmp_path, cluster) -> Servers:
    made = Servers(tmp_path, cluster)
    (tmp_path / "arrived").mkdir()
    (tmp_path / "bin").mkdir()
    receive = tmp_path / "receive"
    text = (Path(__file__).parents[2] / "files/ssh/receive").read_text()
    receive.write_text(text.replace(shipping.ARRIVED, str(tmp_path / "arrived")))
    for name, text in STAND_INS.items():
        (tmp_path / "bin" / name).write_text(
            f"#!/bin/bash\n{text}".replace("@receive@", f"{receive}")
        )
        (tmp_path / "bin" / name).chmod(0o755)
    (made.here / "bin" / "__pycache__").mkdir(parents=True)
    (made.here / "bin" / "tool").write_text("1\n")
    (made.here / "bin" / "__pycache__" / "tool.pyc").write_text("compiled\n")
    (made.here / "lib64").symlink_to("bin")
    made.mark()
    return made


def there_mark(servers: Servers) -> Path:
    return Path(copies.mark(str(servers.there)))


def test_a_folder_is_shipped_with_its_modes_whatever_umask_the_other_server_has(servers):
    assert not servers.is_there()
    done = servers.ship()
    assert done.returncode == 0, done.stdout + done.stderr
    assert servers.is_there()
    modes = [servers.there.parent, servers.there, servers.there / "bin", there_mark(servers)]
    assert [oct(path.stat().st_mode & 0o777) for path in modes] == ["0o755"] * 3 + ["0o644"]
    assert (servers.there / "bin" / "__pycache__" / "tool.pyc").exists()
    assert servers.archives == []
    assert names(servers.there.parent) == ["made"]


def test_what_has_arrived_is_not_sent_again(servers):
    assert servers.run(servers.sending.test).returncode != 0
    servers.run(servers.sending.apply)
    assert servers.run(servers.sending.test).returncode == 0


@pytest.mark.parametrize(
    "damage",
    [
        lambda there: (there / "bin" / "tool").unlink(),
        lambda there: (there / "bin" / "tool").chmod(0o600),
        lambda there: (there / "bin" / "more").touch(),
        lambda there: (there / "bin").chmod(0o700),
        lambda there: same_size_and_time(there / "bin" / "tool"),
        lambda there: Path(copies.mark(str(there))).unlink(),
    ],
)
def test_what_is_damaged_there_is_seen_and_mended(servers, damage):
    servers.ship()
    damage(servers.there)
    assert not servers.is_there()
    done = servers.ship()
    assert done.returncode == 0, done.stdout + done.stderr
    assert servers.is_there()
    assert (servers.there / "bin" / "tool").read_text() == "1\n"


def same_size_and_time(path: Path) -> None:
    before = path.stat()
    path.write_text("2\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_damage_is_not_shipped(servers):
    (servers.here / "bin" / "tool").unlink()
    done = servers.ship()
    assert done.returncode == 1
    assert "is not here, or it is damaged. First: fab make" in done.stdout
    assert not servers.there.exists()


def test_what_has_not_arrived_is_not_unpacked(servers):
    done = servers.run(servers.placing().apply)
    assert done.returncode == 1
    assert "has not arrived from airflow. First: fab ship" in done.stdout


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda forged: (forged / "bin" / "tool").write_text("2\n"), "is not the"),
        (lambda forged: (forged / "bin" / "more").touch(), "is not the"),
        (
            lambda forged: (forged / "bin" / "__pycache__" / "tool.pyc").write_text("other\n"),
            "is not the",
        ),
        (lambda forged: (forged / "bin" / "__pycache__" / "new.pyc").touch(), "is not the"),
        (lambda forged: (forged / "bin" / "tool").chmod(0o4755), "no plain file"),
        (lambda forged: (forged / "bin" / "tool").chmod(0o666), "no plain file"),
        (lambda forged: os.mkfifo(forged / "bin" / "pipe"), "no plain file"),
        (lambda forged: (forged / "bin" / "a\nb").touch(), "no plain file"),
        (lambda forged: (forged / "out").symlink_to("/etc"), "leads out of it"),
        (lambda forged: (forged / "bin" / "up").symlink_to("../../x"), "leads out of it"),
    ],
)
def test_what_vm1_does_not_have_is_refused_and_the_former_folder_stays(servers, change, words):
    servers.ship()
    (servers.there / "bin" / "tool").write_text("damaged\n")
    done = servers.forge(change)
    assert done.returncode == 1
    assert words in done.stdout
    assert "It was removed" in done.stdout
    assert (servers.there / "bin" / "tool").read_text() == "damaged\n"
    assert servers.archives == []
    assert names(servers.there.parent) == ["made"]


def test_links_may_lead_to_the_python_that_a_venv_is_made_of(servers):
    (servers.here / "python").symlink_to("/opt/python/bin/python3")
    servers.mark()
    assert "leads out of it" in servers.ship().stdout
    assert servers.ship(links="/opt/python").returncode == 0


def test_nothing_is_written_through_a_link_of_the_archive(servers):
    servers.run(servers.sending.apply)
    [archive] = servers.archives
    with tarfile.open(servers.root / "arrived" / archive, "w") as forged:
        link = tarfile.TarInfo("./out")
        link.type, link.linkname = tarfile.SYMTYPE, str(servers.root)
        forged.addfile(link)
        forged.addfile(tarfile.TarInfo("./out/written"), io.BytesIO())
    assert servers.run(servers.placing().apply).returncode != 0
    assert not (servers.root / "written").exists()


# The forced command


def asked(servers: Servers, text: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(servers.root / "receive"), "python", "airflow"],
        env={**os.environ, "SSH_ORIGINAL_COMMAND": text},
        input=stdin,
        capture_output=True,
        text=True,
    )


def test_the_runbook_s_loop_is_answered(servers):
    done = asked(servers, "echo 'SSH to sql-1.example: SUCCESS'")
    assert (done.returncode, done.stdout) == (0, "SSH to sql-1.example: SUCCESS\n")


NAME = "0123456789abcdef" * 2
DOES = shipping.RECEIVE


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bash",
        "echo 'SSH to $(id): SUCCESS'",
        "echo 'SSH to a: SUCCESS'; id",
        "echo 'SSH to a: SUCCESS'\nid",
        f"{DOES} put python ../../{NAME[6:]}",
        f"{DOES} put nfs {NAME}",
        f"{DOES} put .. {NAME}",
        f"{DOES} put python {NAME} more",
        f"{DOES} run python {NAME}",
        f"{DOES} put 'python airflow' {NAME}",
        f"bash {DOES} put python {NAME}",
        f"{DOES} put python\n{NAME}",
        f"{DOES}\nput python {NAME}",
        f"{DOES} put a[$(touch x)0] {NAME}",
    ],
)
def test_nothing_else_may_be_asked(servers, text):
    done = asked(servers, text, "id >there")
    assert done.returncode == 79
    assert done.stdout == ""
    assert servers.archives == []


def test_one_archive_of_each_kind_is_kept(servers):
    for name in (NAME, NAME[::-1]):
        for verb in ("put", "keep"):
            assert asked(servers, f"{DOES} {verb} python {name}", "x").returncode == 0
    assert servers.archives == [f"python.{NAME[::-1]}"]
    assert asked(servers, f"{DOES} has python {NAME}").returncode == 1


def test_an_archive_that_was_cut_off_has_not_arrived(servers):
    asked(servers, f"{DOES} put python {NAME}", "x")
    assert asked(servers, f"{DOES} has python {NAME}").returncode == 1


def test_the_steps_are_understood_by_the_shell_of_a_run(servers):
    """A test runs beside the library, whose variables it must not change."""
    for step in (servers.sending, servers.placing()):
        answer = subprocess.run(
            ["bash", "-s"],
            input=f"{library()}\nmark=m mode=do\n{step.test}; echo $mark $mode",
            capture_output=True,
            text=True,
        )
        assert answer.stdout == "m do\n"
