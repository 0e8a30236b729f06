"""Python, Airflow and its services: what they do, and what is told and mended when they do not."""

from __future__ import annotations

import json
import sys

import pytest
from support.controller import PROJECT
from support.drill import DAGS, Airflow
from support.trusting import WEB, trusting

from fabfile.shared.tls import TRUSTED

STATE = "whole"

SERVERS = ("airflow", "scheduler2", "haproxy2", "ftp", "nfs2", "worker1")
UNITS = {
    "airflow": ("scheduler", "triggerer", "webserver", "flower"),
    "scheduler2": ("scheduler", "triggerer"),
    "haproxy2": ("webserver",),
    "worker1": ("worker",),
}


@pytest.fixture(scope="module")
def airflow(lab) -> Airflow:
    """The sections have been carried out."""
    return Airflow(lab)


def starts(airflow: Airflow) -> dict[str, str]:
    return {
        host: airflow.shell(
            host,
            "systemctl show -p ActiveEnterTimestampMonotonic "
            + " ".join(f"airflow-{unit}" for unit in units),
        )
        for host, units in UNITS.items()
    }


# Python


def test_a_source_with_another_hash_is_refused(fab, settings, on):
    url = "http://labmirror/sources/Python-3.11.2.tgz"
    wrong = settings("sources", python={"url": url, "sha256": "a" * 64})
    answer = fab("python-build.fetch", **wrong)
    assert answer.code == 1
    assert "which is not sources.python.sha256 of hosts.yaml." in answer.text
    assert "Nothing was kept." in answer.text
    assert on("airflow", "ls /var/cache/airflow-runbook/python-build | grep -c part || :") == "0"


def test_a_disk_too_small_for_the_build_is_told(fab, settings, on):
    folder = "/var/cache/airflow-runbook/python-build"
    on("airflow", "mkdir -p /root/small; mount -t tmpfs -o size=100m tmpfs /root/small")
    on("airflow", f"mount --bind /root/small {folder}")
    try:
        other = {"url": "http://labmirror/sources/Python-3.11.2.tgz", "sha256": "b" * 64}
        answer = fab("python-build.build", **settings("sources", python=other))
    finally:
        on("airflow", f"umount -l {folder} /root/small; rmdir /root/small")
    assert answer.code == 1
    assert "The build of Python takes 1500 MB there." in answer.text


def test_python_is_there_everywhere_and_not_the_systems(fab, on):
    answer = fab("python-build.check")
    assert answer.code == 0, answer.text
    for host in SERVERS:
        home = "/opt/airflow/python-3.11.2"
        assert on(host, f"{home}/bin/python3.11 -V") == "Python 3.11.2"
        assert not on(host, "readlink -f $(type -P python3)").startswith(home)
    again = fab("python-build")
    assert again.steps("changed", "failed") == set(), again.text


# Airflow


def test_a_second_run_changes_nothing(airflow, fab):
    before = starts(airflow)
    again = fab("python-build", "airflow", "systemd")
    assert again.code == 0, again.text
    assert again.steps("changed", "failed") == set()
    assert starts(airflow) == before
    planned = fab("--plan", "airflow", "systemd")
    assert planned.steps("differs") == set(), planned.text


def test_all_is_well(airflow, fab):
    fab.settled("airflow", 180)
    fab.settled("systemd")


def test_a_dag_runs_from_end_to_end(airflow, fab):
    answer = fab("airflow.smoke")
    assert answer.code == 0, answer.text
    assert "REACHED card1" in answer.text


def test_no_password_is_left_where_others_can_read_it(airflow, fab, on):
    for host in SERVERS:
        said = on(host, "journalctl -b --no-pager -o cat; ps axww -o args; cat /etc/airflow/*.env")
        assert not any(secret in said for secret in airflow.secrets.values())
        assert on(host, "stat -c '%a %U %G' /etc/airflow/airflow.cfg") == "640 root airflow"
        assert on(host, "runuser -u nobody -- cat /etc/airflow/airflow.cfg 2>&1 || :").endswith(
            "Permission denied"
        )


def test_both_webservers_answer_the_proxies_and_the_vip_everybody(airflow, on):
    ask = f"curl -sf -m 20 --cacert {TRUSTED}"
    for proxy, address in (("haproxy2", "192.168.83.129"), ("airflow", "192.168.83.154")):
        assert "healthy" in on(proxy, f"{ask} https://{address}:8080/health")
    told = airflow.api("dags?limit=5", base=WEB)
    assert "smoke" in [dag["dag_id"] for dag in told["dags"]]


