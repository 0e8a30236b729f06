"""What a local account of a client can do to the share, and a stranger to the services."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from support.database import ADDRESSES, SQL
from support.share import DAGS, SHARE, Share
from support.share import VIP as NFS_VIP
from support.strangers import STRANGER, stranger

from fabfile.postgres.common import PATRONI_TLS
from fabfile.shared.tls import TRUSTED, for_clients

STATE = "storage"
HOSTS = (*SHARE, *SQL)

VIP = "192.168.83.210"
WRITER = "scheduler2"
SOMEBODY = 4711
"""The uid and gid of an account that a writer may have."""

AS_USER = f"""
import sys
import nfs_rs as nfs
client = nfs.Client.connect(
    "nfs://{NFS_VIP}/", versions=["4.1"], uid=int(sys.argv[1]), gid=int(sys.argv[1])
)
path = f"{DAGS}/{{sys.argv[2]}}"
try:
    file = client.open(path, "w+b")
    file.write_at(b"x", 0)
    file.close()
    print("written")
except (OSError, nfs.NfsError) as error:
    print("refused", error)
"""
"""What an NFS client sends to the server when an account of its host writes a file.

The lab's client, unlike the kernel's, judges by itself who may write.
"""


@pytest.fixture(scope="module")
def share(lab) -> Share:
    return Share(lab)


@pytest.fixture
def write_as(on):
    """write_as(host, uid, name) -> what the server says."""

    def write(host: str, uid: int, name: str) -> str:
        return on(host, f"python3 - {uid} {name} <<'PROGRAM'\n{AS_USER}PROGRAM")

    return write


def test_an_account_of_a_writer_cannot_change_dags(share, on, write_as):
    assert write_as(WRITER, SOMEBODY, "planted.py").startswith("refused")
    there = on(share.active(), f"ls {DAGS}")
    assert "planted.py" not in there


def test_airflow_and_root_of_a_writer_change_dags_as_airflow(share, on, write_as):
    for uid, name in ((50000, "by-airflow.py"), (0, "by-root.py")):
        assert write_as(WRITER, uid, name) == "written"
        assert on(share.active(), f"stat -c '%U %G' {DAGS}/{name}") == "airflow airflow"
        on(share.active(), f"rm {DAGS}/{name}")


@pytest.mark.parametrize("uid", [0, 50000, SOMEBODY])
def test_nobody_on_a_reader_changes_dags(write_as, uid):
    assert write_as("worker1", uid, "planted.py").startswith("refused")


# The services themselves


def test_services_answer_their_callers_and_no_stranger(lab):
    with stranger(lab) as network:
        network.addresses |= {"vip": VIP, "nfs-vip": NFS_VIP}
        for caller, target, port in (
            ("worker1", "nfs-vip", 2049),
            ("ftp", "nfs2", 2049),
            ("sql1", "sql2", 2379),
            ("sql1", "sql2", 2380),
            ("haproxy2", "sql1", 8008),
            ("airflow", "sql1", 5432),
            ("worker1", "vip", 5000),
            ("sql3", "vip", 5001),
        ):
            assert network.open(caller, target, port) == {port}, (caller, target)
            assert network.open(STRANGER, target, port) == set(), target


ASK = "curl -s -o /dev/null -w '%{http_code}' -m 5"
SAME = '{"ttl": 20}'
"""A change that changes nothing."""


def test_patroni_takes_changes_from_members_only(lab, on):
    """HAProxy's servers reach its REST API, and the password alone does not do."""
    kept = Path(lab.environment()["RUNBOOK_STATE"]) / "secrets.yaml"
    password = yaml.safe_load(kept.read_text())["patroni_restapi"]
    place = f"--cacert {TRUSTED} https://{ADDRESSES['sql1']}:8008/config"
    change = f"{ASK} -u 'patroni:{password}' -X PATCH -d '{SAME}' {place}"
    assert on("haproxy2", change) == "403"
    assert on("sql2", change) == "403"
    assert on("sql2", f"{change} {for_clients(PATRONI_TLS)}") == "200"
