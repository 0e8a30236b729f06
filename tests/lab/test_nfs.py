"""The share, from bare servers on: what people do with it, and what the check says."""

from __future__ import annotations

import pytest
from support.share import CLIENT, DAGS, RESCUED, SERVERS, SHARE, VIP, Share, tell, told

STATE = "section one"
HOSTS = (*SHARE, "mq1")
WAITS = True

UNITS = ("nfs-server", "keepalived", "nfs-resync.path", "nfs-sync")


@pytest.fixture(scope="module")
def plan(fab):
    """The plan for servers that have had Section 1 only."""
    return fab("--plan", "nfs")


@pytest.fixture(scope="module")
def first_run(plan, fab):
    return fab("nfs")


@pytest.fixture(scope="module")
def share(first_run, lab) -> Share:
    """The section has been carried out."""
    assert first_run.code == 0, first_run.text
    return Share(lab)


@pytest.fixture
def well_again(fab):
    return lambda: fab.settled("nfs")


def starts(share: Share) -> list[str]:
    return [
        share.shell(server, f"systemctl show -p ActiveEnterTimestampMonotonic {' '.join(UNITS)}")
        for server in SERVERS
    ]


# From bare servers


def test_the_plan_is_what_the_run_does(plan, first_run, share):
    assert plan.code == 0, plan.text
    assert plan.unknown() == {"nfs.sync"}
    assert plan.changes(but=plan.unknown()) == first_run.changes(but=plan.unknown())


def test_a_second_run_changes_nothing(share, fab):
    fab.settled("nfs")
    before = starts(share)
    again = fab("nfs")
    assert again.code == 0, again.text
    assert again.steps("changed", "failed") == set()
    assert starts(share) == before
    assert fab("--plan", "nfs").steps("differs") == set()
    rows = fab("nfs.status").data["tables"]["nfs.status"]
    assert sorted(row["state"] for row in rows) == ["active", "standby"]


def test_users_with_other_numbers_are_told(share, fab, settings, on):
    on("worker1", "useradd -u 50001 bob")
    try:
        answer = fab("nfs.mounts", **settings("airflow", uid=50001, gid=50001))
        assert answer.code == 1
        assert "user bob has uid 50001" in answer.text
        assert "user airflow has uid 50000 gid 50000" in answer.text
        assert "hosts.yaml wants airflow to have uid 50001 and gid 50001" in answer.text
        assert on("worker1", "id -u airflow") == "50000"
    finally:
        on("worker1", "userdel -r bob")


@pytest.mark.long
def test_an_address_that_is_taken_is_told_before_it_is_claimed(share, fab, on):
    for server in SERVERS:
        on(server, "systemctl stop keepalived")
    device = on("mq1", "ip -o route get 192.168.83.132 | grep -o 'dev [^ ]*'")
    on("mq1", f"ip addr add {VIP}/32 {device}")
    try:
        assert told(fab, "answers for it, which is none of ftp, nfs2")
        answer = fab("nfs.vip")
        assert answer.code == 1
        assert f"{VIP} (nfs-vip) is in use" in answer.text
        assert on("ftp", "systemctl is-active keepalived || :") == "inactive"
    finally:
        on("mq1", f"ip addr del {VIP}/32 {device}")
    assert told(fab, "no server holds it")
    assert fab("nfs").code == 0
    fab.settled("nfs")


def test_files_that_a_mount_would_hide_are_told(share, fab, on):
    unit = "app1-airflow-dags"
    on("worker1", f"systemctl stop {unit}.automount {unit}.mount; touch {DAGS}/local.py")
    try:
        answer = fab("nfs.mounts")
        assert answer.code == 1
        assert f"{DAGS} holds files of this server's own: local.py" in answer.text
    finally:
        on("worker1", f"rm {DAGS}/local.py")
    assert fab("nfs.mounts").code == 0


def test_clients_write_only_where_they_may(share, on):
    on(CLIENT, f"touch {DAGS}/from-{CLIENT}")
    assert "denied" in on("worker1", f"touch {DAGS}/x 2>&1 || :") or "Read-only" in on(
        "worker1", f"touch {DAGS}/x 2>&1 || :"
    )
    assert on(share.active(), f"stat -c %U {DAGS}/from-{CLIENT}") == "airflow"


