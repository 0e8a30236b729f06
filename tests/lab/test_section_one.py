"""Section 1 from fresh hosts: what the plan says is what the run does, and a second run nothing."""

from __future__ import annotations

import pytest
from support.controller import Controller

STATE = "bare"

ALL = 13

FINGERPRINT_OF_A_HOST = r"""
find /etc /root /home -xdev -type f -print0 | sort -z >/tmp/files
xargs -0 stat -c '%n %a %U %G %Y' </tmp/files
xargs -0 sha256sum </tmp/files
rpm -qa | sort
firewall-cmd --list-all
getenforce; timedatectl show -p Timezone; cat /proc/sys/kernel/random/boot_id
systemctl is-active firewalld chronyd sshd NetworkManager
"""


@pytest.fixture(scope="module")
def reachable(fab) -> Controller:
    """All hosts know the controller's key, and it knows theirs."""
    answer = fab("--accept-host-keys", "ssh.trust", "ssh.bootstrap")
    assert answer.code == 0, answer.text
    return fab


@pytest.fixture(scope="module")
def plan(lab, reachable):
    """The plan for hosts that nothing but `ssh.bootstrap` has touched, and what they were like."""
    before = {name: lab.root_shell(name, FINGERPRINT_OF_A_HOST).stdout for name in ("mq1", "sql1")}
    return reachable("--plan", "base", "hostnames", "hosts"), before


@pytest.fixture(scope="module")
def first_run(plan, reachable):
    """The run that was planned."""
    return reachable("base", "hostnames", "hosts")


@pytest.fixture(scope="module")
def prepared(first_run, reachable) -> Controller:
    """Section 1 has been carried out."""
    assert first_run.code == 0, first_run.text
    answer = reachable("ssh")
    assert answer.code == 0, answer.text
    return reachable


def test_plan_of_fresh_hosts_lists_every_step(plan):
    answer, _ = plan
    assert answer.code == 0
    assert ("sql1", "time zone is Asia/Tehran") in answer.steps("differs")
    assert ("mq2", "hostname is mq2") in answer.steps("differs")
    assert ("mq2", "reboot, as an earlier change asked for") in answer.steps("differs")
    assert answer.hosts("differs") == set(answer.data["hosts"])
    assert len(answer.data["hosts"]) == ALL


def test_plan_changes_nothing(plan, lab):
    for name, before in plan[1].items():
        assert before
        assert lab.root_shell(name, FINGERPRINT_OF_A_HOST).stdout == before


def test_plan_shows_file_differences(plan):
    answer, _ = plan
    assert "+SELINUX=disabled" in answer.text
    assert "+192.168.83.220 nfs-vip" in answer.text


def test_run_changes_just_what_was_planned(plan, first_run):
    assert first_run.code == 0, first_run.text
    assert first_run.steps("changed") == plan[0].steps("differs")


def test_plan_says_what_it_cannot_know(reachable, first_run):
    """VM1 has no key before ssh.keygen, so nobody can say which line the others will get."""
    answer = reachable("--plan", "ssh.keygen", "ssh.distribute")
    assert answer.data["tasks"]["ssh.distribute"]["hosts"]["sql1"]["status"] == "unknown"
    assert "fab ssh.keygen creates it" in answer.text
    assert answer.code == 0


def test_second_run_changes_nothing(prepared):
    answer = prepared("--yes", "base", "hostnames", "hosts", "ssh")
    assert answer.code == 0
    assert answer.steps("changed") == set()
    assert answer.hosts("ok") == set(answer.data["hosts"])
    assert len(answer.data["hosts"]) == ALL


def test_plan_of_prepared_hosts_is_empty(prepared):
    answer = prepared("--plan", "--yes", "base", "hostnames", "hosts", "ssh")
    assert answer.steps("differs", "unknown") == set()


def test_checks_are_green(prepared):
    answer = prepared("base.check", "hostnames.check", "hosts.check", "ssh.check")
    assert answer.code == 0, answer.text
    assert answer.steps("differs", "error", "unknown", "failed") == set()


