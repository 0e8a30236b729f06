"""What the database cluster does when servers, or the network between them, fail."""

from __future__ import annotations

import json
import shlex
import time

import pytest
from support.database import DATABASE, ETCDCTL, SQL
from support.limits import BY_ITSELF, HANDED_OVER

STATE = "database"
HOSTS = DATABASE
WAITS = True


@pytest.fixture
def well_again(database):
    return lambda: database.wait_until_healthy(180)


@pytest.mark.long
def test_switchover(database, postgres, report):
    before = database.leader()
    with database.writing() as outcome:
        answer = postgres("postgres.switchover")
    assert answer.code == 0, answer.text
    assert database.leader() != before
    report(f"switchover: {outcome}")
    assert outcome.pause <= HANDED_OVER
    assert outcome.lost == 0
    postgres.settled("postgres")


@pytest.mark.long
def test_switchover_to_a_server_that_is_named(database, postgres):
    standby = next(m["name"] for m in database.cluster() if m["role"] == "sync_standby")
    other = next(m["name"] for m in database.cluster() if m["role"] == "replica")
    refused = postgres("postgres.switchover", "--to", other)
    assert refused.code == 1
    assert f"only {standby} can take over" in refused.text
    assert postgres("postgres.switchover", "--to", "sql9").code == 2
    answer = postgres("postgres.switchover", "--to", standby)
    assert answer.code == 0, answer.text
    assert database.leader() == standby
    postgres.settled("postgres")


@pytest.mark.long
def test_a_switchover_waits_until_a_standby_is_synchronous(database, postgres, on):
    """As after both replicas restarted; here etcd says so for about eight seconds."""
    leader = database.leader()
    nobody = json.dumps({"leader": leader, "sync_standby": None})
    on(
        leader,
        "systemd-run -q bash -c 'for _ in {1..25}; do "
        f"{ETCDCTL} put /service/airflow-ha/sync \"$1\"; sleep 0.3; done' - '{nobody}'",
    )
    answer = postgres("postgres.switchover")
    assert answer.code == 0, answer.text
    assert "can not find sync_standby" in answer.text
    assert database.leader() != leader
    postgres.settled("postgres")


def test_etcds_leader_leaves_the_server_that_leads_the_database(database):
    leader = database.leader()
    if database.etcd_leader() != leader:
        database.lead_etcd(leader)
    database.wait_until_apart()
    assert database.leader() == leader


AWAY = ("stopped", "power-off", "partition")
"""How the backup server is away: it refuses connections, it is off, it is cut off in silence."""


@pytest.fixture
def backups_away(healed, on):
    """backups_away("stopped") -> nfs2 does not serve the repository any more; undone at the end."""
    stopped = []

    def away(kind: str) -> None:
        if kind != "stopped":
            healed("nfs2", kind)
            return
        stopped.append(kind)
        on("nfs2", "systemctl stop pgbackrest")

    yield away
    if stopped:
        on("nfs2", "systemctl start pgbackrest")


@pytest.mark.parametrize("kind", AWAY)
def test_a_repository_that_does_not_answer_costs_five_seconds_in_all(
    database, backups_away, on, kind, report
):
    replica = next(m["name"] for m in database.cluster() if m["role"] == "replica")
    command = database.psql("show restore_command", replica)
    assert restored(on, replica, command, "000000FF.history") == [1]
    backups_away(kind)
    files = ["000000FF.history", "000000010000000000000001", "000001FF.history"] * 2
    began = time.monotonic()
    codes = restored(on, replica, command, *files)
    seconds = time.monotonic() - began
    report(f"backup server {kind}: {len(files)} files asked for in {seconds:.1f} s")
    assert seconds <= 5
    assert codes == [75] * len(files), "PostgreSQL stops on codes above 125"


def restored(on, host: str, command: str, *files: str) -> list[int]:
    """The exit codes of restore_command for these files, as PostgreSQL would run it."""
    lines = [command.replace("%f", file).replace("%p", "/tmp/restored") for file in files]
    script = "".join(f"bash -c {shlex.quote(line)}; echo $?\n" for line in lines)
    on(host, f"rm -f /run/postgresql/*.silent; cat >/tmp/restore <<'SCRIPT'\n{script}SCRIPT")
    return [int(code) for code in on(host, "runuser -u postgres -- bash /tmp/restore").split()]


@pytest.mark.long
def test_a_restore_waits_for_the_repository(database, backups_away, on):
    """Recovery would end at a file that is "not there", with less than there is."""
    replica = next(m["name"] for m in database.cluster() if m["role"] == "replica")
    backups_away("stopped")
    on(
        replica,
        "systemd-run -q --unit=recover --property=RemainAfterExit=yes --uid=postgres "
        "/usr/libexec/postgres-ha/pgbackrest-wal recover airflow-ha nfs2 000000FF.history /tmp/x",
    )
    time.sleep(8)
    state = "systemctl show -p SubState -p ExecMainStatus --value recover"
    assert "running" in on(replica, state)
    on("nfs2", "systemctl start pgbackrest")
    deadline = time.monotonic() + 150
    while "running" in on(replica, state):
        assert time.monotonic() < deadline
        time.sleep(1)
    assert on(replica, state).split() == ["1", "failed"]
    on(replica, "systemctl reset-failed recover")


