"""Variables, pools, connections, roles and users of hosts.yaml in a real Airflow."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from support.controller import PROJECT, Controller
from support.drill import DAGS, Airflow
from support.trusting import WEB, trusting

STATE = "whole"

pytestmark = pytest.mark.long

SECRETS = {"own_token": "s3cr3t-token-value", "own_dw": "s3cr3t-dw-value"}
TITLE = "Airflow has what airflow.objects describes: "

OBJECTS = {
    "variables": {
        "bucket": "exports",
        "limits": {"rows": 1000, "retry": True},
        "token": {"secret": "own_token"},
    },
    "pools": {"gpu": 2},
    "connections": {
        "dw": {
            "conn_type": "postgres",
            "host": "dw.example.com",
            "login": "etl",
            "password": {"secret": "own_dw"},
            "extra": {"sslmode": "require"},
        }
    },
    "roles": {"analyst": {"DAGs": ["can_read"], "DAG Runs": ["can_read"]}},
    "users": {"jane": {"roles": ["analyst"], "email": "jane@example.com"}},
}

DAG = """\
from datetime import datetime

from airflow import DAG
from airflow.hooks.base import BaseHook
from airflow.models import Variable
from airflow.operators.python import PythonOperator


def uses():
    assert Variable.get("limits", deserialize_json=True) == {"rows": 1000, "retry": True}
    assert Variable.get("token").startswith("s3cr3t-token")
    assert BaseHook.get_connection("dw").password.startswith("s3cr3t-dw")


with DAG("objects", start_date=datetime(2024, 1, 1), schedule=None, is_paused_upon_creation=False):
    PythonOperator(task_id="uses", pool="gpu", python_callable=uses)
