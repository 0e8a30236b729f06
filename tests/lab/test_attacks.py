"""What accounts without rights try on the servers: none of it makes them more than they are.

Each attack gives a path that the product writes, in a folder of the attacker's, another meaning.
What root alone may read and change lies in FOLDER; nothing of it changes, and nobody learns it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from support.controller import Controller
from support.database import SQL
from support.share import SERVERS, SHARE, Share, tell

from runbook.declare.step import quote

STATE = "storage"
HOSTS = (*SHARE, *SQL, "card1")

FOLDER = "/etc/only-root"
SECRET = f"{FOLDER}/secret"
WORDS = "what-only-root-reads"

LOOK = f"find {FOLDER} -printf '%p %y %m %u:%g %s\\n' | sort; sha256sum {SECRET}"


@dataclass
class Attacker:
    """A process of an account on a host, which plants and takes away."""

    on: object
    host: str
    account: str

    def __call__(self, command: str) -> str:
        return self.on(self.host, f"cd /; runuser -u {self.account} -- bash -c {quote(command)}")

    @contextmanager
    def link(self, path: str, target: str) -> Iterator[None]:
        """The path is a link for as long as this lasts; what was there comes back."""
        self(f"[ ! -e {path} ] || mv {path} {path}.kept; ln -s {target} {path}")
        before = self.on(self.host, LOOK)
        try:
            yield
            assert self.on(self.host, LOOK) == before
            assert self.on(self.host, f"readlink {path}") == target, "it was silently removed"
        finally:
            self(f"rm -rf {path}; [ ! -e {path}.kept ] || mv {path}.kept {path}")


@pytest.fixture(scope="module")
def attacker(on, fab):
    """attacker("ftp", "airflow"); the folder that they want is on every host."""
    assert fab("airflow.user", "airflow.directories").code == 0
    for host in HOSTS:
        on(host, f"install -d -m 0700 {FOLDER}; umask 077; echo {WORDS} >{SECRET}")
    return lambda host, account: Attacker(on, host, account)


@pytest.fixture(scope="module")
def share(lab) -> Share:
    return Share(lab)


def refused(fab: Controller, host: str, task: str, *words: str) -> None:
    """Neither plan nor run follow, and both say what they did not follow."""
    for arguments in (("--plan",), ()):
        answer = fab(*arguments, "-H", host, task)
        for word in words:
            assert word in answer.text
        assert WORDS not in answer.text
        assert answer.code == 1, answer.text


# Links


@pytest.mark.parametrize(
    ("host", "task", "path", "target"),
    [
        ("airflow", "airflow.directories", "/app1/airflow/plugins", FOLDER),
        ("ftp", "nfs.server", "/app1/airflow/rescued", FOLDER),
        ("ftp", "nfs.sync", "/home/airflow/.ssh", FOLDER),
        ("ftp", "nfs.sync", "/home/airflow/.ssh/authorized_keys", SECRET),
    ],
)
def test_a_link_in_a_folder_of_airflows_is_not_followed(attacker, fab, host, task, path, target):
    with attacker(host, "airflow").link(path, target):
        refused(fab, host, task, f"{path} is a link", f"runuser -u airflow -- rm {path}")
    again = fab("-H", host, task)
    assert again.code == 0, again.text
    assert again.steps("changed") == set()


def test_a_link_in_postgres_tls_folder_is_not_followed(attacker, fab):
    tls = "/etc/pgbackrest/tls"
    postgres = attacker("sql1", "postgres")
    with postgres.link(f"{tls}/host.key", SECRET), postgres.link(f"{tls}/host.crt", SECRET):
        answer = fab("-H", "sql1", "postgres.backup-keys")
        assert answer.code == 1
        assert f"{tls}/host.key" in answer.text
        assert WORDS not in answer.text
    assert fab("-H", "sql1", "postgres.backup-keys").steps("changed", "failed") == set()


def test_a_link_that_a_package_lets_etcd_make_is_not_followed(attacker, fab, on):
    """PGDG's package gives /etc/etcd to etcd, at each update."""
    on("sql1", "chown etcd /etc/etcd")
    with attacker("sql1", "etcd").link("/etc/etcd/etcd.conf", SECRET):
        answer = fab("postgres.etcd")
        assert answer.code == 1
        assert "/etc/etcd/etcd.conf is a link (etcd's)" in answer.text
        assert on("sql1", "stat -c %U /etc/etcd") == "root"
        on("sql1", "chown etcd /etc/etcd")
    again = fab("postgres.etcd")
    assert again.code == 0, again.text
    assert again.steps("changed") == {("sql1", "directory /etc/etcd")}