def test_hosts_are_as_the_runbook_wants_them(prepared, on):
    for name in ("airflow", "scheduler2", "sql3"):
        assert on(name, "hostname") == name
        assert on(name, "timedatectl show -p Timezone --value") == "Asia/Tehran"
        assert on(name, "getenforce") == "Disabled"
        assert on(name, "getent hosts nfs-vip").split()[0] == "192.168.83.220"
        assert on(name, "rpm -q --whatprovides vim wget rsync nfs-utils firewalld chrony")
        assert on(name, "id -nG rocky").split() == ["rocky", "wheel"]
        assert on(name, "stat -c %a /etc/sudoers.d/rocky") == "440"
        assert on(name, "getent shadow rocky").split(":")[1][0] in "!*"
    loop = "runuser -u rocky -- ssh sql3 \"echo 'SSH to sql3: SUCCESS'\""
    assert on("airflow", loop) == "SSH to sql3: SUCCESS"
    assert 'port="5432"' in on("sql1", "firewall-cmd --list-rich-rules")
    assert 'port="5432"' in on("sql1", "firewall-cmd --permanent --list-rich-rules")
    assert 'protocol value="vrrp"' in on("ftp", "firewall-cmd --list-rich-rules")
    assert on("sql1", "firewall-cmd --list-ports") == ""


def test_members_of_a_cluster_reboot_one_after_another(prepared, lab, on):
    sql = ("sql1", "sql2", "sql3")
    for name in sql:
        on(name, "mkdir -p /run/airflow-runbook/notes && touch /run/airflow-runbook/notes/reboot")
    before = {name: on(name, "cat /proc/sys/kernel/random/boot_id") for name in (*sql, "mq1")}
    process = prepared.start("-H", "@postgres,mq1", "hostnames.reboot")
    down = []
    while process.poll() is None:
        down.append(sum(host.state != "running" for host in lab.status()))
    assert process.returncode == 0, process.stdout.read()
    assert max(down) == 1
    after = {name: on(name, "cat /proc/sys/kernel/random/boot_id") for name in (*sql, "mq1")}
    assert [name for name in before if before[name] != after[name]] == list(sql)


def test_hosts_and_groups_say_where_a_task_runs(prepared):
    named = prepared("-H", "sql1,sql2,sql3", "base.packages")
    assert named.hosts("ok") == {"sql1", "sql2", "sql3"}
    assert prepared("-H", "@postgres", "base.packages").hosts("ok") == named.hosts("ok")


def test_hosts_work_at_the_same_time(prepared):
    """Each host's two seconds begin before any other host's have ended."""
    answer = prepared.text("-H", "sql1,sql2,sql3", "--", "date +%s%N; sleep 2; date +%s%N")
    times = [int(line.split()[-1]) for line in answer.text.splitlines() if line.startswith("[sql")]
    assert len(times) == 6
    assert max(times[0::2]) < min(times[1::2])


def test_a_command_of_ones_own_runs_everywhere(prepared):
    answer = prepared.text("-H", "@postgres,mq1", "--", "hostname")
    assert answer.code == 0
    for name in ("sql1", "sql2", "sql3", "mq1"):
        assert f"[{name}] {name}" in answer.text
    failed = prepared.text("-H", "mq1", "--", "exit 3")
    assert "[mq1] exit code 3" in failed.text
    assert failed.code == 1


@pytest.mark.long
def test_update_brings_packages_up_to_date(prepared, on):
    first = prepared("base.update")
    assert first.code == 0, first.text
    assert on("mq1", "rpm -q basesystem") == "basesystem-11-6.el8.x86_64"
    assert prepared("base.update").steps("changed") == set()


LETS_AIRFLOW_IN = "firewall lets servers of Airflow reach 5671/tcp 5672/tcp"
RULE = 'rule family="ipv4" source address="192.168.83.129" port port="5672" protocol="tcp" accept'
CLOSED = "firewall lets nobody else reach these ports, and no others that were opened here"

