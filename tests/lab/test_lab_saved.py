"""Saved states: what was there comes back, labs share it, and nothing is lost on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from support.one_host import ONE_HOST, TWO_HOSTS, leftovers, output, state
from support.states import lab_name

from lab import CHECKOUT
from lab.errors import LabError
from lab.machine import Lab

WAITS = True
NAMES = ("saved-one", "saved-two")


@pytest.fixture
def named(tmp_path):
    """named("one"): a lab of one host, that is not up yet; gone at the end with what it saved."""
    hosts = tmp_path / "hosts.yaml"
    hosts.write_text(ONE_HOST)
    opened = {}

    def go(name: str) -> Lab:
        opened[name] = Lab.open(lab_name(name), hosts)
        opened[name].down()
        return opened[name]

    for lab in [go("cleaner")]:
        for name in set(NAMES) & set(lab.store.names()):
            lab.forget(name)
    yield go
    for lab in opened.values():
        lab.down()
    for name in set(NAMES) & set(lab.store.names()):
        lab.forget(name)
    assert [leftover for lab in opened.values() for leftover in leftovers(lab)] == []


@pytest.fixture
def one(named) -> Lab:
    lab = named("one")
    lab.up()
    return lab


def test_what_was_saved_comes_back_and_what_came_later_is_gone(one):
    output(one, "sql1", "echo before >/root/file; ln /root/file /root/linked; rm -r /etc/cron.d")
    output(one, "sql1", "dnf -q -y install wget; hostnamectl set-hostname one")
    (one.state / "controller" / "secrets.yaml").write_text("before\n")
    key = output(one, "sql1", "cat /etc/ssh/ssh_host_ed25519_key.pub /etc/machine-id")
    one.save("saved-one", "before the upgrade")
    assert state(one, "sql1") == "running"
    output(one, "sql1", "echo after >/root/file; rpm -e wget; mkdir /etc/cron.d")
    (one.state / "controller" / "secrets.yaml").write_text("after\n")
    one.restore("saved-one")
    assert output(one, "sql1", "cat /root/linked /root/file; hostname") == "before\nbefore\none"
    assert output(one, "sql1", "stat -c %h /root/file") == "2"
    assert output(one, "sql1", "rpm -q wget")
    assert "cron.d" not in output(one, "sql1", "ls /etc").split()
    assert output(one, "sql1", "cat /etc/ssh/ssh_host_ed25519_key.pub /etc/machine-id") == key
    assert (one.state / "controller" / "secrets.yaml").read_text() == "before\n"
    assert one.exec(["bash", "-c", "exec 3<>/dev/tcp/192.168.83.148/22"]).returncode == 0


@pytest.mark.long
def test_a_state_is_saved_on_top_of_another_and_both_come_back(one):
    output(one, "sql1", "echo 1 >/root/file")
    one.save("saved-one")
    output(one, "sql1", "echo 2 >/root/file; touch /root/second")
    one.save("saved-two")
    one.forget("saved-two")
    assert output(one, "sql1", "cat /root/file") == "2"
    one.save("saved-two")
    one.restore("saved-one")
    assert output(one, "sql1", "cat /root/file; ls /root/second 2>&1 || :").startswith("1\nls:")
    one.restore("saved-two")
    assert output(one, "sql1", "cat /root/file; ls /root/second") == "2\n/root/second"


def test_hosts_that_are_not_needed_are_left_off(named, tmp_path):
    (tmp_path / "hosts.yaml").write_text(TWO_HOSTS)
    two = named("two")
    two.up()
    output(two, "sql2", "echo 1 >/root/file")
    two.save("saved-one")
    assert two.restore("saved-one", only=["sql1"]) == ["sql1"]
    assert (state(two, "sql1"), state(two, "sql2")) == ("running", "off")
    output(two, "sql1", "echo 2 >/root/file")
    two.save("saved-two")
    assert (state(two, "sql1"), state(two, "sql2")) == ("running", "off")
    two.restore("saved-two")
    assert output(two, "sql1", "cat /root/file") == "2"
    assert output(two, "sql2", "cat /root/file") == "1"
    two.restore("saved-two", only=["sql1"])
    two.heal("sql2")
    assert output(two, "sql2", "cat /root/file") == "1"
    with pytest.raises(LabError, match="the lab has no host sql9; available: sql1, sql2"):
        two.restore("saved-two", only=["sql9"])
    assert state(two, "sql2") == "running"


def test_two_labs_stand_on_one_state(one, named):
    output(one, "sql1", "echo shared >/root/file")
    one.save("saved-one")
    two = named("two")
    two.restore("saved-one")
    output(two, "sql1", "echo mine >/root/file")
    assert output(one, "sql1", "cat /root/file") == "shared"
    assert two.hosts()["sql1"].address == one.hosts()["sql1"].address
    one.forget("saved-one")
    one.down()
    two.fault("sql1", "power-off")
    two.fault("sql1", "power-on")
    assert output(two, "sql1", "cat /root/file; id -u") == "mine\n0"
    layers = two.store.layers
    held = {layer for record in two.store.records() for layer in record.layers}
    assert held <= {path.name for path in layers.iterdir()}
    mine = set(two.record().layers)
    two.down()
    assert not mine & {path.name for path in layers.iterdir()}


def test_up_begins_with_a_state(one, named):
    output(one, "sql1", "touch /root/kept")
    one.save("saved-one")
    two = named("two")
    begin = ("lab.up", "--from", "saved-one", "--name", two.name)
    done = inv(*begin)
    assert done.returncode == 0, done.stderr
    assert output(two, "sql1", "ls /root/kept")
    again = inv(*begin)
    assert again.returncode == 2
    assert again.stderr == (
        f"the lab {two.name} is up; to replace its state: inv lab.restore saved-one\n"
    )
    assert two.up() == []


def test_the_lab_keeps_to_the_hosts_file_of_the_state(one):
    one.save("saved-one")
    one.hosts_file.write_text(ONE_HOST.replace(".148", ".77"))
    one.restore("saved-one")
    copy = one.state / "hosts.yaml"
    assert copy.read_text() == ONE_HOST
    assert one.environment()["RUNBOOK_INVENTORY"] == str(copy)


def test_a_lab_with_a_fault_is_not_saved(one):
    one.fault("sql1", "unplug")
    with pytest.raises(LabError, match=r"sql1 is unplugged; .* First run: inv lab\.heal sql1"):
        one.save("saved-one")
    one.heal("sql1")


def test_a_name_is_taken_once(one):
    one.save("saved-one")
    with pytest.raises(LabError, match=r"to delete it: inv lab\.forget saved-one"):
        one.save("saved-one")


@pytest.mark.parametrize("seconds", [0.2, 0.5, 0.8, 1.1, 1.5])
def test_nothing_is_lost_when_a_save_is_killed(one, seconds):
    output(one, "sql1", "echo precious >/root/file; sync")
    saving = subprocess.Popen(
        [sys.executable, "-m", "invoke", "lab.save", "saved-one", "--name", one.name], cwd=CHECKOUT
    )
    time.sleep(seconds)
    saving.kill()
    saving.wait()
    one.up()
    one.heal("sql1")
    assert output(one, "sql1", "cat /root/file") == "precious"


def test_a_host_that_was_going_off_when_the_save_was_killed_is_switched_on_again(one):
    one.fault("sql1", "freeze")
    os.kill(one.host("sql1").init(), signal.SIGKILL)
    one.heal("sql1")
    assert state(one, "sql1") == "running"


def test_the_cache_and_saved_states_are_not_dropped_under_a_running_lab(one):
    one.save("saved-one")
    done = inv("lab.clean", "--saved")
    assert done.returncode == 1
    assert "a running lab uses " in done.stderr
    assert "saved-one" in one.store.names()


def test_the_table_shows_what_is_saved(one):
    one.save("saved-one", "before the upgrade")
    [line] = [line for line in inv("lab.saved").stdout.splitlines() if "saved-one" in line]
    assert "before the upgrade" in line
    assert "airflow 2.9.0" in line


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (("lab.restore", "nothing"), "no state nothing is saved here; available: "),
        (("lab.forget", "nothing"), "no state nothing is saved here; available: "),
        (("lab.save", "a/b"), "is not valid as a saved state's name"),
    ],
)
def test_wrong_words(argv, sentence):
    done = inv(*argv)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1


def inv(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "invoke", *argv],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
