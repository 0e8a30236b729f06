"""The database cluster, from bare servers to what it does when servers fail."""

from __future__ import annotations

import json
import os
import shlex
import signal
import time
from pathlib import Path

import pytest
import restarting_package
import yaml
from database import ADDRESSES, SQL, Database, let_in
from limits import BY_ITSELF, HANDED_OVER

from fabfile.postgres import section


@pytest.fixture(scope="module")
def with_client(lab, tmp_path_factory) -> dict[str, str]:
    """The environment of every run here: the lab's settings, and the writer let in."""
    return let_in(lab, tmp_path_factory.mktemp("postgres"))


@pytest.fixture(scope="module")
def postgres(prepared, with_client):
    """postgres("postgres.check", …) -> what fab said."""
    return prepared.given(**with_client)


@pytest.fixture(scope="module")
def database(postgres, lab, tmp_path_factory) -> Database:
    """The section has been carried out, and there is a table to write to."""
    answer = postgres("postgres")
    assert answer.code == 0, answer.text
    return Database.with_table(lab, tmp_path_factory.mktemp("writers"))


@pytest.fixture
def setting(with_client, tmp_path):
    """setting("max_connections: 300") -> the environment of a run with these in `postgres:`."""

    def write(text: str) -> dict[str, str]:
        override = tmp_path / "override.yaml"
        base = yaml.safe_load(Path(with_client["RUNBOOK_OVERRIDE"]).read_text())
        base["postgres"] = {**base["postgres"], **yaml.safe_load(text)}
        override.write_text(yaml.safe_dump(base))
        return {"RUNBOOK_OVERRIDE": str(override)}

    return write


@pytest.fixture
def well_again(database):
    return lambda: database.wait_until_healthy(180)


# From bare servers


def test_the_packages_come_from_pgdg(postgres, on):
    answer = postgres("-H", "sql1,sql2,sql3", "postgres.install")
    assert answer.code == 0, answer.text
    assert answer.hosts("changed") == set(SQL)
    began = on("sql1", "stat -c %Y /usr/pgsql-15/bin/postgres")
    assert began
    assert on("sql1", "rpm -q --qf '%{release}' postgresql15-server") == "1PGDG.rhel8"
    assert on("sql1", "systemctl is-enabled postgresql-15 || :") == "disabled"
    assert "haproxy" not in on("sql1", "dnf -q list --available --disablerepo=baseos || :")


def test_a_repository_that_is_gone_keeps_no_other_package_away(postgres, with_client, settings, on):
    sources = yaml.safe_load(Path(with_client["RUNBOOK_OVERRIDE"]).read_text())["sources"]
    gone = settings("sources", pgdg={**sources["pgdg"], "extras": "http://$labmirror/gone"})
    try:
        assert postgres("-H", "sql1", "postgres.repo", **gone).code == 0
        assert on("sql1", "dnf -q --refresh repoquery patroni 2>/dev/null").startswith("patroni-")
    finally:
        assert postgres("-H", "sql1", "postgres.repo").code == 0


def test_no_cluster_is_founded_while_a_server_is_away(postgres, lab, on):
    lab.fault("sql3", "power-loss")
    try:
        answer = postgres("postgres")
        assert answer.code == 3
        assert answer.hosts("unreachable") == {"sql3"}
        kept_going = postgres("-H", "sql1,sql2", "postgres.etcd")
        assert kept_going.code == 1
        assert "a new etcd cluster is founded only when every member could be asked" in (
            kept_going.text
        )
        assert on("sql1", "systemctl is-active etcd || :") == "inactive"
        assert on("sql1", "ls /var/lib/etcd") == ""
    finally:
        lab.fault("sql3", "power-on")


def test_the_plan_is_what_the_run_does(postgres):
    plan = postgres("--plan", "postgres")
    assert plan.code == 0, plan.text
    assert plan.unknown() == {
        "postgres.etcd-members",
        "postgres.backup-network",
        "postgres.settings",
        "postgres.database",
    }
    run = postgres("postgres")
    assert run.code == 0, run.text
    assert plan.changes(but=plan.unknown()) == run.changes(but=plan.unknown())


