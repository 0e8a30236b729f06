"""The lab itself: its hosts are like fresh Rocky servers, its faults are real, nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from support.one_host import ONE_HOST, leftovers, output, state

from lab import CHECKOUT, cgroups
from lab.machine import Lab

STATE = "bare"


@pytest.fixture
def second(lab, tmp_path):
    """A lab of one host, at an address that the first lab has, too."""
    hosts = tmp_path / "hosts.yaml"
    hosts.write_text(ONE_HOST)
    opened = Lab.open(f"{lab.name}-second", hosts)
    opened.down()
    yield opened
    opened.down()


def answers(lab: Lab, host: str) -> bool:
    """Whether a host's ssh server greets the controller."""
    greeting = f"read -r <>/dev/tcp/{lab.host(host).address}/22"
    return lab.exec(["timeout", "2", "bash", "-c", greeting], capture_output=True).returncode == 0


def pings(lab: Lab, source: str, target: str, count: int) -> int:
    """How many of `count` pings from one host another one answers."""
    address = lab.host(target).address
    done = lab.root_shell(source, f"ping -n -q -c {count} -i 0.02 -W 1 {address}")
    return int(done.stdout.split(" received")[0].split()[-1])


def reaches(lab: Lab, source: str, target: str) -> bool:
    """Whether a host gets an answer from another one that it has looked for in vain.

    It gives the address up three seconds after it asked first, whatever waits for it by then.
    """
    ping = f"ping -n -q -c 1 -W 1 {lab.host(target).address}"
    return any(lab.root_shell(source, ping).returncode == 0 for _ in range(5))


def credentials(lab: Lab) -> list[bytes]:
    controller = lab.state / "controller"
    return [(controller / name).read_bytes() for name in ("id_ed25519", "root-password")]


def inv(*argv: str, prefix=(), **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*prefix, sys.executable, "-m", "invoke", *argv],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


# --- a host is like a fresh server ---


def test_a_fresh_host_is_like_a_minimal_rocky(second):
    second.up()
    assert output(second, "sql1", "hostname -s") == "localhost"
    assert output(second, "sql1", "cat /etc/rocky-release").startswith("Rocky Linux release 8")
    assert output(second, "sql1", "getenforce") == "Enforcing"
    assert output(second, "sql1", "readlink -f /etc/localtime") == "/usr/share/zoneinfo/Etc/UTC"
    assert output(second, "sql1", "firewall-cmd --state") == "running"
    assert output(second, "sql1", "systemctl is-active chronyd sshd crond NetworkManager")
    assert output(second, "sql1", "rpm -q firewalld chrony curl sudo")
    assert second.root_shell("sql1", "id rocky").returncode != 0
    assert second.root_shell("sql1", "type vim wget rsync apt-get dpkg").returncode != 0
    assert output(second, "sql1", "systemctl --failed --plain --no-legend") == ""


