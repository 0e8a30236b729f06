"""Whoever has a key of the cluster gets no further than it is meant for."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.controller import PROJECT, Answer, Controller

from fabfile import CONTENTS, python_build
from fabfile.ssh.shipping import ARRIVED, RECEIVE

STATE = "section one"
HOSTS = ("airflow", "worker1", "card1", "sql1")

KEY = "/home/rocky/.ssh/id_ed25519"
KEYS = "/home/rocky/.ssh/authorized_keys"
WORKER_KEY = "/etc/airflow/ssh/id_ed25519"
BATCH = "-o BatchMode=yes -o ConnectTimeout=5 -o StrictHostKeyChecking=accept-new"
ADDRESS = {
    "airflow": "192.168.83.129",
    "worker1": CONTENTS.load(PROJECT / "hosts.yaml").hosts["worker1"].address,
    "card1": CONTENTS.load(PROJECT / "hosts.yaml").hosts["card1"].address,
}


@pytest.fixture
def vm1(lab):
    """vm1("worker1", "id") -> what VM1's account gets with its key, and with these options."""

    def ssh(host: str, command: str, options: str = "", stdin: str = "/dev/null") -> str:
        ask = f"runuser -u rocky -- ssh {BATCH} {options} {host} {command} <{stdin} 2>&1"
        done = lab.root_shell("airflow", f"timeout 20 {ask}")
        return f"{done.returncode} {done.stdout.strip()}"

    return ssh


@pytest.fixture
def blob(on):
    """blob("airflow", KEY) -> the base64 of a public key."""
    return lambda host, key: on(host, f"cut -d' ' -f2 {key}.pub")


def of(fab: Controller, hosts: str, *arguments: str, **environment: str) -> Answer:
    answer = fab("-H", hosts, *arguments, **environment)
    assert answer.code == 0, answer.text
    return answer


# VM1's key


def test_the_runbook_s_loop_is_all_that_vm1_needs(fab, vm1):
    assert vm1("sql1", "\"echo 'SSH to sql1: SUCCESS'\"") == "0 SSH to sql1: SUCCESS"
    check = fab("-H", "airflow", "ssh.check")
    assert ("airflow", "airflow reaches worker1") in check.steps("ok")


@pytest.mark.parametrize(
    "command",
    [
        "",
        "id",
        "bash",
        "sudo -n id",
        "/usr/libexec/openssh/sftp-server",
        "rsync --server . /",
        "\"echo 'SSH to x: SUCCESS'; id\"",
        "\"echo 'SSH to $(id): SUCCESS'\"",
    ],
)
def test_vm1_s_key_opens_no_shell_and_no_sudo(vm1, command):
    for host in ("worker1", "sql1"):
        answer = vm1(host, command)
        assert answer.startswith("79 ")
        assert "uid=" not in answer
    assert "uid=" not in vm1("worker1", command, "-tt")


def test_vm1_s_key_forwards_nothing(vm1, on):
    assert "SSH-2.0" not in vm1("worker1", "", "-W 127.0.0.1:22")
    on("airflow", "runuser -u rocky -- ssh-keygen -q -t ed25519 -N '' -f /tmp/probe || :")
    back = vm1("worker1", "sleep 1", "-o ExitOnForwardFailure=yes -R 9998:127.0.0.1:22")
    assert "remote port forwarding failed" in back


def test_vm1_s_key_writes_to_no_other_place(vm1, on):
    name = "0" * 32
    for words in (
        f"put ../../../etc {name}",
        f"put nfs {name}",
        f"put python ../{name[3:]}",
        f"put python {name} /etc/motd",
    ):
        assert vm1("worker1", f"{RECEIVE} {words}").startswith("79 ")
    assert vm1("sql1", f"{RECEIVE} put python {name}").startswith("79 ")
    assert on("worker1", f"ls -A {ARRIVED}") == ""


def test_vm1_s_key_opens_nothing_from_another_address(on, lab):
    on("card1", "install -m 0600 /dev/null /root/stolen")
    on("card1", f"cat >/root/stolen <<'EOF'\n{on('airflow', f'cat {KEY}')}\nEOF")
    loop = "\"echo 'SSH to worker1: SUCCESS'\""
    address = ADDRESS["worker1"]
    done = lab.root_shell("card1", f"ssh {BATCH} -i /root/stolen rocky@{address} {loop} 2>&1")
    on("card1", "rm /root/stolen")
    assert "Permission denied" in done.stdout
    assert "SUCCESS" not in done.stdout


