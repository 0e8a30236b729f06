"""The scripts of the share's servers, run by a real bash, without the servers."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

FILES = Path(__file__).resolve().parents[2] / "files/nfs"
EVIL = "x[$(>{folder}/executed)0]"
"""What bash carries out when it takes it for a number."""


@dataclass
class Server:
    """A server in a folder: settings, state, and stand-ins for the system's commands."""

    folder: Path

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def write(self, **numbers: str) -> None:
        for name, text in numbers.items():
            (self.state / name).write_text(text.format(folder=self.folder) + "\n")

    def number(self, name: str) -> str:
        return (self.state / name).read_text().strip()

    def run(
        self, script: str, *arguments: str, patience: int = 20, **environment: str
    ) -> subprocess.CompletedProcess:
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        return subprocess.run(
            ["bash", str(self.folder / "scripts" / script), *arguments],
            env={"PATH": path, **environment},
            capture_output=True,
            text=True,
            timeout=patience,
        )

    @property
    def executed(self) -> bool:
        """Whether what a file held was carried out."""
        return (self.folder / "executed").exists()


@pytest.fixture
def server(tmp_path) -> Server:
    for name in ("state", "run", "bin", "scripts", "tree"):
        (tmp_path / name).mkdir()
    (tmp_path / "tree/.nfs-ha").write_text("shared\n")
    (tmp_path / "settings").write_text(
        f"PEER_NAME=nfs2 VIP=192.0.2.1 STATE={tmp_path}/state RUN={tmp_path}/run\n"
        f"SCRIPTS={tmp_path}/scripts RESCUED={tmp_path}/rescued SENTINEL=.nfs-ha MAX_DELETE=5\n"
        f"TREES=({tmp_path}/tree)\n"
    )
    for name in ("state", "receive", "return", "push", "nfs-notify"):
        text = (FILES / name).read_text().replace("/etc/nfs-ha/settings", f"{tmp_path}/settings")
        text = text.replace("/usr/libexec/nfs-ha/", f"{tmp_path}/scripts/")
        executable(tmp_path / "scripts" / name, text)
    for name, body in {
        "runuser": 'shift 3; exec "$@"',  # -u airflow --
        "systemctl": "exit 0",
        "logger": "exit 0",
        "ip": "exit 0",
        "ssh": f"cat {tmp_path}/answer",
    }.items():
        executable(tmp_path / "bin" / name, f"#!/bin/bash\n{body}\n")
    return Server(tmp_path)


def executable(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def test_a_new_master_begins_the_next_generation(server):
    server.write(generation="7")
    done = server.run("nfs-notify", "master")
    assert done.returncode == 0, done.stderr
    numbers = [server.number(name) for name in ("generation", "active", "priority")]
    assert numbers == ["8", "8", "8"]


@pytest.mark.parametrize("state", ["master", "backup", "fault", "stop"])
def test_what_a_state_file_holds_is_never_carried_out(server, state):
    server.write(generation=EVIL, active=EVIL, granted=EVIL)
    (server.folder / "run/fit").touch()
    done = server.run("nfs-notify", state)
    assert done.returncode == 0, done.stderr
    assert not server.executed
    assert server.number("generation") == EVIL.format(folder=server.folder)


def test_what_a_process_of_airflows_answers_is_never_carried_out(server):
    """It may answer in the place of the script, which runs with the same rights."""
    evil = EVIL.format(folder=server.folder)
    executable(server.folder / "scripts/state", f"#!/bin/bash\necho '{evil}'\n")
    done = server.run("nfs-notify", "master")
    assert done.returncode == 0, done.stderr
    assert not server.executed


def test_a_master_without_a_generation_must_not_lead(server):
    server.write(generation="seven")
    (server.folder / "run/fit").touch()
    server.run("nfs-notify", "master")
    assert not (server.folder / "run/fit").exists()


@pytest.mark.parametrize("text", ["", "08", "-1", "1 2", "1234567890", "0x10", "7\n8"])
def test_what_is_no_number_is_no_generation(server, text):
    server.write(generation=text)
    assert server.run("state", "get", "generation").returncode == 1
    assert server.run("state", "set", "generation", text).returncode == 1


@pytest.mark.parametrize("answer", [f"{EVIL} none no no", "none none no no"])
def test_what_the_other_server_answers_is_never_carried_out(server, answer):
    server.write(generation="8", active="8", granted="8")
    (server.folder / "answer").write_text(answer.format(folder=server.folder))
    with pytest.raises(subprocess.TimeoutExpired):  # it goes on asking
        server.run("return", patience=2)
    assert not server.executed
    assert not (server.folder / "run/fit").exists()


def test_a_server_that_lost_its_generation_is_not_called_older(server):
    server.write(generation="garbage")
    assert server.run("receive", SSH_ORIGINAL_COMMAND="state").stdout.split()[0] == "none"


@pytest.mark.parametrize(
    ("own", "offered", "code"),
    [
        ("7", "7", 0),
        ("7", "8", 0),
        ("7", "6", 78),
        (EVIL, "3", 0),
        ("7", EVIL, 79),
        ("7", "08", 79),
    ],
)
def test_files_are_taken_from_nobody_with_older_ones(server, own, offered, code):
    server.write(generation=own)
    offered = offered.format(folder=server.folder)
    done = server.run("receive", SSH_ORIGINAL_COMMAND=f"insync {offered}")
    assert done.returncode == code, done.stderr
    assert not server.executed
    if code == 0:
        assert server.number("generation") == offered


def test_the_active_server_copies_nothing_without_a_generation(server):
    server.write(generation=EVIL)
    (server.folder / "bin/ip").write_text("#!/bin/bash\necho 192.0.2.1\n")
    done = server.run("push")
    assert done.returncode == 1
    assert "generation holds no number" in done.stderr
    assert not server.executed
