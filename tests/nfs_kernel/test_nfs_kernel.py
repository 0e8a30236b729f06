"""The section nfs with the kernel's NFS server and client."""

from __future__ import annotations

import time

import pytest
from support.kernel_clients import Watcher, held_open, install, moved
from support.limits import BY_ITSELF
from support.share import CLIENT, DAGS, RESCUED, SERVERS, VIP, Share, told

GRACE = 10
"""Seconds that /etc/nfs.conf asks for."""

ATTRIBUTES = 60
"""Seconds that a client may believe attributes if the mount does not say otherwise (acregmax)."""


@pytest.fixture(scope="module")
def share(fab, lab, on) -> Share:
    """The product has set up the share."""
    answer = fab(
        "--accept-host-keys", "ssh.trust", "ssh.bootstrap", "hostnames.set", "hosts", "nfs"
    )
    assert answer.code == 0, answer.text
    install(on, "open_file.py", "watcher.py")
    return Share(lab)


@pytest.fixture(scope="module")
def watchers(share, on) -> list[Watcher]:
    """The client looks at a file, at another one's text, and at a folder's names."""
    paths = {"stat": "stat/file", "read": "read/file", "list": "list"}
    active = share.active()
    for folder in paths:
        make = f"mkdir {DAGS}/{folder}; echo old >{DAGS}/{folder}/file"
        on(active, f"runuser -u airflow -- bash -c '{make}'")
    found = [Watcher(on, kind, f"{DAGS}/{path}") for kind, path in paths.items()]
    for watcher in found:
        watcher.start()
    return found


@pytest.fixture
def second_client(share, on):
    """Export the share to the standby, too, and mount it there."""
    active, standby = share.active(), share.standby()
    address = share.lab.host(standby).address
    options = "rw,sync,no_subtree_check,all_squash,anonuid=50000,anongid=50000,fsid=1"
    on(active, f"exportfs -o {options} {address}:{DAGS}")
    on(standby, f"mount -t nfs4 {VIP}:{DAGS} /mnt")
    yield standby, "/mnt"
    on(standby, "umount /mnt")
    on(active, f"exportfs -u {address}:{DAGS}")


def test_kernels_serve_and_mount_the_share(watchers, fab, on):
    fab.settled("nfs")
    kind, options = on(CLIENT, f"findmnt -rno FSTYPE,OPTIONS -t nfs4 {DAGS}").split()
    assert kind == "nfs4"
    assert {"hard", "proto=tcp", "vers=4.2"} <= set(options.split(","))
    for server in SERVERS:
        assert "-3 +4" in on(server, "cat /proc/fs/nfsd/versions")
        assert on(server, "cat /proc/fs/nfsd/nfsv4gracetime") == str(GRACE)
    assert fab("--plan", "nfs").steps("differs") == set()


def test_how_long_attributes_hide_what_another_client_changed(watchers, second_client, on, report):
    """Opening a file fetches its attributes; `stat` and `ls` may use cached ones."""
    writer, mount = second_client
    changed = {}
    for kind, change in (("stat", ">>"), ("read", ">>"), ("list", ">")):
        name = "new" if kind == "list" else "file"
        changed[kind] = float(on(CLIENT, "date +%s.%N"))
        on(writer, f"echo new {change}{mount}/{kind}/{name}")
    hidden = {each.kind: each.seen(2 * ATTRIBUTES) - changed[each.kind] for each in watchers}
    seconds = ", ".join(f"{kind} after {after:.1f} s" for kind, after in hidden.items())
    report(f"what another client changed is seen: {seconds}")
    assert hidden["read"] < 5
    assert max(hidden.values()) <= ATTRIBUTES + 5


def test_a_server_that_restarts_gives_locks_back(share, on, report):
    """Opening waits until those who had locks have reclaimed them, or the grace period is over."""
    active = share.active()
    on(active, "touch /run/nfs-ha/handing-over")  # the health check looks away
    try:
        with held_open(on, "locked", "lock") as locked, share.writing("restart") as outcome:
            on(active, "systemctl restart nfs-server")
            time.sleep(GRACE + 5)
            states = on(active, "cat /proc/fs/nfsd/clients/*/states")
    finally:
        on(active, "rm -f /run/nfs-ha/handing-over")
    report(f"restart of the server: {outcome}; a file with a lock: {locked}")
    assert "type: lock" in states
    assert locked.errors == outcome.errors == []
    assert outcome.lost == 0
    assert outcome.pause <= 2 * GRACE


def test_a_planned_failover(share, fab, on, report):
    second = share.standby()
    with held_open(on, "kept-open") as kept, share.writing("planned") as outcome:
        answer = fab("--yes", "nfs.failover", "--to", second)
        assert answer.code == 0, answer.text
    report(f"planned failover: {outcome}; a file that stays open: {kept}")
    assert share.active() == second
    assert outcome.lost == 0
    fab.settled("nfs")


def test_servers_with_different_fsids_leave_stale_handles(share, fab, on, report):
    """The check warns before it happens, and the section fixes it."""
    standby = share.standby()
    on(standby, "sed -i 's/fsid=1/fsid=9/' /etc/exports.d/airflow.exports; exportfs -ra")
    assert told(fab, "so clients would get stale handles")
    on(CLIENT, f"ls {DAGS}")
    answer = fab("--yes", "nfs.failover", "--to", standby)
    assert answer.code == 0, answer.text
    listed = share.lab.root_shell(CLIENT, f"ls {DAGS}")
    report(f"ls after a failover to another fsid: {listed.stderr.strip()}")
    assert "Stale file handle" in listed.stderr
    assert told(fab, "its handle is stale")
    assert fab("nfs.server").code == 0
    fab.settled("nfs")
    on(CLIENT, f"ls {DAGS}")


def test_the_active_server_loses_its_power(share, fab, lab, on, report):
    first, second = share.active(), share.standby()
    with (
        held_open(on, "open-at-loss") as kept,
        held_open(on, "locked-at-loss", "lock") as locked,
        share.writing("power-loss") as outcome,
    ):
        share.wait_until_copied("closed-power-loss")
        lab.fault(first, "power-loss")
        seconds = moved(on, BY_ITSELF)
        time.sleep(10)
    assert share.active() == second
    lab.heal(first)
    share.wait_until_fit(first)
    on(first, f"rm -r {RESCUED}/*")  # the files that were open: newer than their copies
    fab.settled("nfs")
    report(f"power loss: VIP after {seconds:.1f} s, {outcome}")
    report(f"a file that stays open: {kept}; with a lock: {locked}")
    assert outcome.closed
    assert outcome.lost <= 100
    assert outcome.pause <= BY_ITSELF
    assert share.generation(first) == share.generation(second)