@pytest.mark.long
@pytest.mark.parametrize("kind", AWAY)
def test_the_loss_of_the_leader_without_the_backup_server(
    database, postgres, backups_away, healed, lab, report, kind
):
    """The next restore to a point in time needs the WAL that this leader could not archive."""
    database.wait_until_apart()
    leader = database.leader()
    backups_away(kind)
    with database.writing() as outcome:
        for _ in range(2):
            database.psql("select pg_switch_wal()")
            time.sleep(1)
        healed(leader, "power-loss")
        database.wait_for_leader_other_than(leader)
        time.sleep(3)
        lab.heal(leader)
        database.wait_until_healthy(180)
    report(f"power loss of the leader, backup server {kind}: {outcome}")
    assert outcome.pause <= BY_ITSELF
    assert outcome.lost == 0


def test_power_loss_of_the_leader(database, postgres, healed, lab, report):
    database.wait_until_apart()
    leader = database.leader()
    with database.writing() as outcome:
        healed(leader, "power-loss")
        successor = database.wait_for_leader_other_than(leader)
        time.sleep(3)
        told = postgres("postgres.check")
        assert told.code in (1, 3)
        assert ("cluster", f"one leader: {successor}") in told.steps("ok")
        assert any("until" in title for _, title in told.steps("warn")), told.text
        lab.heal(leader)
        back = database.wait_until_healthy()
    report(f"power loss of the leader: {outcome}; whole again {back:.0f} s after power returned")
    assert outcome.pause <= BY_ITSELF
    assert outcome.lost == 0
    postgres.settled("postgres")


@pytest.mark.long
def test_power_loss_of_the_synchronous_standby(database, healed, lab, report, postgres):
    """It leads etcd as well, as it may: etcd's leader is never where the database's is."""
    database.wait_until_healthy()
    standby = next(m["name"] for m in database.cluster() if m["role"] == "sync_standby")
    database.lead_etcd(standby)
    leader = database.leader()
    with database.writing() as outcome:
        healed(standby, "power-loss")
        time.sleep(30)
        assert database.leader() == leader
        lab.heal(standby)
        database.wait_until_healthy()
    report(f"power loss of the synchronous standby, which leads etcd: {outcome}")
    assert outcome.pause <= HANDED_OVER
    assert outcome.lost == 0
    postgres.settled("postgres")


@pytest.mark.long
def test_a_leader_that_froze_does_not_lead_when_it_thaws(database, healed, lab, report, postgres):
    database.wait_until_apart()
    leader = database.leader()
    with database.writing() as impatient, database.writing(patient=True) as patient:
        healed(leader, "freeze")
        database.wait_for_leader_other_than(leader)
        time.sleep(35)
        lab.heal(leader)
        for _ in range(20):
            assert len(database.primaries()) <= 1
            time.sleep(0.2)
    report(f"leader frozen: {impatient}; a client without a timeout: {patient}")
    assert impatient.lost == patient.lost == 0
    postgres.settled("postgres")


@pytest.mark.long
def test_a_leader_cut_from_its_peers_only(database, healed, lab, report, postgres):
    database.wait_until_apart()
    leader = database.leader()
    with database.writing() as outcome:
        healed(leader, "cut", peers=[name for name in SQL if name != leader])
        database.wait_for_leader_other_than(leader)
        time.sleep(3)
        lab.heal(leader)
        database.wait_until_healthy()
    report(f"leader cut from its peers: {outcome}")
    assert outcome.lost == 0
    postgres.settled("postgres")


@pytest.mark.long
def test_etcd_without_a_quorum_does_not_stop_writes(database, postgres, on, report):
    stopped = [name for name in SQL if name != database.leader()]
    with database.writing() as outcome:
        for name in stopped:
            on(name, "systemctl stop etcd")
        time.sleep(25)
        told = postgres("postgres.check")
        assert told.code == 1
        assert any("lost its quorum (1 of 3 answer)" in title for _, title in told.steps("error"))
        mended = postgres("postgres.etcd")
        assert mended.code == 0, mended.text
    report(f"etcd without a quorum: {outcome}")
    assert outcome.pause <= HANDED_OVER
    assert outcome.lost == 0
    postgres.settled("postgres")


@pytest.mark.long
def test_without_synchronous_replication_rows_can_be_lost(
    database, postgres, setting, healed, lab, report
):
    loose = setting("synchronous_mode: false")
    try:
        answer = postgres("postgres.patroni", "postgres.settings", **loose)
        assert answer.code == 0, answer.text
        assert any("settings in etcd" in title for _, title in answer.steps("changed"))
        time.sleep(6)
        leader = database.leader()
        with database.writing() as outcome:
            healed(leader, "power-loss")
            database.wait_for_leader_other_than(leader)
            time.sleep(3)
            lab.heal(leader)
            back = database.wait_until_healthy()
        report(f"asynchronous, power loss: {outcome}; whole again after {back:.0f} s")
        leader = database.leader()
        with database.writing() as outcome:
            healed(leader, "cut", peers=[name for name in SQL if name != leader])
            database.wait_for_leader_other_than(leader)
            time.sleep(3)
            lab.heal(leader)
            database.wait_until_healthy()
        report(f"asynchronous, leader cut from its peers: {outcome}")
    finally:
        answer = postgres("postgres.patroni", "postgres.settings")
    assert answer.code == 0, answer.text
    postgres.settled("postgres")