def test_a_public_key_that_is_a_link_tells_nothing(attacker, fab, on):
    """A worker's key goes to the servers that DAGs reach."""
    assert fab("-H", "worker1", "airflow.keys").code == 0
    with attacker("worker1", "airflow").link("/etc/airflow/ssh/id_ed25519.pub", SECRET):
        answer = fab("-H", "worker1", "airflow.targets")
        assert answer.code == 1
        assert WORDS not in answer.text
    assert fab("-H", "worker1", "airflow.targets").code == 0
    assert WORDS not in on("card1", "cat /home/airflow/.ssh/authorized_keys")


# Races


WINS_RACES = """
import os, sys
folder, target = sys.argv[1:]
while True:
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if name.startswith(".authorized_keys.") and not os.path.islink(path):
            try:
                os.symlink(target, path + "-")
                os.rename(path + "-", path)
            except OSError:
                pass
"""
"""Puts a link in the place of each file that somebody begins to write."""


def test_whoever_wins_the_race_for_a_temporary_file_gets_nothing(attacker, fab, on):
    airflow = attacker("ftp", "airflow")
    folder = "/home/airflow/.ssh"
    before = on("ftp", LOOK)
    on("ftp", f"cat >/usr/local/bin/wins-races <<'PROGRAM'\n{WINS_RACES}PROGRAM")
    on(
        "ftp",
        "systemd-run -q --unit=wins-races --uid=airflow "
        f"python3 /usr/local/bin/wins-races {folder} {SECRET}",
    )
    try:
        for _ in range(5):
            airflow(f"rm -f {folder}/authorized_keys")
            fab("-H", "ftp", "nfs.sync")
            assert on("ftp", LOOK) == before
    finally:
        on("ftp", f"systemctl stop wins-races; find {folder} -name '.authorized_keys.*' -delete")
    assert fab("-H", "ftp", "nfs.sync").code == 0
    assert on("ftp", f"stat -c '%U %a %F' {folder}/authorized_keys") == "airflow 600 regular file"


# Files whose content root's scripts read


def test_what_airflow_puts_into_the_state_is_neither_carried_out_nor_followed(
    attacker, share, fab, on
):
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
    tell(fab, f"{first} knows how old its files are")
    plan = fab("--plan", "nfs")
    assert evil not in plan.text
    assert fab("--yes", "nfs.resync").code == 0
    share.wait_until_fit(first)
    fab.settled("nfs")
    for server in SERVERS:
        assert on(server, "ls /etc/nfs-ha-executed 2>/dev/null || :") == ""
        assert on(server, "stat -c '%U %s' /etc/nfs-ha-target") == "root 0"
        on(server, f"rm -f /etc/nfs-ha-target {state}/.*.new")


# Folders that others may write


def test_a_folder_that_a_group_may_write_is_refused(attacker, fab, on):
    folder = "/etc/systemd/system"
    on("worker1", f"chmod g+w {folder}")
    try:
        refused(fab, "worker1", "nfs.mounts", f"{folder} can be written by", f"chmod go-w {folder}")
    finally:
        on("worker1", f"chmod g-w {folder}")
    assert fab("-H", "worker1", "nfs.mounts").steps("changed", "failed") == set()
