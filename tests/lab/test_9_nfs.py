"""The share, from bare servers to what it does when servers fail and come back."""

from __future__ import annotations

import time

import pytest
from limits import BY_ITSELF
from share import CLIENT, DAGS, RESCUED, SERVERS, VIP, Share

UNITS = ("nfs-server", "keepalived", "nfs-resync.path", "nfs-sync")
ALIKE = [pytest.param(kind, marks=pytest.mark.long) for kind in ("unplug", "partition")]
"""To the others a server that is cut off is one that lost its power."""


@pytest.fixture(scope="module")
def plan(prepared):
    """The plan for servers that have had Section 1 only."""
    return prepared("--plan", "nfs")


@pytest.fixture(scope="module")
def first_run(plan, prepared):
    return prepared("nfs")


@pytest.fixture(scope="module")
def share(first_run, lab) -> Share:
    """The section has been carried out."""
    assert first_run.code == 0, first_run.text
    return Share(lab)


@pytest.fixture
def well_again(prepared):
    return lambda: prepared.settled("nfs")


def starts(share: Share) -> list[str]:
    return [
        share.shell(server, f"systemctl show -p ActiveEnterTimestampMonotonic {' '.join(UNITS)}")
        for server in SERVERS
    ]


def told(fab, words: str, level: str = "error") -> bool:
    """Whether the check says so."""
    return any(words in title for _, title in fab("nfs.check").steps(level))


def tell(fab, words: str, level: str = "error", seconds: float = 60) -> None:
    """Wait until the check says so."""
    deadline = time.monotonic() + seconds
    while not told(fab, words, level):
        assert time.monotonic() < deadline, fab("nfs.check").text


# From bare servers


def test_the_plan_is_what_the_run_does(plan, first_run, share):
    assert plan.code == 0, plan.text
    assert plan.unknown() == {"nfs.sync"}
    assert plan.changes(but=plan.unknown()) == first_run.changes(but=plan.unknown())


def test_a_second_run_changes_nothing(share, prepared):
    prepared.settled("nfs")
    before = starts(share)
    again = prepared("nfs")
    assert again.code == 0, again.text
    assert again.steps("changed", "failed") == set()
    assert starts(share) == before
    assert prepared("--plan", "nfs").steps("differs") == set()
    rows = prepared("nfs.status").data["tables"]["nfs.status"]
    assert sorted(row["state"] for row in rows) == ["active", "standby"]


def test_users_with_other_numbers_are_told(share, prepared, settings, on):
    on("worker1", "useradd -u 50001 bob")
    try:
        answer = prepared("nfs.mounts", **settings("airflow", uid=50001, gid=50001))
        assert answer.code == 1
        assert "user bob has uid 50001" in answer.text
        assert "user airflow has uid 50000 gid 50000" in answer.text
        assert "hosts.yaml wants airflow to have uid 50001 and gid 50001" in answer.text
        assert on("worker1", "id -u airflow") == "50000"
    finally:
        on("worker1", "userdel -r bob")


def test_an_address_that_is_taken_is_told_before_it_is_claimed(share, prepared, on):
    for server in SERVERS:
        on(server, "systemctl stop keepalived")
    device = on("mq1", "ip -o route get 192.168.83.132 | grep -o 'dev [^ ]*'")
    on("mq1", f"ip addr add {VIP}/32 {device}")
    try:
        assert told(prepared, "answers for it, which is none of ftp, nfs2")
        answer = prepared("nfs.vip")
        assert answer.code == 1
        assert f"{VIP} (nfs-vip) is in use" in answer.text
        assert on("ftp", "systemctl is-active keepalived || :") == "inactive"
    finally:
        on("mq1", f"ip addr del {VIP}/32 {device}")
    assert told(prepared, "nobody holds it")
    assert prepared("nfs").code == 0
    prepared.settled("nfs")


def test_files_that_a_mount_would_hide_are_told(share, prepared, on):
    unit = "app1-airflow-dags"
    on("worker1", f"systemctl stop {unit}.automount {unit}.mount; touch {DAGS}/local.py")
    try:
        answer = prepared("nfs.mounts")
        assert answer.code == 1
        assert f"{DAGS} holds files of this server's own: local.py" in answer.text
    finally:
        on("worker1", f"rm {DAGS}/local.py")
    assert prepared("nfs.mounts").code == 0


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


# When servers fail


