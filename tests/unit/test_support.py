"""The bundle for a bug report: complete or not at all, and without a password."""

from __future__ import annotations

import os
import subprocess
import tarfile
import time

import pytest
from support.planted import HARMLESS, PLANTED

from fabfile import CONTENTS
from fabfile.operator.bundle import collected, contents_of, files, limited
from fabfile.operator.support import scrubbed, write
from fabfile.postgres.common import AIRFLOW
from runbook.errors import SettingsError
from runbook.secrets.patterns import without_passwords


@pytest.mark.parametrize("kind", PLANTED)
def test_a_secret_of_each_kind_goes(kind):
    text, secret = PLANTED[kind]
    assert secret in text
    for around in (text, f"Nov 29 08:00:00 mq1 program[812]: {text}\nnext line", f"{text}\n" * 2):
        if "\n" in text or not text.startswith("SMTP_PASSWORD"):
            assert secret not in without_passwords(around)
    assert without_passwords(text) != ""


@pytest.mark.parametrize(
    "prefix", ["2026-11-29T08:00:00+0330 sql1 etcd[123]: ", "Nov 29 08:00:00 sql1 etcd[123]: "]
)
def test_secrets_go_that_span_lines_of_the_journal(prefix):
    lines = "\n".join(text for text, _ in PLANTED.values()).split("\n")
    clean = without_passwords("\n".join(prefix + line for line in lines)).split("\n")
    assert len(clean) == len(lines)
    assert all(line.startswith(prefix) for line in clean)
    assert [kind for kind, (_, secret) in PLANTED.items() if secret in "\n".join(clean)] == []


def test_forty_kinds_are_known():
    assert len(PLANTED) >= 40


@pytest.mark.parametrize("text", HARMLESS)
def test_what_only_resembles_a_secret_stays(text):
    assert without_passwords(text) == text


@pytest.mark.parametrize(
    "text", ["x" * 300_000, "password" * 20_000, "a:" * 100_000, "://a:" * 50_000, " " * 300_000]
)
def test_odd_lines_do_not_take_for_ever(text):
    began = time.process_time()
    without_passwords(text)
    assert time.process_time() - began < 5


def test_no_secret_is_left_in_the_files_of_a_bundle(cluster):
    everything = "\n".join(text for text, _ in PLANTED.values())
    clean = scrubbed({"a/log": everything}, CONTENTS, cluster)["a/log"]
    assert [kind for kind, (_, secret) in PLANTED.items() if secret in clean] == []


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


def test_files_are_collected_to_their_end_and_odd_ones_left_out(tmp_path):
    (tmp_path / "log").write_text("a" * 100 + "end")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    told = subprocess.run(
        ["bash", "-c", contents_of([f"{tmp_path}/*", "/etc/os-release"], 10)],
        capture_output=True,
        text=True,
        timeout=30,
    ).stdout
    assert f"== {tmp_path}/pipe\nleft out" in told
    assert f"== {tmp_path}/folder\nleft out" in told
    assert "left out" not in told.partition("== /etc/os-release")[2]
