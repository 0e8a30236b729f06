"""What the share does when servers fail and come back."""

from __future__ import annotations

import time

import pytest
from support.limits import BY_ITSELF
from support.share import CLIENT, DAGS, RESCUED, SERVERS, SHARE, Share, tell, told

STATE = "storage"
HOSTS = SHARE
WAITS = True
ALIKE = [pytest.param(kind, marks=pytest.mark.long) for kind in ("freeze", "unplug", "partition")]
"""To the others a server that stands still, or is cut off, is one that lost its power."""


@pytest.fixture(scope="module")
def share(lab) -> Share:
    """The two servers, and a client that writes."""
    return Share(lab)


@pytest.fixture
def well_again(fab):
    return lambda: fab.settled("nfs")


@pytest.mark.parametrize("fault", ["power-loss", *ALIKE])
def test_the_loss_of_the_active_server(share, fab, healed, lab, report, fault):
    first, second = share.active(), share.standby()
    with share.writing(fault) as outcome:
        healed(first, fault)
        seconds = share.wait_for_active(second)
        time.sleep(10)
        assert told(fab, f"none until {first} is up to date", "warn")
        lab.heal(first)
        fab.settled("nfs")
    report(f"{fault} of the active server: VIP after {seconds:.1f} s, {outcome}")
    assert outcome.closed
    assert outcome.lost <= 100
    assert outcome.pause <= BY_ITSELF
    assert share.active() == second
    assert share.generation(first) == share.generation(second)


@pytest.mark.long
def test_what_a_server_was_copying_when_it_froze_ends(share, fab, on, healed, lab):
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
    fab.settled("nfs")


def test_a_planned_failover_loses_nothing(share, fab, report):
    second = share.standby()
    with share.writing("planned") as outcome:
        answer = fab("--yes", "nfs.failover", "--to", second)
        assert answer.code == 0, answer.text
    report(f"planned failover: {outcome}")
    assert share.active() == second
    assert outcome.lost == 0
    # A file that is open while the server stops may give EIO once (docs/nfs.md).
    assert len(outcome.errors) <= 1
    fab.settled("nfs")


@pytest.mark.long
def test_a_server_process_that_is_killed(share, fab, on):
    first, second = share.active(), share.standby()
    on(first, "systemctl kill -s KILL nfs-server")
    share.wait_for_active(second)
    assert (first, "nfs-server.service runs and is enabled") in fab("nfs.check").steps("differs")
    assert fab("nfs").code == 0
    fab.settled("nfs")


@pytest.mark.long
def test_a_server_process_that_hangs(share, fab, on):
    """It runs and its port is open: only a question to NFS itself shows it."""
    first, second = share.active(), share.standby()
    on(first, "systemctl kill -s STOP nfs-server")
    share.wait_for_active(second)
    on(first, "systemctl kill -s CONT nfs-server")
    fab.settled("nfs")


@pytest.mark.long
def test_lsyncd_that_is_killed_comes_back_and_catches_up(share, fab, on):
    on(share.active(), "systemctl kill -s KILL nfs-sync")
    on(CLIENT, f"echo later >{DAGS}/later.py")
    deadline = time.monotonic() + 30
    while on(share.standby(), f"cat {DAGS}/later.py 2>/dev/null || :") != "later":
        assert time.monotonic() < deadline
    fab.settled("nfs")


@pytest.mark.long
def test_both_servers_off_and_on(share, fab, lab, on):
    """The one that led last leads again, although the other one starts first."""
    first, second = share.active(), share.standby()
    lab.fault(second, "power-loss")
    on(CLIENT, f"echo newest >{DAGS}/newest.py")
    lab.fault(first, "power-loss")
    lab.heal(second)
    time.sleep(15)
    assert not share.holds(second)
    assert "not up to date" in fab("nfs.status").text
    lab.heal(first)
    share.wait_for_active(first, 60)
    fab.settled("nfs")
    assert on(second, f"cat {DAGS}/newest.py") == "newest"


