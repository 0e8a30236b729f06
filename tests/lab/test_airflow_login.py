"""Logins of a real OpenLDAP, in a real browser."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.controller import PROJECT, Controller
from support.directory import ADMINS, BASE, PASSWORDS, READER, Directory
from support.drill import Airflow
from support.trusting import WEB

STATE = "whole"

pytestmark = pytest.mark.long

FILE = "/etc/airflow/webserver_config.py"


@pytest.fixture(scope="module")
def airflow(lab) -> Airflow:
    return Airflow(lab)


@pytest.fixture(scope="module")
def directory(lab) -> Directory:
    return Directory(lab, "card1")


@pytest.fixture(scope="module")
def team(lab, fab, on, directory, tmp_path_factory) -> Controller:
    """The controller of a team with a directory; its CA and locks are beside hosts.yaml."""
    folder = tmp_path_factory.mktemp("team")
    mirror = on("airflow", "getent ahostsv4 labmirror | awk '{ print $1; exit }'")
    settings = yaml.safe_load(Path(lab.environment()["RUNBOOK_OVERRIDE"]).read_text())
    settings["sources"]["pypi"]["index"] = f"http://{mirror}/simple/"
    settings["airflow"] |= {
        "packages": ["python-ldap"],
        "source_packages": ["python-ldap"],
        "build_packages": ["openldap-devel", "cyrus-sasl-devel"],
        "login": {
            "ldap": {
                "url": directory.url,
                "ca": "ldap-ca.pem",
                "search": f"ou=people,{BASE}",
                "bind": READER,
                "password": {"secret": "ldap_bind"},
            },
            "roles": {ADMINS: ["Admin"]},
        },
    }
    (folder / "hosts.yaml").write_text((PROJECT / "hosts.yaml").read_text())
    (folder / "override.yaml").write_text(yaml.safe_dump(settings))
    (folder / "ldap-ca.pem").write_text(directory.ca)
    return fab.given(
        RUNBOOK_INVENTORY=str(folder / "hosts.yaml"),
        RUNBOOK_OVERRIDE=str(folder / "override.yaml"),
        RUNBOOK_SECRET_LDAP_BIND=PASSWORDS["airflow"],
    )


def logged_in(lab, user: str, password: str, run: str = "") -> dict[str, Any]:
    """What a person sees in a browser who logs in on the VIP.

    Airflow allows five attempts in 40 seconds.
    """
    time.sleep(8)
    done = lab.exec(
        [sys.executable, str(PROJECT / "tests/support/browser.py"), WEB, run, user],
        input=password,
        capture_output=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_without_the_package_nothing_is_written(airflow, team):
    answer = team("airflow.configure")
    assert answer.code == 1
    assert "fab airflow.lock" in answer.text
    assert airflow.shell("airflow", f"ls {FILE} 2>/dev/null || :") == ""


def test_the_package_is_built_and_used(airflow, team):
    for tasks in (
        ("airflow.lock",),
        ("airflow.install", "airflow.ship", "airflow.receive"),
    ):
        done = team(*tasks)
        assert done.code == 0, done.text
    # The switch writes all settings, those of the logins among them.
    switched = team("--yes", "airflow.switch")
    assert switched.code == 0, switched.text
    team.settled("airflow", 180)


def test_a_plan_and_a_log_show_no_password(airflow, team):
    assert PASSWORDS["airflow"] in airflow.shell("airflow", f"cat {FILE}")
    assert airflow.shell("airflow", f"stat -c '%a %U %G' {FILE}") == "640 root airflow"
    airflow.shell("airflow", f"sed -i 's/^AUTH_LDAP_BIND_PASSWORD.*/&#/' {FILE}")
    planned = team.text("--plan", "airflow.configure")
    assert "webserver_config.py" in planned.text
    assert PASSWORDS["airflow"] not in planned.text
    assert team("airflow.configure", "systemd").code == 0
    again = team("airflow.configure", "systemd")
    assert again.steps("changed", "failed") == set(), again.text


def test_a_person_of_a_group_finds_the_run_and_its_log(airflow, team, lab):
    assert team("airflow.smoke").code == 0
    [[run]] = airflow.ask(
        "select run_id from dag_run where dag_id = 'smoke' order by start_date desc limit 1"
    )
    seen = logged_in(lab, "jane", PASSWORDS["jane"], run)
    assert "smoke" in seen["dags"]
    assert seen["log"]
    roles = airflow.ask(
        "select r.name from ab_user u join ab_user_role m on m.user_id = u.id "
        "join ab_role r on r.id = m.role_id where u.username = 'jane' order by 1"
    )
    assert roles == [["Admin"], ["Public"]]


def test_a_person_of_no_group_sees_nothing(lab, team):
    seen = logged_in(lab, "joe", PASSWORDS["joe"])
    assert "has no roles and/or permissions" in seen["text"]


@pytest.mark.parametrize("user", ["jane", "*", "nobody"])
def test_a_wrong_password_or_name_does_not_open(lab, team, user):
    seen = logged_in(lab, user, "wrong")
    assert "/login" in seen["url"]


def test_the_administrator_gets_in_while_the_directory_is_down(airflow, lab, team, directory):
    directory.stop()
    assert "/login" in logged_in(lab, "jane", PASSWORDS["jane"])["url"]
    assert "/home" in logged_in(lab, "admin", airflow.secrets["airflow_admin"])["url"]
    directory.start()
    assert "/home" in logged_in(lab, "jane", PASSWORDS["jane"])["url"]


def test_another_ca_is_not_believed(airflow, lab, team, directory):
    """A directory with another certificate gets nobody's password."""
    airflow.shell("airflow", "grep -q AUTH_LDAP_TLS_DEMAND.*True " + FILE)
    directory.stop()
    directory.shell(
        "cd /root/directory && openssl req -x509 -newkey rsa:2048 -nodes -days 30 -keyout own.key "
        "-out own.pem -subj /CN=$HOSTNAME -addext subjectAltName=DNS:$HOSTNAME 2>&1"
    )
    directory.start()
    assert "/login" in logged_in(lab, "jane", PASSWORDS["jane"])["url"]