def test_a_setting_gives_vm1_the_runbook_s_shell_and_takes_it_back(fab, vm1, settings):
    of(fab, "worker1", "ssh.distribute", **settings("ssh", vm1_sudo=True))
    assert vm1("worker1", "sudo -n id -u") == "0 0"
    of(fab, "worker1", "ssh.distribute")
    assert vm1("worker1", "sudo -n id -u").startswith("79 ")


# The trees that it ships


@pytest.fixture(scope="module")
def tree(lab, on):
    """VM1 has what passes for the wanted Python: its folder."""
    environment = lab.environment()
    cluster = CONTENTS.load(
        Path(environment["RUNBOOK_INVENTORY"]), Path(environment["RUNBOOK_OVERRIDE"])
    )
    folder = python_build.home(cluster)
    python = python_build.python(cluster)
    on("airflow", f"mkdir -p {folder}/bin && printf '#!/bin/sh\\necho honest\\n' >{python}")
    on("airflow", f"chmod 755 {python}; umask 022; ln -s bin {folder}/lib64")
    found = on("airflow", python_build.copies.fingerprint(folder))
    on("airflow", f"echo '{python_build.made_from(cluster)} {found}' >{folder}/.airflow-runbook")
    return folder, python, found


def test_a_tree_that_vm1_s_account_has_forged_is_refused(fab, vm1, on, tree):
    folder, python, name = tree
    of(fab, "worker1", "python-build.ship")
    on(
        "airflow",
        f"rm -rf /tmp/forged; cp -a {folder} /tmp/forged; rm /tmp/forged/.airflow-runbook",
    )
    on("airflow", f"echo 'echo forged' >>/tmp/forged/bin/{python.rpartition('/')[2]}")
    on("airflow", "tar -C /tmp/forged -cf /tmp/forged.tar . && chmod 644 /tmp/forged.tar")
    put = vm1("worker1", f"{RECEIVE} put python {name}", stdin="/tmp/forged.tar")
    assert put.startswith("0")
    assert vm1("worker1", f"{RECEIVE} keep python {name}").startswith("0")
    answer = fab("-H", "worker1", "python-build.receive")
    assert answer.code == 1
    assert f"What arrived is not the {folder} of airflow. It was removed." in answer.text
    assert on("worker1", f"ls -A /opt/airflow {ARRIVED}").split() == [
        "/opt/airflow:",
        f"{ARRIVED}:",
    ]


def test_what_vm1_has_is_accepted_and_a_second_run_changes_nothing(fab, on, tree):
    folder, python, _ = tree
    answer = of(fab, "worker1", "python-build.ship", "python-build.receive")
    assert answer.steps("changed") >= {("worker1", f"{folder} is as airflow has it")}
    assert on("worker1", python) == "honest"
    assert on("worker1", f"stat -c '%U:%G %a' {folder}") == "root:root 755"
    again = fab("-H", "worker1", "python-build.ship", "python-build.receive")
    assert (again.code, again.steps("changed")) == (0, set())
    assert on("worker1", f"ls -A {ARRIVED}") == ""


# Keys that were rotated, or belong to nobody any more


def test_a_rotated_key_is_gone_after_a_run_and_those_of_people_stay(fab, on, blob):
    old = blob("airflow", KEY)
    on("card1", "ssh-keygen -q -t ed25519 -N '' -C jane@laptop -f /root/jane")
    on("card1", "ssh-keygen -q -t ed25519 -N '' -C rocky@airflow -f /root/unmarked")
    on("card1", f"cat /root/jane.pub /root/unmarked.pub >>{KEYS}")
    jane, unmarked = blob("card1", "/root/jane"), blob("card1", "/root/unmarked")
    on("airflow", f"rm {KEY} {KEY}.pub")
    differs = fab("-H", "card1", "ssh.check").steps("differs", "unknown")
    assert differs
    of(fab, "airflow", "ssh.keygen")
    answer = of(fab, "card1", "ssh.distribute")
    assert ("card1", f"{KEYS} has the keys of 'Airflow HA cluster: VM1'") in answer.steps("changed")
    now = on("card1", f"cat {KEYS}")
    assert blob("airflow", KEY) in now
    assert jane in now
    assert old not in now
    assert unmarked not in now
    of(fab, "worker1,sql1", "ssh.distribute")
    assert of(fab, "worker1,card1,sql1", "ssh").steps("changed") == set()


