"""Bad days of the backups: damaged, lost with their server, encrypted, larger than the disk."""

from __future__ import annotations

import time

import pytest
from support.bad_days import REPOSITORY, blank, figure, passwords, told
from support.database import DATABASE, SQL

STATE = "database"
HOSTS = DATABASE
pytestmark = pytest.mark.long
WAITS = True


@pytest.fixture
def well_again(database):
    return lambda: database.wait_until_healthy(180)


def test_a_backup_that_can_be_restored_is_told(database, postgres, on, report):
    database.psql("drop table if exists kept; create table kept as select generate_series(1, 5000)")
    taken = postgres("postgres.backup", "--type", "full")
    assert taken.code == 0, taken.text
    for host in SQL:
        on(host, "rm -f /var/lib/airflow-runbook/postgres-verified")
    told(postgres, "ok", "a test restore has succeeded: none was made yet")
    began = time.monotonic()
    with database.writing() as outcome:
        answer = postgres("postgres.backup-verify")
    assert answer.code == 0, answer.text
    assert "no index and no table is damaged" in answer.text
    report(f"test restore of the newest backup: {time.monotonic() - began:.0f} s; {outcome}")
    assert outcome.lost == 0
    told(postgres, "ok", "a test restore has succeeded")
    for host in SQL:
        assert on(host, "ls -d /var/lib/pgsql/verify 2>/dev/null || :") == ""
        assert on(host, "systemctl is-active postgresql-verify || :") == "inactive"


def test_a_damaged_backup_is_told(database, postgres, on):
    backup = f"{REPOSITORY}/backup/airflow-ha/latest/pg_data/base"
    largest = on("nfs2", f"find -L {backup} -name '*.gz' -printf '%s %p\\n' | sort -n | tail -1")
    size, _, file = largest.partition(" ")
    on("nfs2", f"cp -a {file} /root/kept.gz")
    on("nfs2", f"printf damaged | dd of={file} bs=1 seek={int(size) // 2} conv=notrunc status=none")
    try:
        answer = postgres("postgres.backup-verify")
        assert answer.code == 1, answer.text
        told(postgres, "error", "a test restore has succeeded: the last one failed")
    finally:
        on("nfs2", f"cp -a /root/kept.gz {file}; rm /root/kept.gz")
    answer = postgres("postgres.backup-verify")
    assert answer.code == 0, answer.text
    postgres.settled("postgres")


def test_a_restore_without_room_is_refused_before_anything_stops(database, postgres, on):
    database.wait_until_healthy()
    replica = next(m["name"] for m in database.cluster() if m["role"] == "replica")
    home = "/var/lib/pgsql"
    on(
        replica,
        f"systemctl stop patroni; mv {home} {home}.kept; mkdir {home}; "
        f"mount -t tmpfs -o size=1000m,mode=700,uid=26,gid=26 tmpfs {home}; "
        f"cp -a {home}.kept/. {home}/; systemctl start patroni",
    )
    try:
        database.wait_until_healthy()
        with database.writing() as outcome:
            answer = postgres("--yes", "postgres.restore", "latest", "--i-know")
        assert answer.code == 1
        assert f"MB in {home}, beside the present data, and only" in answer.text
        assert answer.hosts("failed", "refused") == {replica}
        assert answer.steps("changed") == set()
        assert outcome.errors == []
        assert database.healthy()
    finally:
        on(
            replica,
            f"systemctl stop patroni; umount {home}; rmdir {home}; mv {home}.kept {home}; "
            "systemctl start patroni",
        )
    postgres.settled("postgres")


def test_the_backup_server_is_replaced_by_a_blank_one(database, postgres, on, report):
    blank(on, "nfs2")
    began = time.monotonic()
    with database.writing() as outcome:
        told(postgres, "error", "the database is backed up: the repository does not answer")
        answer = postgres("postgres")
        assert answer.code == 0, answer.text
    report(
        figure("the backup server is lost, and a blank one replaces it", "`fab postgres`", outcome)
    )
    report(f"the backup server replaced: {time.monotonic() - began:.0f} s")
    assert outcome.errors == []
    backups = postgres("postgres.backups").data["tables"]["postgres.backups"]
    assert [one["type"] for one in backups] == ["full"]
    postgres.settled("postgres")
    assert postgres("postgres").steps("changed") == set()


def test_an_encrypted_repository(database, postgres, lab, on, setting):
    """Its password is on the backup server only, and restores work."""
    encrypted = setting("backup: {encrypted: true}")
    before = on("nfs2", "cat /etc/pgbackrest.conf")
    refused = postgres("postgres", **encrypted)
    assert refused.code == 1
    assert "was created otherwise. Set postgres.backup.path" in refused.text
    assert on("nfs2", "cat /etc/pgbackrest.conf") == before, "backups go on"
    place = f"{REPOSITORY}-encrypted"
    encrypted = setting(f"backup: {{encrypted: true, path: {place}}}")
    try:
        answer = postgres("postgres", **encrypted)
        assert answer.code == 0, answer.text
        secret = passwords(lab)["postgres_backup"]
        assert secret not in answer.text
        files = on("nfs2", f"find {place} -type f -size +0 ! -name '*.lock'").splitlines()
        plain = f"find {place} -name '*.gz' -type f -exec gzip -tq {{}} \\; -print 2>/dev/null"
        assert files
        assert on("nfs2", plain) == ""
        for host in SQL:
            assert on(host, f"grep -rl '{secret}' /etc/pgbackrest* /etc/patroni || :") == ""
        verified = postgres("postgres.backup-verify", **encrypted)
        assert verified.code == 0, verified.text
        postgres.given(**encrypted).settled("postgres")
        assert postgres("postgres", **encrypted).steps("changed") == set()
    finally:
        assert postgres("postgres").code == 0
    taken = postgres("postgres.backup", "--type", "full")
    assert taken.code == 0, taken.text
    postgres.settled("postgres")
