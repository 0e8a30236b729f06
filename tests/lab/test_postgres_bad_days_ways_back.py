"""Bad days of the database: the ways back, each one command, timed while a client writes."""

from __future__ import annotations

import time

import pytest
from support.bad_days import ETCD, blank, figure, identifier, passwords, told, without_etcd
from support.database import ADDRESSES, DATABASE, ETCDCTL, SQL
from support.limits import BY_ITSELF, HANDED_OVER

from fabfile.postgres.common import PATRONI_TLS
from fabfile.shared.tls import for_clients

STATE = "database"
HOSTS = DATABASE
pytestmark = pytest.mark.long
WAITS = True


@pytest.fixture
def well_again(database):
    return lambda: database.wait_until_healthy(180)


def login(on, host: str, role: str, password: str) -> bool:
    """Whether this password opens the role."""
    replication = "replication=true " if role == "replicator" else ""
    query = "IDENTIFY_SYSTEM" if replication else "select 1"
    target = f"host=127.0.0.1 user={role} dbname=postgres {replication}"
    command = f"PGPASSWORD='{password}' psql -X -w -q '{target}' -c '{query}' >/dev/null 2>&1"
    return on(host, f"{command} && echo yes || echo no") == "yes"


def test_new_passwords_while_a_client_writes(database, postgres, lab, on, report):
    before, leader = passwords(lab), database.leader()
    with database.writing() as outcome:
        answer = postgres("--yes", "postgres.rotate")
    assert answer.code == 0, answer.text
    report(figure("new passwords of the database's own roles", "`fab postgres.rotate`", outcome))
    assert outcome.pause <= HANDED_OVER
    assert outcome.lost == 0
    assert database.leader() == leader
    after = passwords(lab)
    roles = {"postgres": "superuser", "replicator": "replication", "rewinder": "rewind"}
    for role, name in roles.items():
        assert not login(on, leader, role, before[f"postgres_{name}"])
        assert login(on, leader, role, after[f"postgres_{name}"])
    shown = for_clients(PATRONI_TLS)
    api = f"{shown} https://{ADDRESSES[leader]}:8008/reload"
    for password, code in ((before["patroni_restapi"], "401"), (after["patroni_restapi"], "202")):
        asked = f"curl -s -o /dev/null -w '%{{http_code}}' -X POST -u patroni:{password} {api}"
        assert on(leader, asked) in (code, "200" if code == "202" else code)
    postgres.settled("postgres")
    assert postgres("postgres").steps("changed") == set()
    switched = postgres("postgres.switchover")
    assert switched.code == 0, switched.text
    postgres.settled("postgres")


def test_a_member_with_a_new_address(database, postgres, on):
    """etcd lists a replica where it was before."""
    replica = next(m["name"] for m in database.cluster() if m["role"] == "replica")
    leader = database.leader()
    member = f"$({ETCDCTL} member list | awk -F ', ' '$3 == \"{replica}\" {{ print $1 }}')"
    on(leader, f"{ETCDCTL} member update {member} --peer-urls=https://192.168.83.250:2380")
    on(replica, "systemctl stop etcd")
    told(postgres, "error", f"{replica} is a member at https://192.168.83.250:2380, which is not")
    answer = postgres("postgres")
    assert answer.code == 0, answer.text
    assert (replica, f"etcd knows {replica} at its new address") in answer.steps("changed")
    assert on(replica, f"ls -d {ETCD}.* 2>/dev/null || :") == "", "its data stay in use"
    postgres.settled("postgres")


def test_two_of_three_etcd_members_lost(database, postgres, on, report):
    """Their disks are lost; the database goes on for as long as all servers answer each other."""
    database.wait_until_healthy()
    leader = database.leader()
    others = [name for name in SQL if name != leader]
    survivor, system = others[0], identifier(on, leader)
    with database.writing() as outcome:
        for name in (leader, others[1]):
            without_etcd(on, name)
        refused = postgres("--yes", "postgres.etcd-recover", survivor)
        assert refused.code == 2
        assert f"{leader} has the newest data" in refused.text
        assert "add --i-know" in refused.text
        wrong = postgres("--yes", "postgres.etcd-recover", leader, "--i-know")
        assert f"fab postgres.etcd-recover {survivor}" in wrong.text
        began = time.monotonic()
        answer = postgres("--yes", "postgres.etcd-recover", survivor, "--i-know")
        assert answer.code == 0, answer.text
        seconds = time.monotonic() - began
    report(figure("2 of 3 etcd members lost for good", "`fab postgres.etcd-recover HOST`", outcome))
    report(f"2 of 3 etcd members lost: the command took {seconds:.0f} s")
    assert outcome.lost == 0
    assert identifier(on, database.leader()) == system
    assert on(survivor, f"ls -d {ETCD}.before-*/member")
    postgres.settled("postgres")
    assert postgres("postgres").steps("changed") == set()
    unneeded = postgres("--yes", "postgres.etcd-recover", survivor, "--i-know")
    assert "etcd has its quorum" in unneeded.text


def test_all_etcd_members_lost(database, postgres, on, report):
    database.wait_until_healthy()
    system, leader = identifier(on, database.leader()), database.leader()
    with database.writing() as outcome:
        for name in SQL:
            without_etcd(on, name)
        began = time.monotonic()
        answer = postgres("--yes", "postgres.etcd-recover", "sql2", "--i-know")
        assert answer.code == 0, answer.text
        seconds = time.monotonic() - began
    report(figure("all etcd members lost for good", "`fab postgres.etcd-recover HOST`", outcome))
    report(f"all etcd members lost: the command took {seconds:.0f} s")
    assert outcome.lost == 0
    assert database.leader() == leader, "the newest data leads"
    assert [identifier(on, name) for name in SQL] == [system] * 3
    postgres.settled("postgres")
    assert postgres("postgres").steps("changed") == set()


def test_two_of_three_servers_lost_for_good_and_replaced(
    database, postgres, on, healed, lab, report
):
    """The leader and an asynchronous standby: the synchronous one has all acknowledged rows."""
    database.wait_until_healthy()
    survivor = next(m["name"] for m in database.cluster() if m["role"] == "sync_standby")
    gone = [name for name in SQL if name != survivor]
    with database.writing() as outcome:
        for name in gone:
            healed(name, "partition")
        time.sleep(10)
        refused = postgres("--yes", "postgres.etcd-recover", survivor)
        assert f"Never start {', '.join(gone)} again" in refused.text
        answer = postgres("--yes", "postgres.etcd-recover", survivor, "--i-know")
        assert answer.code == 0, answer.text
        assert database.leader() == survivor
        for name in gone:
            blank(on, name)  # new servers come to the network without the old data
            lab.heal(name)
        replaced = postgres("postgres")
        assert replaced.code == 0, replaced.text
        database.wait_until_healthy(180)
    commands = "`fab postgres.etcd-recover HOST`, new servers, `fab postgres`"
    report(figure("2 of 3 servers lost for good", commands, outcome))
    assert outcome.pause <= 3 * BY_ITSELF
    assert outcome.lost == 0
    postgres.settled("postgres")
    assert postgres("postgres").steps("changed") == set()