def test_one_leader_and_two_streaming_replicas(database, postgres):
    database.wait_until_healthy()
    assert len(database.primaries()) == 1
    postgres.settled("postgres")
    rows = postgres("postgres.status").data["tables"]["postgres.status"]
    assert sorted(row["role"] for row in rows) == ["leader", "replica", "sync_standby"]


def test_the_database_is_made_as_it_should_be(database, on):
    assert database.psql("show data_checksums") == "on"
    assert database.psql("show server_encoding") == "UTF8"
    assert database.psql("show password_encryption") == "scram-sha-256"
    owner = "select pg_get_userbyid(datdba) from pg_database where datname = 'airflow'"
    assert database.psql(owner) == "airflow"
    assert on("sql1", "stat -c '%a %U' /etc/patroni/patroni.yml") == "600 postgres"
    assert on("sql1", "stat -c '%a' /var/lib/etcd/airflow-ha.etcd") == "700"


def test_second_run_changes_nothing_under_load(database, postgres):
    started = [database.psql("select pg_postmaster_start_time()", host) for host in SQL]
    with database.writing() as outcome:
        answer = postgres("postgres")
    assert answer.code == 0, answer.text
    assert answer.steps("changed", "failed") == set()
    assert outcome.errors == []
    assert outcome.lost == 0
    assert [database.psql("select pg_postmaster_start_time()", host) for host in SQL] == started


def test_no_password_is_left_where_others_can_read_it(database, postgres, lab, on):
    state = Path(lab.environment()["RUNBOOK_STATE"])
    secrets = yaml.safe_load((state / "secrets.yaml").read_text())
    assert {secret.name for secret in section.secrets} <= set(secrets)
    shown = postgres("postgres.check").text + postgres("--plan", "postgres").text
    shown += (state / "journal.jsonl").read_text()
    for host in SQL:
        shown += on(host, "journalctl -b --no-pager -o cat; ps axww -o args")
        shown += on(host, "cat /var/lib/pgsql/15/data/log/* /var/log/patroni/* 2>/dev/null || :")
        shown += on(
            host,
            "find /etc /run /var/lib/pgsql -xdev -type f -perm -o=r -size -64k "
            "-exec cat {} + 2>/dev/null || :",
        )
    for secret in secrets.values():
        assert secret not in shown


# When servers fail


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