"""


@pytest.fixture(scope="module")
def airflow(lab) -> Airflow:
    return Airflow(lab)


@pytest.fixture(scope="module")
def asking(fab, tmp_path_factory) -> Callable[..., Controller]:
    """asking({…}) -> the controller whose hosts.yaml describes these objects."""
    folder = tmp_path_factory.mktemp("objects")

    def controller(objects: object, **secrets: str) -> Controller:
        data = yaml.safe_load((PROJECT / "lab/override.yaml").read_text())
        data["airflow"]["objects"] = objects
        override = folder / f"override-{len(list(folder.iterdir()))}.yaml"
        override.write_text(yaml.safe_dump(data))
        values = {
            f"RUNBOOK_SECRET_{name.upper()}": value
            for name, value in {**SECRETS, **secrets}.items()
        }
        return fab.given(RUNBOOK_OVERRIDE=str(override), **values)

    return controller


@pytest.fixture(scope="module")
def team(asking) -> Controller:
    return asking(OBJECTS)


def title(objects: dict) -> str:
    kinds = ("variables", "pools", "connections", "roles", "users")
    numbers = {kind: len(objects.get(kind, {})) for kind in kinds}
    said = [f"{n} {kind[: len(kind) - (n == 1)]}" for kind, n in numbers.items() if n]
    others = [f"no other {kind}" for kind in kinds if kind in objects.get("remove_others", ())]
    return TITLE + ", ".join([*said, *others])


def password(lab, name: str) -> str:
    file = Path(lab.environment()["RUNBOOK_STATE"]) / "secrets.yaml"
    return yaml.safe_load(file.read_text())[f"airflow_user_{name}"]


def as_jane(lab, path: str) -> str:
    """The status code that the REST API has for jane."""
    ask = ["curl", "-s", "-m", "20", "-o", "/dev/null", "-w", "%{http_code}", *trusting(lab)]
    login = f'user = "jane:{password(lab, "jane")}"'
    done = lab.exec(
        [*ask, "-K", "-", f"{WEB}/api/v1/{path}"], input=login, capture_output=True, text=True
    )
    return done.stdout


def test_a_plan_names_them_and_shows_no_value(airflow, team):
    planned = team.text("--plan", "airflow.objects")
    assert planned.code == 0, planned.text
    for line in (
        *("added: variable bucket", "added: variable limits", "added: variable token"),
        *("added: pool gpu", "added: connection dw", "added: role analyst", "added: user jane"),
    ):
        assert line in planned.text
    assert not any(value in planned.text for value in SECRETS.values())
    assert airflow.ask("select 1 from variable where key = 'bucket'") == []


def test_a_run_makes_them_and_a_second_one_changes_nothing(airflow, team):
    made = team("airflow.objects")
    assert made.code == 0, made.text
    assert ("airflow", title(OBJECTS)) in made.steps("changed")
    again = team("airflow")
    assert again.steps("changed", "failed") == set(), again.text
    assert team("--plan", "airflow.objects").steps("differs") == set()
    team.settled("airflow", 120)


def test_a_dag_uses_them(airflow, team):
    airflow.shell(airflow.active(), f"cat >{DAGS}/objects.py <<'DAG'\n{DAG}DAG")
    airflow.wait_for("select 1 from dag where dag_id = 'objects' and is_active", 120)
    assert airflow.api("dags/objects/dagRuns", {"dag_run_id": "one"})["dag_run_id"] == "one"
    airflow.wait_for("select 1 from dag_run where run_id = 'one' and state = 'success'", 120)


def test_a_user_may_what_the_role_says(airflow, team, lab):
    assert as_jane(lab, "dags") == "200"
    assert as_jane(lab, "connections") == "403"
    assert as_jane(lab, "variables/token") == "403"


def test_no_value_is_in_a_command_line_a_log_or_a_file(airflow, team, lab, on):
    values = [*SECRETS.values(), password(lab, "jane")]
    for host in ("airflow", "scheduler2", "worker1"):
        said = on(host, "journalctl -b --no-pager -o cat; ps axww -o args")
        assert not any(value in said for value in values)
    found = on("airflow", "grep -rlF s3cr3t- /etc /run /tmp /var/tmp /app1/airflow || :")
    assert [path for path in found.split() if not path.startswith(DAGS)] == []
    journal = (Path(lab.environment()["RUNBOOK_STATE"]) / "journal.jsonl").read_text()
    assert not any(value in journal for value in values)
    stored = airflow.ask("select val from variable where key = 'token'")
    assert stored[0][0].startswith("gAAAA"), "encrypted with the fernet key"


def test_what_somebody_changes_is_told_by_check_and_plan_and_set_back(airflow, team, on):
    on("airflow", "airflow variables set bucket other; airflow pools set gpu 9 x")
    airflow.ask("update ab_user set active = false where username = 'jane' returning 1")
    check = team("airflow.check")
    assert check.code == 1
    assert ("airflow", title(OBJECTS)) in check.steps("differs")
    planned = team.text("--plan", "airflow.objects").text
    assert "changed: variable bucket" in planned
    assert "changed: pool gpu (slots)" in planned
    assert "changed: user jane (not active)" in planned
    assert team("airflow.objects").code == 0
    team.settled("airflow", 120)


def test_a_new_secret_is_told_by_its_part(airflow, asking):
    newer = asking(OBJECTS, own_dw="s3cr3t-dw-newer")
    planned = newer.text("--plan", "airflow.objects").text
    assert "changed: connection dw (password)" in planned
    assert "s3cr3t-dw" not in planned
    assert newer("airflow.objects").code == 0
    assert newer("airflow.objects").steps("changed") == set()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"users": {"ann": {"roles": ["nobody"]}}}, "user ann: there is no role nobody"),
        ({"roles": {"r": {"Dags": ["can_read"]}}}, "role r: Airflow has no resource Dags"),
    ],
)
def test_what_cannot_be_changes_nothing(airflow, asking, changed, words):
    wrong = asking({**copy.deepcopy(OBJECTS), "variables": {"late": "x"}, **changed})
    planned = wrong.text("--plan", "airflow.objects").text
    assert words in planned
    assert "added:" not in planned
    answer = wrong("airflow.objects")
    assert answer.code == 1
    assert words in answer.text
    assert "Nothing was changed." in answer.text
    assert airflow.ask("select 1 from variable where key = 'late'") == []


def test_after_a_new_fernet_key_nothing_differs(airflow, asking, fab):
    assert fab("--yes", "airflow.secrets-rotate", "--what", "fernet").code == 0
    newer = asking(OBJECTS, own_dw="s3cr3t-dw-newer")
    assert newer("--plan", "airflow.objects").steps("differs") == set()


def test_a_user_of_hosts_yaml_is_changed_there(team):
    answer = team("--yes", "airflow.user-remove", "jane")
    assert answer.code == 2
    assert "jane is described in airflow.objects.users" in answer.text


def test_others_stay_until_their_kind_is_to_be_removed(airflow, asking, on, fab):
    on(
        "airflow",
        "airflow variables set by_hand x; airflow connections add by_hand --conn-type ssh",
    )
    newer = asking(OBJECTS, own_dw="s3cr3t-dw-newer")
    assert newer("airflow.objects").steps("changed") == set()
    more = asking({**OBJECTS, "pools": {"gpu": 3}}, own_dw="s3cr3t-dw-newer")
    planned = more.text("--plan", "airflow.objects").text
    assert "left alone: variables by_hand" in planned
    assert "left alone: connections by_hand" in planned
    less = {
        "variables": OBJECTS["variables"],
        "remove_others": ["variables", "pools", "connections", "roles", "users"],
    }
    fewer = asking(less)
    planned = fewer.text("--plan", "airflow.objects").text
    for line in ("variable by_hand", "connection by_hand", "connection dw", "pool gpu"):
        assert f"removed: {line}" in planned
    assert "removed: user jane" in planned
    assert "removed: role analyst (of jane)" in planned
    assert fewer("airflow.objects").code == 0
    kept = {row[0] for row in airflow.ask("select conn_id from connection")}
    assert kept == {"card1", "smoke"}
    assert airflow.ask("select pool from slot_pool") == [["default_pool"]]
    assert [name for name, *_ in airflow.ask("select username from ab_user")] == ["admin"]
    assert fewer("airflow.objects").steps("changed") == set()
    assert fab("airflow.smoke").code == 0


def test_a_file_beside_the_inventory_says_the_same(lab, fab, tmp_path, on):
    (tmp_path / "hosts.yaml").write_text((PROJECT / "hosts.yaml").read_text())
    (tmp_path / "objects.yaml").write_text(json.dumps({"variables": {"bucket": "exports"}}))
    data = yaml.safe_load((PROJECT / "lab/override.yaml").read_text())
    data["airflow"]["objects"] = "objects.yaml"
    (tmp_path / "override.yaml").write_text(yaml.safe_dump(data))
    apart = fab.given(
        RUNBOOK_INVENTORY=str(tmp_path / "hosts.yaml"),
        RUNBOOK_OVERRIDE=str(tmp_path / "override.yaml"),
    )
    planned = apart("--plan", "airflow.objects")
    assert planned.code == 0, planned.text
    assert planned.steps("differs") == set(), "bucket is as the tests before have left it"