@pytest.mark.parametrize(
    "let_lead",
    [
        pytest.param(True, id="the operator lets it lead"),
        pytest.param(False, id="its peer comes back", marks=pytest.mark.long),
    ],
)
def test_a_server_with_older_files_never_leads_by_itself(share, fab, lab, on, let_lead):
    """Its peer led after it and is gone: it waits for the operator."""
    first, second = share.active(), share.standby()
    lab.fault(first, "power-loss")
    share.wait_for_active(second)
    on(second, f"echo after >{DAGS}/after.py")
    lab.fault(second, "power-loss")
    lab.heal(first)
    try:
        time.sleep(15)
        assert not share.holds(first)
        assert told(fab, "no server holds it")
        assert fab("nfs.lead", first).code == 2
        if let_lead:
            answer = fab("--yes", "nfs.lead", first, "--i-know")
            assert answer.code == 0, answer.text
            share.wait_for_active(first)
    finally:
        lab.heal(second)
    if let_lead:
        share.wait_until_fit(second)
        assert on(second, f"cat {RESCUED}/*/dags/after.py") == "after"
        on(second, f"rm -r {RESCUED}/*")
    else:
        share.wait_for_active(second, 60)
    fab.settled("nfs")
    assert share.active() == (first if let_lead else second)
    found = on(first, f"cat {DAGS}/after.py 2>/dev/null || echo older")
    assert found == ("older" if let_lead else "after")


def test_the_primary_returns_and_nothing_older_wins(share, fab, lab, on):
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
    assert told(fab, "newer than elsewhere, or only here: ", "warn")
    assert f"only-{first}.py" in fab("nfs.check").text
    assert on(first, f"cat {RESCUED}/*/dags/only-{first}.py") == "unique"
    on(first, f"rm -r {RESCUED}/*")
    fab.settled("nfs")


@pytest.mark.long
def test_a_split_brain_heals_without_silent_loss(share, fab, lab, on):
    """The servers do not hear each other, and both are with the clients."""
    first, second = share.active(), share.standby()
    lab.fault(first, "cut", peers=[second])
    try:
        share.wait_for_active(second)
        assert share.holds(first)
        for server in SERVERS:
            on(server, f"echo {server} >{DAGS}/split-{server}.py")
        assert told(fab, "hold it: they do not hear each other")
    finally:
        lab.heal(first)
    share.wait_until_fit(first)
    assert share.active() == second
    assert on(CLIENT, f"ls {DAGS}/split-*") == f"{DAGS}/split-{second}.py"
    assert f"split-{first}.py" in fab("nfs.check").text
    on(first, f"rm -r {RESCUED}/*")
    fab.settled("nfs")


@pytest.mark.long
def test_an_active_server_whose_disk_is_gone_copies_nothing(share, fab, on):
    """An empty directory is not the tree: the standby keeps its files, and takes over."""
    first, second = share.active(), share.standby()
    on(CLIENT, f"echo precious >{DAGS}/precious.py")
    share.wait_until_copied("precious.py")
    on(first, f"mount -t tmpfs tmpfs {DAGS}")
    try:
        share.wait_for_active(second)
        assert on(second, f"cat {DAGS}/precious.py") == "precious"
        answer = fab("nfs.server")
        assert answer.code == 1
        assert f"{DAGS} has no .nfs-ha: is its disk mounted?" in answer.text
    finally:
        on(first, f"umount -l {DAGS}")
    on(first, "systemctl restart nfs-server")
    fab.settled("nfs")


@pytest.mark.long
def test_a_standby_whose_disk_is_full(share, fab, on):
    standby = share.standby()
    on(
        standby,
        f"mkdir /root/small; mount -t tmpfs -o size=1m,uid=50000,gid=50000 tmpfs /root/small; "
        f"cp -a {DAGS}/. /root/small; mount --bind /root/small {DAGS}",
    )
    try:
        on(CLIENT, f"head -c 3000000 /dev/zero >{DAGS}/large")
        tell(fab, f"lacks {DAGS}/large", seconds=90)
    finally:
        on(standby, f"umount -l {DAGS} /root/small; rmdir /root/small")
    assert fab("--yes", "nfs.resync").code == 0
    fab.settled("nfs")
    assert on(standby, f"stat -c %s {DAGS}/large") == "3000000"
    on(CLIENT, f"rm {DAGS}/large")
