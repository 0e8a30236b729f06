"""Minor updates of the database under load, in real versions, and a replaced server's versions."""

from __future__ import annotations

import time

import pytest
from support import older_packages
from support.bad_days import blank, figure, told
from support.database import DATABASE, SQL
from support.limits import HANDED_OVER

STATE = "database"
HOSTS = DATABASE

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def older(database, postgres, lab, on, tmp_path_factory):
    """All servers run the older versions, which are held; the newest ones are offered as well."""
    version = older_packages.build(lab, tmp_path_factory.mktemp("older"))
    with older_packages.offered(lab, DATABASE):
        older_packages.downgrade(lab, "nfs2", "pgbackrest")
        on("nfs2", "systemctl restart pgbackrest")
        leader = database.leader()
        for host in [*(name for name in SQL if name != leader), leader]:
            older_packages.downgrade(lab, host)
            on(host, "systemctl restart etcd pgbackrest; systemctl restart patroni")
            database.wait_until_healthy(180)
        answer = postgres("postgres")
        assert answer.code == 0, answer.text
        titles = {title.partition(":")[0] for _, title in answer.steps("changed")}
        packaged = {"directory /etc/etcd", "directory /var/lib/pgbackrest"}
        assert titles <= {"held by dnf", *packaged}, titles
        yield version
    assert postgres("postgres").code == 0


def runs(database, host: str) -> str:
    return database.psql("show server_version", host).split()[0]


def patroni(on, host: str) -> str:
    return on(host, "rpm -q --qf '%{VERSION}' patroni")


def test_an_update_of_all_packages_leaves_the_database_alone(older, postgres, database, on):
    answer = postgres("-H", ",".join(SQL), "base.update")
    assert answer.code == 0, answer.text
    assert [patroni(on, host) for host in SQL] == [older_packages.PATRONI.version] * 3
    assert [runs(database, host) for host in SQL] == [older] * 3


def test_a_replaced_server_gets_the_versions_of_the_others(older, database, postgres, on):
    replica = next(m["name"] for m in database.cluster() if m["role"] == "replica")
    blank(on, replica)
    answer = postgres("postgres")
    assert answer.code == 0, answer.text
    assert patroni(on, replica) == older_packages.PATRONI.version
    assert runs(database, replica) == older
    postgres.settled("postgres")
    assert postgres("postgres").steps("changed") == set()


def test_what_runs_is_older_than_what_is_installed(older, database, postgres, on):
    replica = next(m["name"] for m in database.cluster() if m["role"] == "replica")
    on(replica, "dnf -q -y --disableplugin=versionlock upgrade 'postgresql15*'")
    told(postgres, "warn", f"{replica} runs the installed PostgreSQL: it runs {older}")


def test_an_update_under_load(older, database, postgres, on, report):
    database.wait_until_healthy()
    leader = database.leader()
    began = time.monotonic()
    with database.writing() as outcome:
        answer = postgres("--yes", "postgres.upgrade")
    assert answer.code == 0, answer.text
    report(figure("a minor update of PostgreSQL, Patroni, etcd", "`fab postgres.upgrade`", outcome))
    report(f"postgres.upgrade took {time.monotonic() - began:.0f} s in all")
    assert database.leader() != leader
    assert outcome.lost == 0
    assert outcome.pause <= HANDED_OVER
    assert {patroni(on, host) for host in SQL} == {"4.1.0"}
    assert older not in {runs(database, host) for host in SQL}
    postgres.settled("postgres")
    assert postgres("postgres").steps("changed") == set()
    again = postgres("--yes", "postgres.upgrade")
    assert again.code == 0, again.text
    assert not any("leads instead" in title for _, title in again.steps("changed"))
