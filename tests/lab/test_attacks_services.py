"""What a service, or whoever has taken it over, may do on its server."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from support.drill import DAGS, Airflow

from tools.exposure import LOW, PAGE, QUESTION, UNITS, highest, measured

STATE = "whole"

OPEN = ("/root/open", "/home/open", "/etc/open", "/usr/open", "/opt/airflow/open", "/srv/open")
"""Folders that anybody may read and write, as far as their mode says."""


@pytest.fixture(scope="module")
def airflow(lab) -> Airflow:
    return Airflow(lab)


@pytest.fixture(scope="module")
def ratings(lab) -> dict[str, float]:
    """systemd's rating of each unit, the highest on any host."""
    return highest(lab.root_shell(host, QUESTION).stdout for host in lab.hosts())


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_service_may_do_little(ratings, unit):
    assert ratings[unit.name] <= LOW


def test_the_page_has_these_ratings(ratings):
    assert measured(ratings) in PAGE.read_text(encoding="utf-8"), measured(ratings)


@pytest.mark.parametrize(
    ("host", "unit"),
    [
        ("sql1", "etcd"),
        ("sql1", "patroni"),
        ("sql1", "pgbackrest"),
        ("sql1", "etcd-apart"),
        ("mq1", "rabbitmq-server"),
        ("airflow", "haproxy"),
        ("airflow", "keepalived"),
        ("active", "nfs-sync"),
        ("airflow", "airflow-scheduler"),
        ("airflow", "airflow-webserver"),
        ("worker1", "airflow-worker"),
    ],
)
def test_what_the_unit_says_holds_in_the_process(airflow, on, host, unit):
    """A kernel or a container that cannot do something makes systemd leave it out silently."""
    host = airflow.active() if host == "active" else host
    pid = on(host, f"systemctl show -p MainPID --value {unit}")
    status = on(host, f"cat /proc/{pid}/status")
    assert re.search(r"^Seccomp:\s+2$", status, re.M)
    unchanged = on(host, f"systemctl show -p NoNewPrivileges --value {unit}") == "no"
    assert re.search(rf"^NoNewPrivs:\s+{int(not unchanged)}$", status, re.M)
    [bounding] = re.findall(r"^CapBnd:\s+(\w+)$", status, re.M)
    wanted = on(host, f"systemctl show -p CapabilityBoundingSet --value {unit}").split()
    assert bin(int(bounding, 16)).count("1") <= len(wanted) <= 13
    entered = f"nsenter --mount --target {pid}"
    assert on(host, f"{entered} sh -c 'touch /usr/by-a-test 2>&1 || :'").endswith(
        "Read-only file system"
    )
    assert "rocky" in on(host, "ls /home")
    assert "rocky" not in on(host, f"{entered} ls /home")


@pytest.fixture(scope="module")
def tried(airflow, on) -> dict[str, Any]:
    """What a DAG's tasks found on the worker."""
    on("worker1", f"mkdir -p {' '.join(OPEN)} /usr/lib/modules/of-a-kernel; chmod 755 /root /home")
    on("worker1", f"for folder in {' '.join(OPEN)}; do chmod 777 $folder; done")
    on("worker1", "for folder in /root/open /home/open; do echo hidden >$folder/secret; done")
    on("worker1", "systemctl restart airflow-worker")
    text = (Path(__file__).parents[1] / "support/attack_dag.py").read_text()
    on(airflow.active(), f"cat >{DAGS}/attack.py <<'DAG'\n{text}DAG")
    airflow.wait_for("select 1 from dag where dag_id = 'attack' and is_active", 120)
    deadline = time.monotonic() + 120
    while not airflow.api("dags/attack/dagRuns", {"dag_run_id": "attack"}):
        assert time.monotonic() < deadline
        time.sleep(1)
    airflow.wait_for(
        "select 1 from dag_run where run_id = 'attack' and state in ('success', 'failed')", 120
    )
    done = airflow.ask("select task_id, state from task_instance where run_id = 'attack'")
    assert sorted(done) == [["attack", "success"], ["bash", "success"]]
    return json.loads(on("worker1", "cat /tmp/attack.json"))


@pytest.mark.parametrize(
    ("attempt", "answer"),
    [
        ("read /root/open/secret", "No such file or directory"),
        ("read /home/open/secret", "No such file or directory"),
        ("write /etc/open", "Read-only file system"),
        ("write /usr/open", "Read-only file system"),
        ("write /opt/airflow/open", "Read-only file system"),
        ("write /srv/open", "Read-only file system"),
        ("list /usr/lib/modules", "Permission denied"),
        ("see /dev/fuse", "No such file or directory"),
        ("make a file set-user-id", "Operation not permitted"),
        ("a user namespace", "Operation not permitted"),
        ("a packet socket", "Address family not supported by protocol"),
    ],
)
def test_a_task_cannot(tried, attempt, answer):
    assert tried[attempt] == answer


def test_a_task_has_no_capabilities_and_gains_none(tried):
    assert set(tried["capabilities"].values()) == {"0" * 16}
    assert tried["no new privileges"] == "1"


def test_tasks_still_work(tried, fab):
    assert tried["write home"] == "done"
    assert tried["from an earlier task"] == "here\n"
    answer = fab("airflow.smoke")
    assert answer.code == 0, answer.text
    assert "REACHED card1" in answer.text


def test_a_folder_for_tasks_is_a_setting(fab, settings, on):
    more = settings("airflow", writable=["/srv/open", "/srv/missing"])
    assert fab("-H", "worker1", "systemd.install", "systemd.start", **more).code == 0
    pid = on("worker1", "systemctl show -p MainPID --value airflow-worker")
    try:
        on("worker1", f"nsenter --mount --target {pid} touch /srv/open/by-a-test")
    finally:
        assert fab("-H", "worker1", "systemd.install", "systemd.start").code == 0