def test_the_key_opens_nothing_else(share, on):
    ask = "runuser -u airflow -- ssh -F /etc/nfs-ha/ssh_config peer"
    here = share.active()
    for asked in (
        "id",
        "cat /etc/passwd",
        "rsync 99 --server -e.LsfxCIvu . /etc/",
        "rsync 99 --server -se.LsfxCIvu",
        f"rsync 99 --server --sender -e.LsfxCIvu . {DAGS}/",
        "begin 1;id",
    ):
        answer = on(here, f"{ask} '{asked}' 2>&1 || echo code $?")
        assert answer.endswith("code 79"), answer


# What people do, and what the check says


def test_resync_shows_what_would_change_and_does_it(share, fab, on):
    first, second = share.active(), share.standby()
    on(first, f"systemctl stop nfs-sync; echo new >{DAGS}/new.py")
    assert told(fab, f"{first} does not: journalctl -u nfs-sync")
    on(second, f"runuser -u airflow -- touch {DAGS}/stray.py")
    plan = fab("--plan", "nfs.resync")
    assert f"{DAGS}/new.py" in plan.text
    assert f"{DAGS}/stray.py" in plan.text
    assert on(second, f"ls {DAGS}/stray.py")
    assert fab("--yes", "nfs.resync").code == 0
    assert on(second, f"cat {DAGS}/new.py") == "new"
    assert on(second, f"ls {RESCUED}/*/dags/stray.py")
    on(second, f"rm -r {RESCUED}/*")
    fab.settled("nfs")


def test_too_many_deletions_are_not_carried_out(share, fab, on):
    first, second = share.active(), share.standby()
    on(second, f"runuser -u airflow -- touch {DAGS}/{{1..600}}.py")
    on(first, "systemctl restart --no-block nfs-sync")
    tell(fab, "may not lead until it has been brought up to date")
    assert "more than 500 files would go" in on(first, "journalctl -u nfs-sync -n 30 -o cat")
    answer = fab("--yes", "nfs.resync", "--max-delete", "600")
    assert answer.code == 0, answer.text
    on(second, f"rm -r {RESCUED}/*")
    fab.settled("nfs")


def test_exports_that_differ(share, fab, on):
    standby = share.standby()
    on(standby, "sed -i s/fsid=1/fsid=9/g /etc/exports.d/airflow.exports; exportfs -ra")
    assert told(fab, "clients would get stale handles")
    assert fab("nfs").code == 0
    fab.settled("nfs")


def test_lsyncd_on_both_servers(share, fab, on):
    standby = share.standby()
    override = "/run/systemd/system/nfs-sync.service.d"
    on(
        standby,
        f"mkdir -p {override}; printf '[Service]\\nExecStartPre=\\nExecStart=\\n"
        f"ExecStart=/usr/bin/sleep 600\\n' >{override}/x.conf; systemctl daemon-reload; "
        "systemctl start nfs-sync",
    )
    assert told(fab, f"{standby} copies but is not active")
    on(standby, f"systemctl stop nfs-sync; rm -r {override}; systemctl daemon-reload")
    fab.settled("nfs")


def test_clients_without_the_share(share, fab, on, lab):
    unit = "app1-airflow-dags"
    on("worker1", f"systemctl stop {unit}.automount {unit}.mount")
    assert told(fab, "it is not mounted, or it is not the share")
    assert fab("-H", "worker1", "nfs.mounts").code == 0
    on(CLIENT, f"systemctl stop {unit}.automount; mount -t nfs4 -o ro nfs-vip:{DAGS} {DAGS}")
    assert told(fab, f"{DAGS} can be written")
    on(CLIENT, f"umount {DAGS}; systemctl start {unit}.automount")
    for server in SERVERS:
        lab.fault(server, "freeze")
    try:
        assert told(fab, "it does not answer within 5 seconds")
    finally:
        for server in SERVERS:
            lab.heal(server)
    fab.settled("nfs")