DAMAGES = {
    "a line of /etc/hosts": (
        "sed -i 's/192.168.83.148 sql1/192.168.83.18 sql1/' /etc/hosts",
        "hosts",
        "/etc/hosts has the block 'Airflow HA Cluster Infrastructure'",
    ),
    "a contradicting line of /etc/hosts": (
        "sed -i '1i 10.1.2.3 nfs-vip' /etc/hosts",
        "hosts",
        "/etc/hosts has the block 'Airflow HA Cluster Infrastructure'",
    ),
    "the sudoers file's mode": (
        "chmod 0640 /etc/sudoers.d/rocky",
        "base",
        "file /etc/sudoers.d/rocky",
    ),
    "a firewall port now": (
        f"firewall-cmd --remove-rich-rule='{RULE}'",
        "base",
        LETS_AIRFLOW_IN,
    ),
    "a firewall port after the next boot": (
        f"firewall-cmd --permanent --remove-rich-rule='{RULE}'",
        "base",
        LETS_AIRFLOW_IN,
    ),
    "a port that is open to everybody": ("firewall-cmd --add-port=5672/tcp", "base", CLOSED),
    "a port that will be open to everybody": (
        "firewall-cmd --permanent --add-service=amqp",
        "base",
        CLOSED,
    ),
    "the firewall": ("systemctl stop firewalld", "base", "firewalld.service runs and is enabled"),
    "chrony after the next boot": (
        "systemctl disable chronyd",
        "base",
        "chronyd.service runs and is enabled",
    ),
    "a package": (
        "rpm -e wget",
        "base",
        "installed: vim curl wget rsync nfs-utils firewalld chrony",
    ),
    "the time zone": ("timedatectl set-timezone UTC", "base", "time zone is Asia/Tehran"),
    "SELinux": (
        "sed -i s/^SELINUX=disabled/SELINUX=enforcing/ /etc/selinux/config",
        "base",
        "/etc/selinux/config says SELINUX=disabled",
    ),
    "a password": ("echo rocky:111 | chpasswd", "base", "rocky has no password to guess"),
    "the group": ("gpasswd -d rocky wheel", "base", "user rocky in wheel"),
    "the hostname": ("hostnamectl set-hostname mq9", "hostnames", "hostname is mq2"),
}


SOME = ("a contradicting line of /etc/hosts", "a firewall port now")


@pytest.mark.parametrize(
    "damage",
    [
        damage if damage in SOME else pytest.param(damage, marks=pytest.mark.long)
        for damage in DAMAGES
    ],
)
def test_damage_is_found_planned_and_mended_and_nothing_else_touched(prepared, on, damage):
    command, section, title = DAMAGES[damage]
    on("mq2", command)
    found = prepared("-H", "mq2", f"{section}.check")
    assert found.code == 1
    assert ("mq2", title) in found.steps("differs")
    planned = prepared("-H", "mq2", "--plan", section)
    assert ("mq2", title) in planned.steps("differs")
    mended = prepared("-H", "mq2", section)
    assert mended.code == 0, mended.text
    assert mended.steps("changed") == planned.steps("differs")
    assert prepared("-H", "mq2", f"{section}.check").code == 0


@pytest.mark.long
def test_a_firewalld_that_d_bus_does_not_explain_is_asked_by_firewall_cmd(prepared, on):
    on("mq2", "mv /usr/bin/busctl /usr/bin/busctl.kept")
    try:
        assert prepared("-H", "mq2", "base.firewall").hosts("ok") == {"mq2"}
        on("mq2", f"firewall-cmd --remove-rich-rule='{RULE}'; firewall-cmd --add-port=5672/tcp")
        mended = prepared("-H", "mq2", "base.firewall")
        assert mended.steps("changed") == {("mq2", LETS_AIRFLOW_IN), ("mq2", CLOSED)}
    finally:
        on("mq2", "mv /usr/bin/busctl.kept /usr/bin/busctl")


def test_the_journal_says_who_did_what(prepared, lab):
    prepared("-H", "mq1", "hosts.names")
    done = lab.exec(["inv", "runbook.log", "--host", "mq1"], capture_output=True, text=True)
    assert "hosts.names" in done.stdout
    assert "root@" in done.stdout
