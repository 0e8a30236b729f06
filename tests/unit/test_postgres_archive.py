"""The program that PostgreSQL archives its WAL with, when the repository does not take it."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from conftest import PROJECT

from fabfile import CONTENTS
from fabfile.postgres import archive
from fabfile.postgres.backup import (
    CERTIFICATE,
    backup_network,
    participants,
    same_encryption,
)
from fabfile.postgres.common import BACKUP_KEY
from runbook.declare.facts import Facts


@pytest.fixture
def push(tmp_path):
    """push(waiting, limit, works) -> exit code, what it said, and whether a mark was left."""
    programs, wal = tmp_path / "bin", tmp_path / "pg_wal"
    (wal / "archive_status").mkdir(parents=True)
    programs.mkdir()
    script = programs / "pgbackrest-wal"
    text = (PROJECT / "files/postgres/pgbackrest-wal").read_text()
    text = text.replace("/var/lib/pgsql/wal-dropped", str(tmp_path / "dropped"))
    script.write_text(text.replace("/run/postgresql", str(tmp_path)))
    script.chmod(0o755)

    def run(waiting: int, limit: str, works: bool = False, answers: bool = True):
        for old in (wal / "archive_status").iterdir():
            old.unlink()
        for number in range(waiting):
            (wal / "archive_status" / f"{number:024X}.ready").touch()
        (programs / "wal-queue").write_text(limit)
        fake = programs / "pgbackrest"
        fake.write_text(
            "#!/bin/bash\n"
            f'case "$*" in *server-ping*) exit {0 if answers else 1} ;;\n'
            f"*archive-push*) exit {0 if works else 82} ;; esac\n"
        )
        fake.chmod(0o755)
        done = subprocess.run(
            [str(script), "push", "main", "nfs2", "pg_wal/0000000100000000000000A1"],
            cwd=tmp_path,
            env={"PATH": f"{programs}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
        )
        dropped = (tmp_path / "dropped").exists()
        (tmp_path / "dropped").unlink(missing_ok=True)
        (tmp_path / "pgbackrest-wal.silent").unlink(missing_ok=True)
        return done.returncode, done.stderr, dropped

    assert shutil.which("find")
    return run


def test_a_file_stays_as_long_as_there_is_room(push):
    assert push(5, "64")[::2] == (82, False)
    assert push(5, "64", answers=False)[::2] == (75, False)


def test_a_file_is_given_up_when_too_many_wait(push):
    code, said, dropped = push(65, "64")
    assert (code, dropped) == (0, True)
    assert "is given up: 65 files wait" in said
    assert push(65, "64", answers=False)[::2] == (0, True)


def test_nothing_is_given_up_while_the_repository_works(push):
    assert push(300, "64", works=True) == (0, "", False)


def test_an_encrypted_repository_keeps_its_key_on_the_backup_server_only(hosts_yaml):
    cluster = CONTENTS.load(hosts_yaml("host: nfs2 ", "host: nfs2\n    encrypted: true "))
    text = "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----"
    known = Facts({CERTIFICATE: {host.name: text for host in participants(cluster)}})
    key = cluster.secret(BACKUP_KEY)
    for name, holds in (("nfs2", True), ("sql1", False)):
        steps = backup_network(cluster.hosts[name], cluster, known)
        [conf] = [step for step in steps if step.title == "file /etc/pgbackrest.conf"]
        assert (f"repo1-cipher-pass={key}" in conf.text) == holds
        assert "0640" in conf.apply or "chmod 0640" in conf.test or not holds


@pytest.mark.parametrize("encrypted", [True, False])
def test_a_repository_is_encrypted_from_its_beginning_or_not_at_all(
    hosts_yaml, tmp_path, encrypted
):
    value = str(encrypted).lower()
    cluster = CONTENTS.load(hosts_yaml("host: nfs2 ", f"host: nfs2\n    encrypted: {value} "))
    step = same_encryption(cluster)
    info = tmp_path / "archive.info"
    place = "/var/lib/pgbackrest/archive/airflow-ha/archive.info"

    def fits() -> bool:
        return not subprocess.run(["bash", "-c", step.test.replace(place, str(info))]).returncode

    assert fits()
    info.write_bytes(b"Salted__\x01\x02")
    assert fits() == encrypted
    info.write_text("[backrest]\n")
    assert fits() != encrypted


def test_half_of_the_disk_may_wait_unless_hosts_yaml_says_how_much(cluster, hosts_yaml):
    host = cluster.hosts["sql1"]
    assert archive.queue(host, cluster) == host.disk_mb // 2 // 16
    less = CONTENTS.load(hosts_yaml("host: nfs2 ", "host: nfs2\n    queue: 3 "))
    assert archive.queue(less.hosts["sql1"], less) == 187
