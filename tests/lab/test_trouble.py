"""Bad input and faults: one clear sentence, the right exit code, nothing half-written."""

from __future__ import annotations

import os
import signal
import subprocess
import time

from support.controller import PROJECT

STATE = "section one"
WAITS = True


def test_one_host_of_thirteen_is_off(fab, healed):
    healed("mq2", "power-loss")
    answer = fab("hosts.check")
    assert answer.code == 3
    assert answer.hosts("unreachable") == {"mq2"}
    assert len(answer.hosts("ok")) == 12
    assert "mq2 (192.168.83.136:22) is unreachable" in answer.text


def test_a_host_that_is_off_does_not_stop_the_others_but_the_next_task(fab, healed):
    healed("mq2", "power-loss")
    answer = fab("-H", "@rabbitmq", "hosts", "hostnames.set")
    assert answer.code == 3
    assert answer.data["tasks"]["hosts.names"]["hosts"]["mq3"]["status"] == "ok"
    assert "hostnames.set" not in answer.data["tasks"]
    assert "not started: hostnames.set" in answer.text
    going_on = fab("--keep-going", "-H", "@rabbitmq", "hosts", "hostnames.set")
    assert going_on.data["tasks"]["hostnames.set"]["hosts"]["mq3"]["status"] == "ok"


def test_a_changed_host_key_is_refused_until_somebody_says_why(fab, on):
    on("card1", "cp -a /etc/ssh /root/ssh.kept; rm /etc/ssh/ssh_host_*; ssh-keygen -A")
    on("card1", "systemctl restart sshd")
    try:
        answer = fab("-H", "card1", "hosts")
        assert answer.code == 3
        assert "shows a host key that differs from the pinned one" in answer.text
        assert "fab -H card1 ssh.trust --replace" in answer.text
        trust = fab("-H", "card1", "--accept-host-keys", "ssh.trust")
        assert (trust.code, trust.hosts("refused")) == (1, {"card1"})
        assert fab("-H", "card1", "--accept-host-keys", "ssh.trust", "--replace").code == 0
        assert fab("-H", "card1", "hosts").code == 0
    finally:
        on("card1", "rm /etc/ssh/ssh_host_*; cp -a /root/ssh.kept/. /etc/ssh/")
        on("card1", "rm -r /root/ssh.kept; systemctl restart sshd")
        fab("-H", "card1", "--accept-host-keys", "ssh.trust", "--replace")


def test_an_unknown_host_key_is_shown_and_not_accepted(fab, lab, tmp_path):
    key = lab.environment()["RUNBOOK_STATE"] + "/id_ed25519"
    (tmp_path / "id_ed25519").symlink_to(key)
    answer = fab("-H", "mq1", "hosts", RUNBOOK_STATE=str(tmp_path))
    assert answer.code == 3
    assert "SHA256:" in answer.text
    assert "fab -H mq1 ssh.trust" in answer.text
    refused = fab("-H", "mq1", "ssh.trust", RUNBOOK_STATE=str(tmp_path))
    assert "Compare the fingerprints, then pass --accept-host-keys" in refused.text
    assert not (tmp_path / "known_hosts").exists()


def test_wrong_and_right_sudo_password(fab, on):
    secret = 'it\'s; 50% "odd" @here'
    on("mq3", "echo 'rocky ALL=(ALL) ALL' >/etc/sudoers.d/rocky")
    quoted = secret.replace("'", "'\\''")
    on("mq3", f"printf '%s\\n' 'rocky:{quoted}' | chpasswd")
    absent = fab("-H", "mq3", "hosts")
    assert absent.code == 2
    assert "Set RUNBOOK_SUDO_PASSWORD" in absent.text
    wrong = fab("-H", "mq3", "hosts", RUNBOOK_SUDO_PASSWORD="not it")
    assert wrong.code == 1
    assert "sudo does not accept the password of rocky" in wrong.text
    assert "not it" not in wrong.text
    right = fab("-H", "mq2,mq3", "base.user", RUNBOOK_SUDO_PASSWORD=secret)
    assert right.code == 0, right.text
    assert secret not in right.text
    assert secret not in on("mq3", "journalctl -b --no-pager -o cat")
    assert ("mq3", "file /etc/sudoers.d/rocky") in right.steps("changed")