def test_root_logs_in_with_the_password(lab, tmp_path):
    ask = tmp_path / "ask"
    ask.write_text('#!/bin/sh\necho "$RUNBOOK_BOOTSTRAP_PASSWORD"\n')
    ask.chmod(0o700)
    host = next(iter(lab.hosts().values()))
    done = lab.exec(
        [
            *("ssh", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
            *("-o", "PubkeyAuthentication=no", f"root@{host.address}", "id -un"),
        ],
        env={"SSH_ASKPASS": str(ask), "SSH_ASKPASS_REQUIRE": "force"},
        capture_output=True,
    )
    assert done.stdout == "root\n", done.stderr


def test_the_selinux_mode_lasts_one_boot_and_the_configuration_for_ever(second):
    second.up()
    assert output(second, "sql1", "setenforce 0; getenforce") == "Permissive"
    output(second, "sql1", "sed -i s/^SELINUX=.*/SELINUX=disabled/ /etc/selinux/config")
    second.fault("sql1", "power-off")
    second.fault("sql1", "power-on")
    assert output(second, "sql1", "getenforce") == "Disabled"
    assert second.root_shell("sql1", "setenforce 1").returncode == 1


def test_a_reboot_gives_a_new_boot_and_keeps_the_hostname(lab):
    before = output(lab, "mq1", "cat /proc/sys/kernel/random/boot_id")
    output(lab, "mq1", "nmcli general hostname lab-mq1")
    lab.root_shell("mq1", "systemctl reboot")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            after = output(lab, "mq1", "cat /proc/sys/kernel/random/boot_id")
            settled = output(lab, "mq1", "systemctl is-system-running --wait")
        except Exception:
            time.sleep(0.2)
            continue
        if after != before:
            break
    assert after != before
    assert settled == "running"
    assert output(lab, "mq1", "hostname") == "lab-mq1"
    assert float(output(lab, "mq1", "cut -d' ' -f1 /proc/uptime")) < 60


def test_a_root_shell_does_not_keep_a_host_from_shutting_down(lab):
    with ThreadPoolExecutor() as background:
        shell = background.submit(lab.root_shell, "mq1", "sleep 600")
        time.sleep(1)
        start = time.monotonic()
        lab.fault("mq1", "power-off")
        assert time.monotonic() - start < 60
        assert shell.result().returncode != 0
    lab.heal("mq1")


# --- the network ---


def test_there_is_no_way_out(lab):
    connect = "exec 3<>/dev/tcp/192.0.2.1/80"
    for done in (
        lab.exec(["timeout", "5", "bash", "-c", connect], capture_output=True),
        lab.root_shell("mq1", f"timeout 5 bash -c '{connect}'"),
    ):
        assert done.returncode == 1
        assert "No route to host" in done.stderr


def test_exec_passes_on_exit_code_output_and_environment(lab):
    lab.exec(["true"], check=True)
    done = lab.exec(["sh", "-c", "echo $RUNBOOK_STATE; exit 7"], capture_output=True)
    assert done.returncode == 7
    assert done.stdout == f"{lab.state / 'controller'}\n"
    key = lab.state / "controller" / "id_ed25519"
    assert key.stat().st_mode & 0o777 == 0o600


# --- faults ---


def test_power_off_and_on(lab):
    lab.fault("mq2", "power-off")
    assert state(lab, "mq2") == "off"
    assert not answers(lab, "mq2")
    lab.fault("mq2", "power-on")
    assert state(lab, "mq2") == "running"
    assert answers(lab, "mq2")


def test_power_loss(lab):
    lab.root_shell("mq2", "touch /root/kept")
    lab.fault("mq2", "power-loss")
    assert state(lab, "mq2") == "off"
    assert not answers(lab, "mq2")
    lab.heal("mq2")
    assert state(lab, "mq2") == "running"
    assert output(lab, "mq2", "ls /root/kept")


def test_freeze(lab):
    lab.fault("mq2", "freeze")
    assert state(lab, "mq2") == "frozen"
    assert not answers(lab, "mq2")
    lab.heal("mq2")
    assert state(lab, "mq2") == "running"
    assert answers(lab, "mq2")


def test_a_frozen_host_can_lose_its_power(lab):
    lab.fault("mq2", "freeze")
    lab.fault("mq2", "power-loss")
    assert state(lab, "mq2") == "off"
    lab.heal("mq2")
    assert state(lab, "mq2") == "running"


@pytest.mark.parametrize(
    ("kind", "called", "carrier"),
    [("unplug", "unplugged", "0"), ("partition", "partitioned", "1")],
)
def test_a_cable_fault_outlives_a_reboot(lab, kind, called, carrier):
    lab.fault("mq2", kind)
    assert state(lab, "mq2") == called
    assert not answers(lab, "mq2")
    link = "ip -o link show eth0 | grep -c 'state UP' || true"
    assert output(lab, "mq2", link) == carrier
    lab.fault("mq2", "power-loss")
    lab.fault("mq2", "power-on")
    assert state(lab, "mq2") == called
    assert not answers(lab, "mq2")
    lab.heal("mq2")
    assert state(lab, "mq2") == "running"
    assert answers(lab, "mq2")


def test_loss(lab):
    assert pings(lab, "mq1", "mq2", count=3) == 3  # the address is known: ARP gets lost, too
    lab.fault("mq2", "loss", percent=50)
    assert state(lab, "mq2") == "loss 50 %"
    assert 1 <= pings(lab, "mq1", "mq2", count=60) <= 40
    lab.heal("mq2")
    assert pings(lab, "mq1", "mq2", count=20) == 20


def test_a_cut_separates_a_host_from_its_peers_only(lab):
    lab.fault("sql1", "cut", peers=["sql2", "sql3"])
    assert state(lab, "sql1") == "cut from sql2,sql3"
    assert state(lab, "sql2") == "running"
    for source, target in (("sql1", "sql2"), ("sql2", "sql1"), ("sql1", "sql3")):
        assert pings(lab, source, target, count=3) == 0
    for source, target in (("sql2", "sql3"), ("mq1", "sql1"), ("sql1", "mq1")):
        assert pings(lab, source, target, count=3) == 3
    assert answers(lab, "sql1")
    assert answers(lab, "sql2")
    # It is the switch that fails: neither end's reboot changes it.
    for host in ("sql1", "sql2"):
        lab.fault(host, "power-loss")
        lab.fault(host, "power-on")
    assert state(lab, "sql1") == "cut from sql2,sql3"
    assert pings(lab, "sql2", "sql1", count=3) == 0
    lab.heal("sql1")
    assert state(lab, "sql1") == "running"
    assert reaches(lab, "sql2", "sql1")


# --- beginning and end ---


def test_a_second_up_changes_nothing(lab):
    before = {host.name: host.init() for host in lab.hosts().values()}
    files = credentials(lab)
    assert lab.up() == []
    assert {host.name: host.init() for host in lab.hosts().values()} == before
    assert credentials(lab) == files


def test_up_starts_only_what_is_off(lab):
    before = lab.host("mq1").init()
    lab.fault("mq2", "power-loss")
    assert lab.up() == ["mq2"]
    assert lab.host("mq1").init() == before


def test_two_labs_with_the_same_addresses_do_not_see_each_other(lab, second):
    second.up()
    output(second, "sql1", "touch /root/only-here")
    assert lab.root_shell("sql1", "ls /root/only-here").returncode != 0
    lab.fault("sql1", "unplug")
    assert answers(second, "sql1")
    lab.heal("sql1")
    second.down()
    assert leftovers(second) == []
    assert answers(lab, "sql1")


def test_down_after_everything_was_killed(second):
    second.up()
    for pid in cgroups.group(second.tag).pids():
        with suppress(ProcessLookupError):  # gone with one that was killed before it
            os.kill(pid, signal.SIGKILL)
    assert leftovers(second)
    second.down()
    assert leftovers(second) == []


def test_up_boots_a_host_again_whose_supervisor_was_killed(second):
    second.up()
    for pid in second.host("sql1").supervisor_group.pids():
        with suppress(ProcessLookupError):  # gone with one that was killed before it
            os.kill(pid, signal.SIGKILL)
    assert second.up() == ["sql1"]
    assert state(second, "sql1") == "running"


@pytest.mark.parametrize("seconds", [0.3, 0.8, 2.0])
def test_down_after_a_killed_up(second, seconds):
    script = (
        "from pathlib import Path; from lab.machine import Lab;"
        f"Lab.open({second.name!r}, Path({str(second.hosts_file)!r})).up()"
    )
    starting = subprocess.Popen([sys.executable, "-c", script], cwd=CHECKOUT)
    time.sleep(seconds)
    starting.kill()
    starting.wait()
    second.down()
    assert leftovers(second) == []


# --- what the user reads when something is wrong ---


def test_without_root_there_is_one_sentence():
    # As nobody, but able to read a Python below /root.
    nobody = ["setpriv", "--reuid=65534", "--clear-groups"]
    nobody += [f"--{kind}-caps=-all,+dac_read_search" for kind in ("inh", "ambient")]
    done = inv("lab.status", prefix=nobody)
    assert done.returncode == 2
    assert done.stderr == "the lab boots whole hosts and must be run as root\n"


def test_exec_without_a_lab():
    done = inv("lab.exec", "--name", "no-such-lab", "--", "true")
    assert done.returncode == 1
    assert done.stderr == "no lab is up; run: inv lab.up --name no-such-lab\n"


def test_exec_hands_over_terminal_and_exit_code(lab):
    done = inv("lab.exec", "--name", lab.name, "--", "sh", "-c", "cat; exit 7", input="hello\n")
    assert (done.returncode, done.stdout, done.stderr) == (7, "hello\n", "")


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (("lab.fault", "mq9", "freeze"), "the lab has no host mq9"),
        (("lab.fault", "mq1", "explode"), "explode is not a fault"),
        (("lab.fault", "mq1", "loss", "--percent", "0"), "must be between 1 and 100, not 0"),
        (("lab.fault", "mq1", "cut"), "cut needs the other hosts: --peers HOST,HOST…"),
        (("lab.fault", "mq1", "cut", "--peers", "mq1"), "mq1 cannot be cut from itself"),
        (("lab.fault", "mq1", "cut", "--peers", "mq2,mq9"), "the lab has no host mq9"),
        (("lab.fault", "mq1", "freeze", "--peers", "mq2"), "--peers can be used only with cut"),
        (("lab.exec",), "the command is missing"),
        (("lab.up", "--hosts", "/no/such/hosts.yaml"), "/no/such/hosts.yaml"),
    ],
)
def test_wrong_words(lab, argv, sentence):
    done = inv(*argv, env={**os.environ, "LAB_NAME": lab.name})
    assert done.returncode == 2
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_cache_is_not_dropped_under_a_running_lab(lab):
    done = inv("lab.clean")
    assert done.returncode == 1
    assert "a running lab uses" in done.stderr


def test_a_changed_address_needs_a_fresh_lab(second):
    second.up()
    second.hosts_file.write_text(ONE_HOST.replace(".148", ".77"))
    done = inv("lab.up", "--name", second.name)
    assert done.returncode == 1
    assert "start again" in done.stderr
