"""Database, share and Airflow: typed on one server of each kind, and tasks on the others."""

from __future__ import annotations

import pytest
import yaml
from support.controller import PROJECT, Controller
from support.person import Person
from support.states import bare_hosts

pytestmark = pytest.mark.long

TYPED = {"sql3": "sql1", "ftp": "nfs2", "scheduler2": "airflow", "worker1": "scheduler2"}
"""The server that a person sets up: one to compare it with."""


@pytest.fixture(scope="module")
def person():
    """Section 1 is done everywhere, and RabbitMQ and HAProxy run."""
    with bare_hosts("chapters", PROJECT / "hosts.yaml") as lab:
        fab = Controller(lab)
        somebody = Person(lab, fab)
        hosts = yaml.safe_load((PROJECT / "hosts.yaml").read_text())["hosts"]
        others = ",".join(name for name in hosts if name not in TYPED)
        done(fab, "--accept-host-keys", "ssh.trust")
        done(fab, "-H", others, "ssh.bootstrap", "base", "hostnames", "hosts")
        assert somebody.inv("secrets.generate").code == 0
        for host in TYPED:
            somebody.types_section_one(host)
        done(fab, "ssh", "rabbitmq")
        yield somebody


def done(fab: Controller, *arguments: str) -> None:
    answer = fab(*arguments)
    assert answer.code == 0, answer.text


def test_a_member_of_the_database_by_hand(person):
    others = ("-H", "sql1,sql2")
    done(person.fab, "-H", "sql1,sql2,nfs2", "postgres.repo")
    done(person.fab, *others, "postgres.install", "postgres.keys", "postgres.certificates")
    for chapter in ("repo", "install", "keys", "certificates"):
        person.types("sql3", f"postgres.{chapter}", "--ask")
    done(person.fab, *others, "postgres.etcd")
    for chapter in ("etcd", "etcd-members"):
        person.types("sql3", f"postgres.{chapter}", "--ask")
    done(person.fab, "-H", "sql1,sql2,nfs2", "postgres.backup-keys")
    for chapter in ("backup-keys", "backup-network"):
        person.types("sql3", f"postgres.{chapter}", "--ask")
    done(person.fab, "-H", "sql1,sql2,nfs2", "postgres.backup-network")
    done(person.fab, *others, "postgres.patroni")
    person.types("sql3", "postgres.patroni", "--ask")
    done(person.fab, "postgres")
    person.nothing_left("sql3", TYPED["sql3"], "postgres")


def test_the_standby_of_the_share_by_hand(person):
    for chapter in ("server", "sync-keys"):
        person.types("ftp", f"nfs.{chapter}", "--ask")
    done(person.fab, "-H", "nfs2", "nfs.server", "nfs.sync-keys", "nfs.sync")
    for chapter in ("sync", "vip"):
        person.types("ftp", f"nfs.{chapter}", "--ask")
    done(person.fab, "-H", "nfs2,airflow,haproxy2", "nfs")
    person.nothing_left("ftp", TYPED["ftp"], "nfs")


def test_the_share_is_mounted_by_hand(person):
    for host in ("scheduler2", "worker1"):
        person.types(host, "nfs.mounts", "--ask")
        person.nothing_left(host, "airflow", "nfs")


def test_python_is_shipped_by_hand(person):
    done(person.fab, "-H", "airflow", "python-build")
    person.types("airflow", "python-build.ship", "--ask")
    for host in ("scheduler2", "worker1"):
        person.types(host, "python-build.receive", "--ask")
        person.nothing_left(host, "airflow", "python-build")


def test_a_scheduler_and_a_worker_by_hand_run_a_dag(person):
    done(person.fab, "haproxy")
    tasks = "-H", "airflow,haproxy2,nfs2,ftp"
    done(person.fab, *tasks, "airflow.user", "airflow.directories")
    done(person.fab, "airflow.install")
    for host in ("scheduler2", "worker1"):
        for chapter in ("user", "directories"):
            person.types(host, f"airflow.{chapter}", "--ask")
    person.types("airflow", "airflow.ship", "--ask")
    done(person.fab, *tasks, "airflow.receive")
    for host in ("scheduler2", "worker1"):
        person.types(host, "airflow.receive", "--ask")
    keyed = "airflow.web-keys", "airflow.web-certificates"
    done(person.fab, "-H", "airflow,haproxy2", *keyed)
    done(person.fab, *tasks, "airflow.configure")
    for host in ("scheduler2", "worker1"):
        person.types(host, "airflow.configure", "--ask")
    done(person.fab, "airflow.database")
    person.types("worker1", "airflow.keys", "--ask")
    done(person.fab, "airflow.targets", "airflow.connections", "airflow.dags")
    done(person.fab, *tasks, "systemd")
    for host in ("scheduler2", "worker1"):
        person.types(host, "systemd", "--ask")
        person.nothing_left(host, TYPED[host], "python-build", "airflow", "systemd")
    done(person.fab, "airflow.smoke")
