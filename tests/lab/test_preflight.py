"""What a preflight says of fresh hosts, of trouble on them, and of sources; it changes nothing."""

from __future__ import annotations

import pytest
from support.controller import Controller

STATE = "bare"

FINGERPRINT_OF_A_HOST = r"""
find /etc /root /home /opt /usr/local -xdev -type f -print0 | sort -z | xargs -0 sha256sum
rpm -qa | sort; getent passwd; ls /tmp | grep -v ^systemd-private
getenforce; cat /proc/sys/kernel/random/boot_id
systemctl list-units --plain --no-legend --state=active --type=service |
  grep -vE 'session|dispatcher|(hostname|timedate|locale|login)d|^user(-runtime-dir)?@'
"""


@pytest.fixture(scope="module")
def trusted(fab) -> Controller:
    """The controller knows the hosts' keys; the hosts know nothing of it."""
    answer = fab("--accept-host-keys", "ssh.trust")
    assert answer.code == 0, answer.text
    return fab


@pytest.fixture(scope="module")
def fresh(trusted, lab):
    """The preflight of hosts that nobody has touched, and what two were like before and after."""
    names = ("sql1", "airflow")
    before = [lab.root_shell(name, FINGERPRINT_OF_A_HOST).stdout for name in names]
    answer = trusted("base.preflight")
    after = [lab.root_shell(name, FINGERPRINT_OF_A_HOST).stdout for name in names]
    return answer, before, after


@pytest.fixture(scope="module")
def troubled(fresh, trusted, lab):
    """The preflight of hosts on which there is trouble; gone afterwards."""
    for host, command in {
        "worker1": "systemd-run --quiet --unit=stray python3 -m http.server 8793",
        "haproxy2": "printf '[Service]\\nExecStart=/usr/local/bin/airflow webserver -D\\n' "
        ">/etc/systemd/system/airflow-celeryworker.service",
        "mq1": "echo 'AllowUsers root' >>/etc/ssh/sshd_config",
        "sql3": "mkdir -p /var/lib/pgsql/15/data && echo 15 >/var/lib/pgsql/15/data/PG_VERSION",
        "ftp": "useradd -u 50000 somebody",
        "nfs2": "sed -i 's/^PLATFORM_ID=.*/PLATFORM_ID=\"platform:el10\"/' /usr/lib/os-release",
        "scheduler2": "sed -i 's/^enabled=1/enabled=0/' /etc/yum.repos.d/*.repo",
    }.items():
        done = lab.root_shell(host, command)
        assert done.returncode == 0, done
    lab.fault("sql1", "cut", peers=["sql2"])
    yield trusted("base.preflight")
    lab.heal("sql1")


def test_fresh_hosts_have_no_errors(fresh):
    answer, _, _ = fresh
    assert answer.code == 0, answer.text
    assert answer.steps("error", "unknown", "unreachable") == set()


def test_it_says_that_selinux_will_be_switched_off(fresh):
    answer, _, _ = fresh
    warned = {step for host, step in answer.steps("warn") if host == "sql1"}
    assert "SELinux: enforcing, but hosts.yaml specifies disabled" in warned


def test_it_changes_nothing(fresh):
    _, before, after = fresh
    assert all(before)
    lines = zip(map(str.splitlines, before), map(str.splitlines, after))
    assert [set(old) ^ set(new) for old, new in lines] == [set(), set()]


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("worker1", "python3 (pid"),
        ("haproxy2", "airflow-celeryworker.service was not set up by this project"),
        ("mq1", "AllowUsers refuses the login of rocky"),
        ("sql3", "/var/lib/pgsql/15/data was not set up by this project"),
        ("ftp", "user somebody has uid 50000"),
        ("nfs2", "is not supported: this project sets up Enterprise Linux 8 and 9"),
        ("scheduler2", "packages: "),
        ("sql2", "sql1 cannot be reached on 5432"),
    ],
)
def test_trouble_is_named_with_its_server(troubled, host, words):
    assert troubled.code == 1
    assert [step for name, step in troubled.steps("error") if name == host and words in step]


def test_every_source_answers(trusted, lab):
    done = lab.exec(["inv", "sources.check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "answer where they are needed" in done.stdout