@pytest.mark.parametrize("fault", ["power-loss", "freeze", *ALIKE])
def test_the_loss_of_the_active_server(share, prepared, healed, lab, report, fault):
    first, second = share.active(), share.standby()
    with share.writing(fault) as outcome:
        healed(first, fault)
        seconds = share.wait_for_active(second)
        time.sleep(10)
        assert told(prepared, f"none until {first} is up to date", "warn")
        lab.heal(first)
        prepared.settled("nfs")
    report(f"{fault} of the active server: VIP after {seconds:.1f} s, {outcome}")
    assert outcome.closed
    assert outcome.lost <= 100
    assert outcome.pause <= BY_ITSELF
    assert share.active() == second
    assert share.generation(first) == share.generation(second)


def test_what_a_server_was_copying_when_it_froze_ends(share, prepared, on, healed, lab):
    """It must not go on when it thaws: it would put an old file over a newer one."""
    first, second = share.active(), share.standby()
    on(first, f"systemctl stop nfs-sync; head -c 5000000 /dev/urandom >{DAGS}/slow")
    copy = (
        f"rsync -lpt --bwlimit=100 --rsync-path='rsync {share.generation(first)}' "
        f"-e 'ssh -F /etc/nfs-ha/ssh_config' {DAGS}/slow peer:{DAGS}/"
    )
    on(first, f'systemd-run -q --uid=airflow bash -c "{copy}"; sleep 3')
    writers = "ps -u airflow -o args= | grep -c '^rsync --server' || :"
    assert on(second, writers) != "0"
    healed(first, "freeze")
    share.wait_for_active(second)
    deadline = time.monotonic() + 20
    while on(second, writers) != "0":
        assert time.monotonic() < deadline
    lab.heal(first)
    share.wait_until_fit(first)
    on(first, f"rm -r {RESCUED}/*")
    prepared.settled("nfs")


def test_a_planned_failover_loses_nothing(share, prepared, report):
    second = share.standby()
    with share.writing("planned") as outcome:
        answer = prepared("--yes", "nfs.failover", "--to", second)
        assert answer.code == 0, answer.text
    report(f"planned failover: {outcome}")
    assert share.active() == second
    assert outcome.lost == 0
    assert outcome.errors == []
    prepared.settled("nfs")


def test_a_server_process_that_is_killed(share, prepared, on):
    first, second = share.active(), share.standby()
    on(first, "systemctl kill -s KILL nfs-server")
    share.wait_for_active(second)
    assert (first, "nfs-server.service runs and is enabled") in prepared("nfs.check").steps(
        "differs"
    )
    assert prepared("nfs").code == 0
    prepared.settled("nfs")


def test_a_server_process_that_hangs(share, prepared, on):
    """It runs and its port is open: only a question to NFS itself shows it."""
    first, second = share.active(), share.standby()
    on(first, "systemctl kill -s STOP nfs-server")
    share.wait_for_active(second)
    on(first, "systemctl kill -s CONT nfs-server")
    prepared.settled("nfs")


def test_lsyncd_that_is_killed_comes_back_and_catches_up(share, prepared, on):
    on(share.active(), "systemctl kill -s KILL nfs-sync")
    on(CLIENT, f"echo later >{DAGS}/later.py")
    deadline = time.monotonic() + 30
    while on(share.standby(), f"cat {DAGS}/later.py 2>/dev/null || :") != "later":
        assert time.monotonic() < deadline
    prepared.settled("nfs")


def test_both_servers_off_and_on(share, prepared, lab, on):
    """The one that led last leads again, although the other one starts first."""
    first, second = share.active(), share.standby()
    lab.fault(second, "power-loss")
    on(CLIENT, f"echo newest >{DAGS}/newest.py")
    lab.fault(first, "power-loss")
    lab.heal(second)
    time.sleep(15)
    assert not share.holds(second)
    assert "not up to date" in prepared("nfs.status").text
    lab.heal(first)
    share.wait_for_active(first, 60)
    prepared.settled("nfs")
    assert on(second, f"cat {DAGS}/newest.py") == "newest"


def test_a_server_with_older_files_never_leads(share, prepared, lab, on):
    """Its peer led after it and is gone: it waits for the operator."""
    first, second = share.active(), share.standby()
    lab.fault(first, "power-loss")
    share.wait_for_active(second)
    on(second, f"echo after >{DAGS}/after.py")
    lab.fault(second, "power-loss")
    lab.heal(first)
    time.sleep(15)
    assert not share.holds(first)
    assert told(prepared, "nobody holds it")
    assert prepared("nfs.lead", first).code == 2
    lab.heal(second)
    share.wait_for_active(second, 60)
    prepared.settled("nfs")
    assert on(first, f"cat {DAGS}/after.py") == "after"


