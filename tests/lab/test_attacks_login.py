"""Whoever stands in the way of the first contact, or guesses passwords, gets no further."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest
from support.controller import PROJECT, Answer, Controller

STATE = "section one"
HOSTS = ("airflow", "sql1")

KEYS = "/home/rocky/.ssh/authorized_keys"
BATCH = "-o BatchMode=yes -o ConnectTimeout=5 -o StrictHostKeyChecking=accept-new"


def of(fab: Controller, hosts: str, *arguments: str, **environment: str) -> Answer:
    answer = fab("-H", hosts, *arguments, **environment)
    assert answer.code == 0, answer.text
    return answer


# First contact


@pytest.fixture
def stranger(lab, tmp_path) -> dict[str, str]:
    """The environment of a controller that has seen no server yet."""
    key = lab.environment()["RUNBOOK_STATE"] + "/id_ed25519"
    for name in ("id_ed25519", "id_ed25519.pub"):
        (tmp_path / name).symlink_to(key + name.removeprefix("id_ed25519"))
    return {"RUNBOOK_STATE": str(tmp_path), "RUNBOOK_BOOTSTRAP_PASSWORD": "the password of root"}


def passwords_seen(on) -> str:
    return on("sql1", "journalctl -u sshd --no-pager | grep -ciE 'password for' || :")


def test_yes_alone_accepts_no_host_key_and_sends_no_password(fab, lab, on, stranger):
    before = passwords_seen(on)
    answer = fab("--yes", "-H", "sql1", "ssh.trust", "ssh.bootstrap", **stranger)
    assert answer.code == 2
    assert "--accept-host-keys" in answer.text
    deploy = lab.exec(
        ["inv", "cluster.deploy", "--yes"],
        env=stranger,
        cwd=PROJECT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert deploy.returncode == 2, deploy.stdout + deploy.stderr
    assert "--accept-host-keys" in deploy.stdout + deploy.stderr
    assert not (Path(stranger["RUNBOOK_STATE"]) / "known_hosts").exists()
    assert passwords_seen(on) == before
    # Even a run that is past ssh.trust.
    assert fab("--yes", "-H", "sql1", "ssh.bootstrap", **stranger).code == 3
    assert passwords_seen(on) == before


def test_fingerprints_of_hosts_yaml_accept_the_right_key_and_refuse_others(
    fab, on, stranger, settings
):
    shown = on("sql1", "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub").split()[1]
    other = f"SHA256:{'A' * 43}"
    wrong = settings("hosts", sql1={"host_key": other})
    answer = fab("--accept-host-keys", "-H", "sql1", "ssh.trust", **stranger, **wrong)
    assert answer.code == 1
    assert f"{shown}, but hosts.yaml lists {other}" in answer.text
    assert not (Path(stranger["RUNBOOK_STATE"]) / "known_hosts").exists()
    assert fab("-H", "sql1", "hosts", **wrong).code == 3  # though this controller has pinned it
    right = settings("hosts", sql1={"host_key": f"{other} {shown}"})
    assert fab("-H", "sql1", "ssh.trust", "hosts", **stranger, **right).code == 0


# Passwords


def methods(lab, user: str) -> str:
    """What sshd of sql1 offers somebody who has no key."""
    ask = f"ssh {BATCH} -o PreferredAuthentications=none -o PubkeyAuthentication=no {user}@sql1"
    return lab.root_shell("airflow", f"{ask} true 2>&1").stdout


def test_passwords_are_switched_off_and_on_and_nobody_is_locked_out(fab, lab, on, settings):
    assert "password" in methods(lab, "root")
    closed = settings("ssh", password_login=False)
    planned = fab("--plan", "-H", "sql1", "ssh", **closed).steps("differs")
    answer = of(fab, "sql1", "ssh.login", "ssh.confirm-login", **closed)
    assert planned == {("sql1", "sshd accepts keys only, and not those of root")}
    assert answer.steps("changed") == {
        *planned,
        ("sql1", "a new login works, so the change of sshd is kept"),
    }
    for user in ("root", "rocky"):
        assert "(publickey)" in methods(lab, user)
    on("sql1", f"mkdir -p /root/.ssh; cp {KEYS} /root/.ssh/; chmod 600 /root/.ssh/authorized_keys")
    assert of(fab, "sql1", "ssh", **closed).steps("changed") == set()
    assert fab("-H", "sql1", "ssh.check", **closed).steps("differs") == set()
    of(fab, "sql1", "ssh")
    assert "password" in methods(lab, "root")
    assert fab("-H", "sql1", "ssh", **settings("ssh")).steps("changed") == set()


def test_a_change_that_locks_the_controller_out_is_undone(fab, lab, on, settings, tmp_path):
    """The controller cannot log in anew, so nobody keeps the change."""
    closed = settings("ssh", password_login=False)
    of(fab, "sql1", "ssh.login", **closed)
    assert on("sql1", "systemctl is-active airflow-runbook-undo-login.timer") == "active"
    on("sql1", f"mv {KEYS} /root/kept.keys")
    answer = fab("-H", "sql1", "ssh.confirm-login", **closed)
    on("sql1", f"mv /root/kept.keys {KEYS}")
    assert answer.code == 1
    on("sql1", "systemctl start airflow-runbook-undo-login.service")  # as the timer does
    assert "keys only" not in on("sql1", "cat /etc/ssh/sshd_config")
    deadline = time.monotonic() + 20
    while "password" not in methods(lab, "root"):
        assert time.monotonic() < deadline
    on("sql1", "systemctl stop airflow-runbook-undo-login.timer")


def test_passwords_are_not_switched_off_by_a_run_that_needs_one(fab, on, settings):
    on("sql1", "echo rocky:111 | chpasswd")
    try:
        answer = fab("-H", "sql1", "ssh.login", **settings("ssh", password_login=False))
        assert answer.code == 1
        assert "First: fab ssh.bootstrap base.user" in answer.text
        assert "keys only" not in on("sql1", "cat /etc/ssh/sshd_config")
    finally:
        on("sql1", "usermod --lock rocky")


def test_a_match_block_that_lets_passwords_in_is_named(fab, on, settings):
    on("sql1", "printf 'Match User root\\nPasswordAuthentication yes\\n' >>/etc/ssh/sshd_config")
    try:
        answer = fab("-H", "sql1", "ssh.login", **settings("ssh", password_login=False))
        assert answer.code == 1
        assert "A Match block of sshd's configuration lets root log in" in answer.text
        assert "keys only" not in on("sql1", "cat /etc/ssh/sshd_config")
    finally:
        on("sql1", "sed -i '/^Match User root$/,$d' /etc/ssh/sshd_config")
