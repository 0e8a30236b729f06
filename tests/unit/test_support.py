"""The bundle for a bug report: complete or not at all, and without a password."""

from __future__ import annotations

import subprocess
import tarfile

import pytest

from fabfile import CONTENTS
from fabfile.operator.bundle import collected, files, limited, without_passwords
from fabfile.operator.support import scrubbed, write
from fabfile.postgres.common import AIRFLOW
from runbook.errors import SettingsError


@pytest.mark.parametrize(
    "text",
    [
        "password: VERYSECRET",
        'password = "VERYSECRET"',
        "PGPASSWORD=VERYSECRET psql",
        "  auth_pass VERYSECRET",
        "stats auth admin:VERYSECRET",
        "postgresql+psycopg2://airflow:VERYSECRET@10.0.0.1:5000/airflow",
        "AIRFLOW__CORE__FERNET_KEY=VERYSECRET=",
        '"secret_key": "VERYSECRET"',
        "Authorization: Basic VERYSECRET",
        "SCRAM-SHA-256$4096:VERYSECRET",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nVERYSECRET\n-----END OPENSSH PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\nVERYSECRET cut off",
    ],
)
def test_what_looks_like_a_password_goes(text):
    assert "VERYSECRET" not in without_passwords(text)
    assert without_passwords(text) != ""


def test_what_does_not_stays():
    text = "password authentication failed for user airflow\nlisten_addresses = 10.0.0.1\n"
    assert without_passwords(text) == text


def test_known_passwords_go_wherever_they_are(cluster, monkeypatch):
    value = "an-odd-value-indeed"
    monkeypatch.setenv(AIRFLOW.variable, value)
    clean = scrubbed({"a/log": f"odd {value} place", "b": value}, CONTENTS, cluster)
    assert value not in "".join(clean.values())
    assert clean["a/log"].startswith("odd ")


def test_it_is_for_its_owner_only_and_holds_what_was_gathered(tmp_path):
    bundle = tmp_path / "support-x.tar.gz"
    write(bundle, {"sql1/journal.txt": "lines\n", "about.json": "{}"})
    assert bundle.stat().st_mode & 0o777 == 0o600
    with tarfile.open(bundle) as archive:
        assert archive.getnames() == ["support-x/about.json", "support-x/sql1/journal.txt"]
        assert archive.extractfile("support-x/sql1/journal.txt").read() == b"lines\n"
    assert list(tmp_path.iterdir()) == [bundle]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "a-file").write_text("")
    with pytest.raises(SettingsError, match="cannot be written"):
        write(tmp_path / "a-file" / "support.tar.gz", {})


def test_a_server_is_asked_for_what_its_roles_have(cluster):
    def of(name: str) -> tuple[str, ...]:
        return collected(CONTENTS, cluster.hosts[name], cluster).files

    assert "/etc/haproxy/haproxy.cfg" in of("airflow")
    assert "/etc/haproxy/haproxy.cfg" not in of("sql1")
    assert "/etc/airflow/airflow.cfg" in of("worker1")


def test_every_command_can_be_read_by_bash(cluster):
    for fact in files(CONTENTS, hours=2):
        for host in cluster.hosts.values():
            done = subprocess.run(["bash", "-n"], input=fact.command(cluster, host), text=True)
            assert done.returncode == 0


def test_the_end_of_an_output_is_kept():
    done = subprocess.run(
        ["bash", "-c", limited("seq 1 100000; false", 100)], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert len(done.stdout) == 100
    assert done.stdout.endswith("100000\n")