def test_the_operator_may_let_the_one_that_is_left_lead(share, prepared, lab):
    first, second = share.active(), share.standby()
    lab.fault(first, "power-loss")
    share.wait_for_active(second)
    lab.fault(second, "power-loss")
    lab.heal(first)
    try:
        answer = prepared("--yes", "nfs.lead", first, "--i-know")
        assert answer.code == 0, answer.text
        share.wait_for_active(first)
    finally:
        lab.heal(second)
    prepared.settled("nfs")
    assert share.active() == first


def test_the_primary_returns_and_nothing_older_wins(share, prepared, lab, on):
    first, second = share.active(), share.standby()
    on(first, f"echo of-before >{DAGS}/both.py; touch -d '1 hour ago' {DAGS}/both.py")
    share.wait_until_copied("both.py")
    on(first, f"systemctl stop nfs-sync; echo unique >{DAGS}/only-{first}.py")
    lab.fault(first, "power-loss")
    share.wait_for_active(second)
    on(CLIENT, f"echo of-after >{DAGS}/both.py")
    lab.heal(first)
    share.wait_until_fit(first)
    assert share.active() == second
    assert [on(server, f"cat {DAGS}/both.py") for server in SERVERS] == ["of-after"] * 2
    assert told(prepared, "newer or nowhere else: ", "warn")
    assert f"only-{first}.py" in prepared("nfs.check").text
    assert on(first, f"cat {RESCUED}/*/dags/only-{first}.py") == "unique"
    on(first, f"rm -r {RESCUED}/*")
    prepared.settled("nfs")


def test_a_split_brain_heals_without_silent_loss(share, prepared, lab, on):
    """The servers do not hear each other, and both are with the clients."""
    first, second = share.active(), share.standby()
    lab.fault(first, "cut", peers=[second])
    try:
        share.wait_for_active(second)
        assert share.holds(first)
        for server in SERVERS:
            on(server, f"echo {server} >{DAGS}/split-{server}.py")
        assert told(prepared, "hold it: they do not hear each other")
    finally:
        lab.heal(first)
    share.wait_until_fit(first)
    assert share.active() == second
    assert on(CLIENT, f"ls {DAGS}/split-*") == f"{DAGS}/split-{second}.py"
    assert f"split-{first}.py" in prepared("nfs.check").text
    on(first, f"rm -r {RESCUED}/*")
    prepared.settled("nfs")


def test_an_active_server_whose_disk_is_gone_copies_nothing(share, prepared, on):
    """An empty directory is not the tree: the standby keeps its files, and takes over."""
    first, second = share.active(), share.standby()
    on(CLIENT, f"echo precious >{DAGS}/precious.py")
    share.wait_until_copied("precious.py")
    on(first, f"mount -t tmpfs tmpfs {DAGS}")
    try:
        share.wait_for_active(second)
        assert on(second, f"cat {DAGS}/precious.py") == "precious"
        answer = prepared("nfs.server")
        assert answer.code == 1
        assert f"{DAGS} has lost .nfs-ha: is its disk mounted?" in answer.text
    finally:
        on(first, f"umount -l {DAGS}")
    on(first, "systemctl restart nfs-server")
    prepared.settled("nfs")


def test_a_standby_whose_disk_is_full(share, prepared, on):
    standby = share.standby()
    on(
        standby,
        f"mkdir /root/small; mount -t tmpfs -o size=1m,uid=50000,gid=50000 tmpfs /root/small; "
        f"cp -a {DAGS}/. /root/small; mount --bind /root/small {DAGS}",
    )
    try:
        on(CLIENT, f"head -c 3000000 /dev/zero >{DAGS}/large")
        tell(prepared, f"lacks {DAGS}/large", seconds=90)
    finally:
        on(standby, f"umount -l {DAGS} /root/small; rmdir /root/small")
    assert prepared("--yes", "nfs.resync").code == 0
    prepared.settled("nfs")
    assert on(standby, f"stat -c %s {DAGS}/large") == "3000000"
    on(CLIENT, f"rm {DAGS}/large")


# What people do, and what the check says