def test_a_switchover_waits_until_a_standby_is_synchronous(database, postgres, on):
    """As after both replicas restarted; here etcd says so for about eight seconds."""
    leader = database.leader()
    nobody = json.dumps({"leader": leader, "sync_standby": None})
    on(
        leader,
        "systemd-run -q bash -c 'for _ in {1..25}; do "
        f"etcdctl put /service/airflow-ha/sync \"$1\"; sleep 0.3; done' - '{nobody}'",
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


@pytest.mark.parametrize(
    "kind", [AWAY[1], *(pytest.param(one, marks=pytest.mark.long) for one in (AWAY[0], AWAY[2]))]
)
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


# What people do


def test_a_setting_that_needs_a_restart(database, postgres, setting, report):
    more = setting("parameters: {max_connections: 260}")
    plan = postgres("--plan", "postgres.settings", **more)
    said = str(plan.data["tasks"])
    assert "max_connections: 260" in said
    assert "max_connections takes effect with a rolling restart: fab postgres.restart" in said
    assert database.psql("show max_connections") == "200"
    applied = postgres("postgres.settings", **more)
    assert applied.code == 0, applied.text
    deadline = time.monotonic() + 30
    while True:
        told = postgres("postgres.check", **more)
        if any("wait for a restart" in title for _, title in told.steps("warn")):
            break
        assert time.monotonic() < deadline, told.text
    assert database.psql("show max_connections") == "200"
    with database.writing() as outcome:
        rolled = postgres("postgres.restart", **more)
    assert rolled.code == 0, rolled.text
    report(f"rolling restart: {outcome}")
    assert [database.psql("show max_connections", host) for host in SQL] == ["260"] * 3
    assert outcome.lost == 0
    assert outcome.pause <= HANDED_OVER
    postgres.given(**more).settled("postgres")
    assert postgres("postgres.restart", **more).steps("changed") == set()


def test_a_setting_that_hosts_yaml_no_longer_has_goes(database, postgres):
    """It follows the test above: there max_connections was 260."""
    answer = postgres("postgres.settings")
    assert answer.code == 0, answer.text
    assert postgres("postgres.restart", "--force").code == 0
    database.wait_until_healthy()
    assert [database.psql("show max_connections", host) for host in SQL] == ["200"] * 3
    postgres.settled("postgres")


def test_an_update_takes_one_member_after_the_other(database, postgres, lab, on, tmp_path, report):
    database.wait_until_healthy()
    restarting_package.offer(lab, SQL, tmp_path)
    update = ("-H", "@postgres", "base.update")
    try:
        leader = database.leader()
        plan = postgres("--plan", *update)
        assert {host for host, _ in plan.steps("differs")} == set(SQL)
        replica = next(name for name in SQL if name != leader)
        on(replica, "systemctl stop patroni")
        refused = postgres.text(*update)
        assert refused.code == 1
        assert "Not begun, as the cluster is not whole" in refused.text
        assert {installed(on, name) for name in SQL} == {"1"}
        on(replica, "systemctl start patroni")
        database.wait_until_healthy()
        with database.writing() as outcome:
            answer = postgres(*update)
        assert answer.code == 0, answer.text
        report(f"an update that restarts Patroni on all members: {outcome}")
        assert {installed(on, name) for name in SQL} == {"2"}
        started = [database.psql("select pg_postmaster_start_time()", name) for name in SQL]
        assert max(zip(started, SQL))[1] == leader, "it hands over, and is restarted last"
        assert outcome.lost == 0
        assert outcome.pause <= HANDED_OVER
        assert postgres(*update).steps("changed") == set()
    finally:
        restarting_package.withdraw(lab, SQL)


def installed(on, host: str) -> str:
    """The version of the package that restarts Patroni."""
    return on(host, f"rpm -q --qf '%{{version}}' {restarting_package.NAME}")


def test_settings_do_not_change_while_patroni_is_paused(database, postgres, on):
    control = "patronictl -c /etc/patroni/patroni.yml"
    on("sql1", f"{control} pause --wait")
    try:
        answer = postgres("postgres.settings")
        assert answer.code == 1
        assert "Patroni is paused for maintenance" in answer.text
    finally:
        on("sql1", f"{control} resume --wait")
    postgres.settled("postgres")


def test_another_major_version_is_refused_while_there_is_a_cluster(postgres, settings, on):
    configured = "cat /etc/patroni/patroni.yml /etc/yum.repos.d/pgdg-redhat-all.repo | sha256sum"
    before = on("sql1", configured)
    for arguments in (["postgres"], ["--plan", "postgres"], ["-H", "sql3", "postgres.patroni"]):
        answer = postgres(*arguments, **settings("versions", postgresql="16"))
        assert answer.code == 1
        assert "The database cluster runs PostgreSQL 15" in answer.text
        assert "hosts.yaml asks for 16, which cannot use its data" in answer.text
        assert answer.steps("changed", "differs") == set()
    assert on("sql1", configured) == before


def test_a_wrong_password_in_secrets_is_named_and_mended(database, postgres, lab):
    file = Path(lab.environment()["RUNBOOK_STATE"]) / "secrets.yaml"
    kept = file.read_text()
    secrets = yaml.safe_load(kept)
    odd = "a; b%c@d \"e\" 'f' $g `h` \\"
    file.write_text(yaml.safe_dump({**secrets, "postgres_airflow": odd}))
    try:
        told = postgres("postgres.check")
        assert told.code == 1
        named = "the password of role airflow is the one in secrets.yaml"
        assert named in {title for _, title in told.steps("differs")}
        assert odd not in told.text
        mended = postgres("postgres.database")
        assert mended.code == 0, mended.text
        assert {title for _, title in mended.steps("changed")} == {named}
        with database.writing() as outcome:
            pass
        assert outcome.errors == []
        roles = ("postgres_airflow", "postgres_replication", "postgres_superuser")
        wrong = {**secrets, **dict.fromkeys(roles, odd)}
        file.write_text(yaml.safe_dump(wrong))
        with database.writing() as outcome:
            answer = postgres("postgres")
        assert answer.code == 0, answer.text
        assert outcome.errors == []
    finally:
        file.write_text(kept)
        assert postgres("postgres").code == 0
    postgres.settled("postgres")


def test_a_foreign_data_directory_is_refused_and_told(database, postgres, on):
    replica = next(m["name"] for m in database.cluster() if m["role"] == "replica")
    data = "/var/lib/pgsql/15/data"
    on(replica, f"systemctl stop patroni; mv {data} {data}.kept")
    on(replica, f"runuser -u postgres -- /usr/pgsql-15/bin/initdb -D {data} >/dev/null")
    try:
        for mode in ([], ["--plan"]):
            answer = postgres("-H", replica, "postgres.patroni", *mode)
            assert answer.code == 1
            assert f"{data} on {replica} holds the PostgreSQL cluster" in str(answer.data)
            assert "Nothing was touched" in str(answer.data)
        assert on(replica, "systemctl is-active patroni || :") == "inactive"
        assert on(replica, f"cat {data}/PG_VERSION") == "15"
    finally:
        on(replica, f"mv {data} {data}.foreign; mv {data}.kept {data}")
    assert postgres("-H", replica, "postgres.patroni").code == 0
    postgres.settled("postgres")


def test_a_full_disk_on_a_replica(database, postgres, on):
    replica = next(m["name"] for m in database.cluster() if m["role"] == "replica")
    data = "/var/lib/pgsql/15/data"
    on(
        replica,
        f"systemctl stop patroni; mv {data} {data}.kept; install -d -m 700 -o postgres "
        f"-g postgres {data}; mount -t tmpfs -o size=1200m,mode=700,uid=26,gid=26 tmpfs {data}; "
        f"cp -a {data}.kept/. {data}/; systemctl start patroni",
    )
    try:
        database.wait_until_healthy()
        with database.writing() as outcome:
            on(replica, f"head -c 1500m /dev/zero >{data}/filler || :")
            told = postgres("postgres.check")
            assert told.code == 1
            errors = {title for host, title in told.steps("error") if host == replica}
            assert any("PostgreSQL stops when it is full" in title for title in errors), told.text
            on(replica, f"rm {data}/filler")
            if not database.healthy():
                on(replica, "systemctl restart patroni")
        assert outcome.lost == 0
    finally:
        on(
            replica,
            f"systemctl stop patroni; umount {data}; rmdir {data}; mv {data}.kept {data}; "
            "systemctl start patroni",
        )
    postgres.settled("postgres")


def test_a_crash_in_the_middle_of_patroni_and_a_rerun(database, postgres, prepared, on, lab):
    replica = next(m["name"] for m in database.cluster() if m["role"] == "replica")
    data = "/var/lib/pgsql/15/data"
    on(
        replica,
        f"systemctl disable --now patroni; mv {data} {data}.kept; rm /etc/patroni/patroni.yml",
    )
    process = prepared.start("-H", replica, "postgres.patroni")
    deadline = time.monotonic() + 60
    while on(replica, f"ls {data} 2>/dev/null || :") == "":
        assert time.monotonic() < deadline
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    lab.fault(replica, "power-loss")
    lab.fault(replica, "power-on")
    deadline = time.monotonic() + 60
    again = postgres("-H", replica, "postgres.patroni")
    while again.code == 3:
        assert time.monotonic() < deadline
        again = postgres("-H", replica, "postgres.patroni")
    assert again.code == 0, again.text
    on(replica, f"rm -r {data}.*")
    postgres.settled("postgres")


def test_reinit_copies_a_replica_and_refuses_the_leader(database, postgres):
    leader = database.leader()
    replica = next(m["name"] for m in database.cluster() if m["role"] == "replica")
    assert postgres("--yes", "postgres.reinit", leader).code == 2
    unasked = postgres("postgres.reinit", replica)
    assert unasked.code == 2
    assert "say --yes" in unasked.text
    answer = postgres("--yes", "postgres.reinit", replica)
    assert answer.code == 0, answer.text
    postgres.settled("postgres")


@pytest.mark.long
def test_a_member_that_lost_its_disk_comes_back(database, postgres, on):
    replica = next(m["name"] for m in database.cluster() if m["role"] == "replica")
    on(
        replica,
        "systemctl stop patroni etcd; mv /var/lib/etcd /root/; mv /var/lib/pgsql/15/data /root/",
    )
    on(replica, "install -d -m 700 -o etcd -g etcd /var/lib/etcd")
    told = postgres("postgres.check")
    assert told.code == 1
    answer = postgres("postgres")
    assert answer.code == 0, answer.text
    on(replica, "rm -r /root/etcd /root/data")
    postgres.settled("postgres")
    assert postgres("postgres").steps("changed") == set()


# Back to a point in time


def test_restore_to_a_point_in_time(database, postgres, on, report):
    database.psql("drop table if exists kept; create table kept (n int)")
    database.psql("insert into kept select generate_series(1, 1000)")
    time.sleep(2)
    moment = database.psql("select now()")
    time.sleep(2)
    database.psql("delete from kept; insert into kept values (0)")
    unasked = postgres("postgres.restore", moment)
    assert unasked.code == 2
    assert "add --i-know" in unasked.text
    began = time.monotonic()
    answer = postgres("--yes", "postgres.restore", moment, "--i-know")
    assert answer.code == 0, answer.text
    report(f"restore to a point in time: {time.monotonic() - began:.0f} s")
    database.wait_until_healthy()
    for host in SQL:
        assert database.psql("select count(*), min(n) from kept", host) == "1000|1"
        assert on(host, "ls -d /var/lib/pgsql/15/data.before-*/PG_VERSION")
    postgres.settled("postgres")
    assert postgres("postgres").steps("changed") == set()
    backups = postgres("postgres.backups").data["tables"]["postgres.backups"]
    assert backups[-1]["type"] == "full"
    with database.writing() as outcome:
        pass
    assert outcome.errors == []


def test_a_backup_by_hand(postgres):
    assert postgres("postgres.backup", "--type", "weekly").code == 2
    answer = postgres("postgres.backup", "--type", "incr")
    assert answer.code == 0, answer.text
    backups = postgres("postgres.backups").data["tables"]["postgres.backups"]
    assert backups[-1]["type"] == "incr"


def test_wal_that_does_not_reach_the_repository_is_told(database, postgres, on):
    archive = "/var/lib/pgbackrest/archive/airflow-ha"
    on("nfs2", f"chmod 0 {archive}")
    try:
        database.psql("create table if not exists noise (); select pg_switch_wal()")
        deadline = time.monotonic() + 60
        while True:
            told = postgres("postgres.check")
            if any("WAL reaches the archive" in title for _, title in told.steps("error")):
                break
            assert time.monotonic() < deadline, told.text
    finally:
        on("nfs2", f"chmod 750 {archive}")
    deadline = time.monotonic() + 120
    while postgres("postgres.check").steps("error"):
        assert time.monotonic() < deadline


def test_a_backup_server_that_is_stopped_is_named_and_started(postgres, on):
    on("nfs2", "systemctl stop pgbackrest")
    told = postgres("postgres.check")
    assert told.code == 1
    assert ("nfs2", "pgbackrest.service runs and is enabled") in told.steps("differs")
    assert postgres("-H", "nfs2", "postgres").code == 0
    assert postgres("postgres.check").steps("differs") == set()


def test_addresses_are_those_of_hosts_yaml(database):
    assert sorted(m["host"] for m in database.cluster()) == sorted(ADDRESSES.values())