@pytest.mark.long
def test_the_key_of_a_former_vm1_is_gone_when_another_server_is_vm1(fab, on, blob, settings, vm1):
    former = blob("airflow", KEY)
    moved = settings("ssh", key_host="sql1")
    of(fab, "sql1", "ssh.keygen", **moved)
    of(fab, "airflow,worker1,card1", "ssh.distribute", **moved)
    fab("-H", "sql1", "ssh.distribute", **moved)  # without the host keys of those that are off
    try:
        for host in ("worker1", "card1"):
            assert former not in on(host, f"cat {KEYS}")
        assert blob("sql1", KEY) in on("airflow", f"cat {KEYS}")
        assert "Permission denied" in vm1("worker1", "id")
    finally:
        of(fab, "worker1,card1,sql1", "ssh.distribute")
    assert former in on("worker1", f"cat {KEYS}")
    assert blob("sql1", KEY) not in on("worker1", f"cat {KEYS}")


# Workers' keys


@pytest.fixture(scope="module")
def worker(fab):
    """A worker that has its key, and a target that accepts it."""
    of(fab, "worker1", "airflow.user", "airflow.keys", "airflow.targets")


def into_card1(lab, host: str, key: str = WORKER_KEY, options: str = "") -> str:
    ask = f"ssh {BATCH} {options} -i {key} airflow@{ADDRESS['card1']} id -un 2>&1"
    return lab.root_shell(host, f"timeout 20 {ask}").stdout


def test_a_worker_s_key_works_from_its_address_only_and_forwards_nothing(lab, on, worker):
    assert "airflow" in into_card1(lab, "worker1").splitlines()
    on("sql1", "install -m 0600 /dev/null /root/stolen")
    on("sql1", f"cat >/root/stolen <<'EOF'\n{on('worker1', f'cat {WORKER_KEY}')}\nEOF")
    assert "Permission denied" in into_card1(lab, "sql1", "/root/stolen")
    assert "SSH-2.0" not in into_card1(lab, "worker1", options="-W 127.0.0.1:22")


def test_what_is_not_one_key_in_a_worker_s_pub_is_refused(fab, on, worker):
    before = on("card1", "cat /home/airflow/.ssh/authorized_keys")
    on("worker1", f"cp -a {WORKER_KEY}.pub /root/kept.pub")
    on("sql1", "ssh-keygen -q -t ed25519 -N '' -C mallory -f /root/mallory")
    mallory = on("sql1", "cat /root/mallory.pub")
    as_airflow = "runuser -u airflow -- bash -c"
    try:
        on("worker1", f"""{as_airflow} 'echo "{mallory}" >>{WORKER_KEY}.pub'""")
        answer = fab("-H", "worker1", "airflow.targets")
        assert answer.code == 1
        assert f"{WORKER_KEY}.pub on worker1 has 2 lines" in answer.text
        on("worker1", f"{as_airflow} 'ln -sf /etc/shadow {WORKER_KEY}.pub'")
        answer = fab("-H", "worker1", "airflow.targets")
        assert answer.code == 1
        assert "root:" not in answer.text
    finally:
        on("worker1", f"rm -f {WORKER_KEY}.pub; mv /root/kept.pub {WORKER_KEY}.pub")
    assert on("card1", "cat /home/airflow/.ssh/authorized_keys") == before


def test_the_key_of_a_worker_that_left_is_gone(fab, on, blob, settings, worker):
    grown = settings("hosts", sql1={"roles": ["postgres", "worker"]})
    of(fab, "sql1", "airflow.user", "airflow.keys", **grown)
    of(fab, "sql1,worker1", "airflow.targets", **grown)
    keys = "/home/airflow/.ssh/authorized_keys"
    left = blob("sql1", WORKER_KEY)
    assert left in on("card1", f"cat {keys}")
    answer = of(fab, "worker1", "airflow.targets")
    assert answer.steps("changed") == {
        ("card1", f"{keys} has the keys of 'Airflow HA cluster: workers'")
    }
    assert left not in on("card1", f"cat {keys}")
    assert blob("worker1", WORKER_KEY) in on("card1", f"cat {keys}")