def test_a_person_finds_the_run_and_its_log_in_the_web_ui(airflow, fab, lab):
    assert fab("airflow.smoke").code == 0
    [[run]] = airflow.ask(
        "select run_id from dag_run where dag_id = 'smoke' order by start_date desc limit 1"
    )
    done = lab.exec(
        [sys.executable, str(PROJECT / "tests/support/browser.py"), WEB, run],
        input=airflow.secrets["airflow_admin"],
        capture_output=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert "smoke" in seen["dags"]
    assert seen["log"]


def test_flower_wants_a_login(airflow, lab):
    ask = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", *trusting(lab)]
    told = lab.exec([*ask, "https://192.168.83.129:5555/"], capture_output=True).stdout
    assert told == "401"


# What is wrong is told, and mended by what the check names


def test_a_configuration_that_differs_on_one_server(airflow, fab, on):
    on("worker1", "sed -i 's/^fernet_key = .*/fernet_key = other/' /etc/airflow/airflow.cfg")
    answer = fab("airflow.check")
    assert answer.code == 1
    assert ("worker1", "file /etc/airflow/airflow.cfg") in answer.steps("differs")
    assert fab("-H", "worker1", "airflow", "systemd").code == 0
    fab.settled("airflow")


def test_damaged_installations_are_found_by_check_and_plan_and_replaced(airflow, fab, on):
    damages = {
        "scheduler2": "echo '# x' >>{}",
        "ftp": "rm {}",
        "worker1": "chmod 600 {}",
        "haproxy2": "chown airflow {}",
    }
    name = airflow.installation("airflow")
    file = f"/opt/airflow/{name}/lib/python3.11/site-packages/kombu/__init__.py"
    for host, damage in damages.items():
        on(host, damage.format(file))
    said = fab("airflow.check").text
    assert all(host in said.split("damaged on ")[1].split(":")[0] for host in damages), said
    ships = {("airflow", f"Airflow {name} has arrived on {host}") for host in damages}
    ships |= {(host, f"/opt/airflow/{name} is as airflow has it") for host in damages}
    assert fab("--plan", "airflow.ship", "airflow.receive").steps("differs") == ships
    assert fab("airflow.ship", "airflow.receive").steps("changed") == ships
    fab.settled("airflow")


def test_packages_of_others_are_not_removed(airflow, fab, on):
    extra = "/opt/airflow/current/lib/python3.11/site-packages/our_operators-1.0.dist-info"
    on("worker1", f"mkdir {extra}")
    try:
        answer = fab("airflow.ship")
        assert answer.code == 1
        assert "did not install: our-operators; they would be removed." in answer.text
    finally:
        on("worker1", f"rmdir {extra}")
    assert fab("--plan", "airflow.ship").steps("differs") == set()


def test_a_python_that_was_damaged_is_copied_again(airflow, fab, on):
    on("worker1", "rm /opt/airflow/python-3.11.2/lib/python3.11/json/encoder.py")
    again = {
        ("airflow", "Python 3.11.2 has arrived on worker1"),
        ("worker1", "/opt/airflow/python-3.11.2 is as airflow has it"),
    }
    assert fab("--plan", "python-build").steps("differs") == again
    assert fab("python-build").steps("changed") == again
    assert fab("python-build.check").code == 0


def test_a_dag_that_cannot_be_imported_is_not_shipped(airflow, fab, settings, tmp_path, on):
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "fine.py").write_text("print('hello')\n")
    (tmp_path / "dags" / "broken.py").write_text("from airflow import DAGG\n")
    answer = fab("airflow.dags", **settings("airflow", dags=str(tmp_path / "dags")))
    assert answer.code == 1
    assert "broken.py: ImportError: cannot import name 'DAGG'" in answer.text
    assert "Nothing was released." in answer.text
    assert on("worker1", f"ls {DAGS}/fine.py 2>/dev/null || echo none") == "none"


def test_a_dag_that_left_the_project_leaves_the_share(airflow, fab, settings, tmp_path, on):
    dags = tmp_path / "dags"
    (dags / "team").mkdir(parents=True)
    (dags / "team" / "one.py").write_text("ONE = 1\n")
    assert fab("airflow.dags", **settings("airflow", dags=str(dags))).code == 0
    assert on("worker1", f"cat {DAGS}/team/one.py") == "ONE = 1"
    on("airflow", f"runuser -u airflow -- touch {DAGS}/by_hand.py")
    plan = fab("--plan", "airflow.dags")
    assert "removed: team/one.py" in plan.text
    assert fab("airflow.dags").code == 0
    assert on("worker1", f"ls -d {DAGS}/team 2>/dev/null || echo none") == "none"
    assert on("worker1", f"ls {DAGS}/by_hand.py")
    on("airflow", f"rm {DAGS}/by_hand.py")


def test_a_database_that_is_away_is_told(airflow, fab, on):
    for proxy in ("airflow", "haproxy2"):
        on(proxy, "systemctl stop haproxy")
    try:
        answer = fab("airflow.database")
        assert answer.code == 1
        assert "through 192.168.83.210 (fab haproxy.check)" in answer.text
    finally:
        for proxy in ("airflow", "haproxy2"):
            on(proxy, "systemctl start haproxy")
    fab.settled("airflow", 180)


def test_a_broker_password_that_is_wrong_is_told(airflow, fab, on):
    on(
        "worker1",
        "sed -i 's/^broker_url = .*@mq1.*/broker_url = amqps:\\/\\/airflow:x@mq1:5671\\/airflow/'"
        " /etc/airflow/airflow.cfg; systemctl restart airflow-worker",
    )
    answer = fab("airflow.check", "systemd.check")
    assert answer.code == 1
    assert ("worker1", "file /etc/airflow/airflow.cfg") in answer.steps("differs")
    assert any("its worker answers" in title for _, title in answer.steps("error"))
    assert fab("-H", "worker1", "airflow.configure", "systemd").code == 0
    fab.settled("airflow")


def test_a_rolling_restart_never_takes_both(airflow, fab, lab):
    answer = fab("systemd.restart")
    assert answer.code == 0, answer.text
    fab.settled("airflow", 180)


def test_logs_are_shown(airflow, fab):
    answer = fab("systemd.logs", "worker1", "worker", "--lines", "20")
    assert answer.code == 0
    assert "celery@worker1" in answer.text