def test_what_airflow_puts_into_the_state_is_neither_carried_out_nor_followed(share, prepared, on):
    """A process of airflow's must not become root by what root's scripts read and write."""
    first, second = share.active(), share.standby()
    state, evil = "/var/lib/nfs-ha", "x[$(id -u >/etc/nfs-ha-executed)0]"
    for server in SERVERS:
        on(server, "install -m 0600 /dev/null /etc/nfs-ha-target")
    on(
        second,
        f"cd {state}; runuser -u airflow -- ln -sf /etc/nfs-ha-target .active.new; "
        "runuser -u airflow -- ln -sf /etc/nfs-ha-target .priority.new",
    )
    on(first, f"runuser -u airflow -- tee {state}/generation <<<'{evil}'")
    on(first, "systemctl restart keepalived")
    share.wait_for_active(second)
    tell(prepared, f"{first} knows how old its files are")
    plan = prepared("--plan", "nfs")
    assert evil not in plan.text
    assert prepared("--yes", "nfs.resync").code == 0
    share.wait_until_fit(first)
    prepared.settled("nfs")
    for server in SERVERS:
        assert on(server, "ls /etc/nfs-ha-executed 2>/dev/null || :") == ""
        assert on(server, "stat -c '%U %s' /etc/nfs-ha-target") == "root 0"
        on(server, f"rm -f /etc/nfs-ha-target {state}/.*.new")


def test_resync_shows_what_would_change_and_does_it(share, prepared, on):
    first, second = share.active(), share.standby()
    on(first, f"systemctl stop nfs-sync; echo new >{DAGS}/new.py")
    assert told(prepared, f"{first} does not: journalctl -u nfs-sync")
    on(second, f"runuser -u airflow -- touch {DAGS}/stray.py")
    plan = prepared("--plan", "nfs.resync")
    assert f"{DAGS}/new.py" in plan.text
    assert f"{DAGS}/stray.py" in plan.text
    assert on(second, f"ls {DAGS}/stray.py")
    assert prepared("--yes", "nfs.resync").code == 0
    assert on(second, f"cat {DAGS}/new.py") == "new"
    assert on(second, f"ls {RESCUED}/*/dags/stray.py")
    on(second, f"rm -r {RESCUED}/*")
    prepared.settled("nfs")


def test_too_many_deletions_are_not_carried_out(share, prepared, on):
    first, second = share.active(), share.standby()
    on(second, f"runuser -u airflow -- touch {DAGS}/{{1..600}}.py")
    on(first, "systemctl restart --no-block nfs-sync")
    tell(prepared, "may not lead until it was brought up to date")
    assert "more than 500 files would go" in on(first, "journalctl -u nfs-sync -n 30 -o cat")
    answer = prepared("--yes", "nfs.resync", "--max-delete", "600")
    assert answer.code == 0, answer.text
    on(second, f"rm -r {RESCUED}/*")
    prepared.settled("nfs")


def test_exports_that_differ(share, prepared, on):
    standby = share.standby()
    on(standby, "sed -i s/fsid=1/fsid=9/g /etc/exports.d/airflow.exports; exportfs -ra")
    assert told(prepared, "clients would hold stale handles")
    assert prepared("nfs").code == 0
    prepared.settled("nfs")


def test_lsyncd_on_both_servers(share, prepared, on):
    standby = share.standby()
    override = "/run/systemd/system/nfs-sync.service.d"
    on(
        standby,
        f"mkdir -p {override}; printf '[Service]\\nExecStartPre=\\nExecStart=\\n"
        f"ExecStart=/usr/bin/sleep 600\\n' >{override}/x.conf; systemctl daemon-reload; "
        "systemctl start nfs-sync",
    )
    assert told(prepared, f"{standby} copies and is not active")
    on(standby, f"systemctl stop nfs-sync; rm -r {override}; systemctl daemon-reload")
    prepared.settled("nfs")


def test_clients_without_the_share(share, prepared, on, lab):
    unit = "app1-airflow-dags"
    on("worker1", f"systemctl stop {unit}.automount {unit}.mount")
    assert told(prepared, "it is not mounted, or it is not the share")
    assert prepared("-H", "worker1", "nfs.mounts").code == 0
    on(CLIENT, f"systemctl stop {unit}.automount; mount -t nfs4 -o ro nfs-vip:{DAGS} {DAGS}")
    assert told(prepared, f"{DAGS} can be written")
    on(CLIENT, f"umount {DAGS}; systemctl start {unit}.automount")
    for server in SERVERS:
        lab.fault(server, "freeze")
    try:
        assert told(prepared, "it does not answer within 5 seconds")
    finally:
        for server in SERVERS:
            lab.heal(server)
    prepared.settled("nfs")