def test_on_a_terminal_the_sudo_password_is_asked_once(fab, on, lab):
    for name in ("mq2", "mq3"):
        on(name, "echo 'rocky ALL=(ALL) ALL' >/etc/sudoers.d/rocky; echo rocky:abc-xyz | chpasswd")
    process = subprocess.Popen(
        lab.inside(["script", "-qec", "fab -H mq2,mq3 base.user", "/dev/null"]),
        env={**lab.environment(), "TERM": "dumb"},
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    said = b""
    while b"sudo password of rocky:" not in said:
        said += os.read(process.stdout.fileno(), 4096)
    process.stdin.write(b"abc-xyz\n")
    process.stdin.flush()
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 0, rest.decode()
    assert (said + rest).count(b"sudo password of rocky:") == 1
    assert b"abc-xyz" not in said + rest
    assert fab("-H", "mq2,mq3", "base.check").code == 0


def test_wrong_bootstrap_password(fab, on):
    on("mq3", "mv /home/rocky/.ssh/authorized_keys /root/kept")
    try:
        without = fab("-H", "mq3", "hosts")
        assert without.code == 1
        assert "fab -H mq3 ssh.bootstrap" in without.text
        wrong = fab("-H", "mq3", "ssh.bootstrap", RUNBOOK_BOOTSTRAP_PASSWORD="not it")
        assert wrong.code == 1
        assert "does not accept that password for root" in wrong.text
        right = fab("-H", "mq3", "ssh.bootstrap")
        assert right.code == 0, right.text
    finally:
        on("mq3", "mv /root/kept /home/rocky/.ssh/authorized_keys")


def test_a_bootstrap_that_was_cut_off_can_be_repeated(fab, on):
    """The key is there already, and sudo is not: root's password helps again."""
    on("mq3", "rm /etc/sudoers.d/rocky; passwd -l rocky")
    stuck = fab("-H", "mq3", "hosts")
    assert stuck.code == 2
    again = fab("-H", "mq3", "ssh.bootstrap")
    assert again.code == 0, again.text
    assert again.steps("changed") == {("mq3", "file /etc/sudoers.d/rocky")}
    assert fab("-H", "mq3", "hosts").code == 0


def test_a_password_is_sent_only_to_a_sudo_that_asks_for_it(fab, on):
    secret = "touch /root/pwned"
    answer = fab("-H", "mq3", "hosts", RUNBOOK_SUDO_PASSWORD=secret)
    assert answer.code == 0
    on("mq3", "[[ ! -e /root/pwned ]]")


def test_a_package_that_does_not_exist(fab, settings):
    absent = settings("base", packages=["wgett", "firewalld", "chrony"])
    answer = fab.text("-H", "mq1", "base.packages", **absent)
    assert answer.code == 1
    assert "mq1 failed in base.packages at: installed: wgett" in answer.text
    assert "$ dnf install -y wgett" in answer.text
    assert "no repository of the host has a package of that name" in answer.text


def test_a_step_that_fails_on_one_host_only(fab, on):
    on("mq1", "rpm -e wget; mv /etc/yum.repos.d /root/kept; mkdir /etc/yum.repos.d; dnf clean all")
    on("mq2", "rpm -e wget")
    try:
        answer = fab("-H", "@rabbitmq", "base.packages", "hosts")
        assert answer.code == 1
        assert answer.hosts("failed") == {"mq1"}
        assert answer.hosts("changed") == {"mq2"}
        assert "hosts.names" not in answer.data["tasks"]
    finally:
        on("mq1", "rmdir /etc/yum.repos.d; mv /root/kept /etc/yum.repos.d")
    assert fab("-H", "mq1", "base.packages").code == 0


def test_a_full_disk_leaves_the_old_file_whole(fab, on):
    on(
        "mq1",
        "cp -a /etc/selinux /root/kept; mount -t tmpfs -o size=64k,mode=755 tmpfs /etc/selinux; "
        "cp -a /root/kept/. /etc/selinux/; "
        "sed -i --follow-symlinks s/^SELINUX=disabled/SELINUX=enforcing/ /etc/selinux/config; "
        "cat /dev/zero >/etc/selinux/filler || :",
    )
    try:
        before = on("mq1", "cat /etc/selinux/config")
        answer = fab.text("-H", "mq1", "base.selinux")
        assert answer.code == 1
        assert "No space left on device" in answer.text
        assert "a file system on that host is full" in answer.text
        assert on("mq1", "cat /etc/selinux/config") == before
        assert ".config" not in on("mq1", "ls -A /etc/selinux")
    finally:
        on("mq1", "umount /etc/selinux; rm -r /root/kept")


def slow_packages(on, host: str) -> None:
    """The next base.packages on this host has something to do that takes a while."""
    on(host, "rpm -e wget rsync nfs-utils vim-enhanced; dnf clean all")


def until_busy(on, host: str) -> None:
    """Wait until dnf is at work there."""
    deadline = time.monotonic() + 30
    while not on(host, "pgrep -f '[d]nf install' || :"):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_connection_cut_in_the_middle_and_a_rerun(fab, on, healed, lab):
    slow_packages(on, "mq3")
    process = fab.start("-H", "mq3", "base.packages")
    until_busy(on, "mq3")
    healed("mq3", "unplug")
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 3, said
    assert "the connection to mq3 was lost at: installed:" in said
    assert "Traceback" not in said
    lab.heal("mq3")
    again = fab("-H", "mq3", "base.packages")
    assert again.code == 0, again.text
    assert on("mq3", "rpm -q wget rsync vim-enhanced")
    assert fab("-H", "mq3", "base.packages").steps("changed") == set()


def test_a_killed_controller_and_a_rerun(fab, on):
    slow_packages(on, "mq3")
    process = fab.start("-H", "mq3", "base.packages")
    until_busy(on, "mq3")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 60
    again = fab("-H", "mq3", "base.packages")
    while again.hosts("refused"):  # what the killed one started goes on, and holds the lock
        assert time.monotonic() < deadline
        again = fab("-H", "mq3", "base.packages")
    assert again.code == 0, again.text
    assert fab("-H", "mq3", "base.packages").steps("changed") == set()


def test_interrupted_by_hand(fab, on):
    slow_packages(on, "mq3")
    process = fab.start("-H", "mq3", "base.packages")
    until_busy(on, "mq3")
    os.kill(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "rerunning is safe" in said
    assert "Traceback" not in said
    assert fab("-H", "mq3", "base.packages").code == 0


def test_two_runs_at_once(fab, lab, on):
    on("mq1", "echo 'alice@laptop' >/run/airflow-runbook/holder")
    on("mq1", "systemd-run --collect flock /run/airflow-runbook/lock sleep 25")
    answer = fab("-H", "mq1,mq2", "hosts")
    assert answer.code == 1
    assert answer.hosts("refused") == {"mq1"}
    assert answer.hosts("ok") == {"mq2"}
    assert "another run is in progress there, by alice@laptop" in answer.text
    assert fab("-H", "mq1", "--plan", "hosts").code == 0


def test_a_frozen_host_is_unreachable(fab, healed):
    healed("mq3", "freeze")
    answer = fab("-H", "mq2,mq3", "hosts")
    assert answer.code == 3
    assert answer.hosts("unreachable") == {"mq3"}


def test_through_a_gateway(fab, on, settings):
    """The way to sql1 leads through airflow: it sees airflow's address as the caller's."""
    gateway = settings("connection", gateway="rocky@192.168.83.129")
    answer = fab.text("-H", "sql1", "--", "echo $SSH_CONNECTION", **gateway)
    assert answer.code == 0, answer.text
    assert "[sql1] 192.168.83.129 " in answer.text


def test_ssh_config_is_honoured(fab, lab, on, tmp_path):
    """A port and a ProxyJump of ssh_config hold for a host of hosts.yaml."""
    config = tmp_path / "ssh_config"
    config.write_text("Host sql2\n  ProxyJump rocky@192.168.83.129\n")
    answer = fab.text("-S", str(config), "-H", "sql2", "--", "echo $SSH_CONNECTION")
    assert "[sql2] 192.168.83.129 " in answer.text


def test_another_port(fab, on, settings):
    """Another port is another name in known_hosts: it is pinned first, then used."""
    on(
        "card1",
        "firewall-cmd --add-port=2222/tcp; /usr/sbin/sshd -p 2222 -o PidFile=/run/sshd-2222.pid",
    )
    try:
        port = settings("hosts", card1={"port": 2222})
        refused = fab("-H", "card1", "hosts", **port)
        assert refused.code == 3
        assert "a host key that is not pinned" in refused.text
        assert fab("-H", "card1", "--accept-host-keys", "ssh.trust", **port).code == 0
        shown = fab.text("-H", "card1", "--", "echo $SSH_CONNECTION", **port)
        assert shown.text.splitlines()[1].endswith(" 2222")
    finally:
        on("card1", "firewall-cmd --remove-port=2222/tcp; kill $(cat /run/sshd-2222.pid)")
