"""Variables, pools, connections, roles and users in hosts.yaml: what may be said, and who sees it.

What Airflow makes of it: test_airflow_objects_program.py, and on lab hosts.
"""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import yaml
from conftest import PROJECT
from support.here import Here

from fabfile import CONTENTS, airflow
from fabfile.airflow import objects, users
from fabfile.airflow.users import USERS
from runbook.declare.facts import Facts
from runbook.errors import InventoryError, UsageError
from runbook.results import CHECK, DO, PLAN
from runbook.secrets.mask import MASK, Mask

VALUE = """sup3r "secret"\\ 'value' $x"""

SAID = {
    "variables": {
        "bucket": "exports",
        "limits": {"rows": 1000, "flags": [True, None, 1.5], "key": {"secret": "own"}},
        "query": "select 1\n\tfrom dual",
        "token": {"secret": "own"},
    },
    "pools": {"gpu": 2, "dw": {"slots": 8, "include_deferred": True}},
    "connections": {
        "dw": {
            "conn_type": "postgres",
            "host": "dw.example.com",
            "password": {"secret": "own"},
            "extra": {"token": {"secret": "own"}, "sslmode": "require"},
        },
        "hooks": {"secret": "own"},
    },
    "roles": {"analyst": {"DAGs": ["can_read"], "DAG:sales": ["can_edit"]}},
    "users": {"jane": {"roles": ["analyst"], "email": "jane@example.com"}},
    "remove_others": ["variables"],
}


@pytest.fixture
def load(tmp_path, monkeypatch):
    """load({…}) -> a cluster with these objects; load({…}, apart=True): in a file of their own."""
    monkeypatch.setenv("RUNBOOK_SECRET_OWN", VALUE)
    monkeypatch.setenv("RUNBOOK_SECRET_AIRFLOW_USER_JANE", "jane's own")

    def loaded(said, apart=False, mask=None):
        data = yaml.safe_load((PROJECT / "hosts.yaml").read_text())
        data["airflow"]["objects"] = "team/objects.yaml" if apart else said
        if apart:
            (tmp_path / "team").mkdir(exist_ok=True)
            (tmp_path / "team/objects.yaml").write_text(yaml.safe_dump(said))
        file = tmp_path / "hosts.yaml"
        file.write_text(yaml.safe_dump(data))
        return CONTENTS.load(file, mask=mask)

    return loaded


def steps_of(cluster) -> list:
    return list(objects.objects(cluster.hosts["airflow"], cluster))


def told(cluster) -> dict:
    """What the program gets on standard input."""
    return json.loads(steps_of(cluster)[-1].text)


# What hosts.yaml may say


def test_the_program_gets_the_values_and_what_it_may_never_remove(load):
    said = told(load(SAID))
    assert said["variables"] == {
        "bucket": "exports",
        "limits": {"rows": 1000, "flags": [True, None, 1.5], "key": VALUE},
        "query": "select 1\n\tfrom dual",
        "token": VALUE,
    }
    assert said["pools"] == {"gpu": {"slots": 2}, "dw": {"slots": 8, "include_deferred": True}}
    assert said["connections"]["hooks"] == VALUE
    assert said["connections"]["dw"] == {
        "conn_type": "postgres",
        "host": "dw.example.com",
        "password": VALUE,
        "extra": {"token": VALUE, "sslmode": "require"},
    }
    assert said["roles"] == SAID["roles"]
    assert said["users"] == {
        "jane": {"roles": ["analyst"], "email": "jane@example.com", "password": "jane's own"}
    }
    assert said["remove_others"] == ["variables"]
    assert said["kept"] == {
        "variables": [],
        "pools": ["default_pool"],
        "connections": ["card1", "smoke"],
        "roles": ["Admin", "Op", "User", "Viewer", "Public"],
        "users": ["admin"],
    }


def test_a_file_of_its_own_says_the_same(load):
    assert told(load(SAID, apart=True)) == told(load(SAID))
    assert load(SAID, apart=True).plain()["airflow"]["objects"]["variables"]["token"] == {
        "secret": "own"
    }


def test_by_default_airflow_is_not_even_started(cluster):
    steps = steps_of(cluster)
    assert steps, "the program is there for the first plan with objects"
    assert not any(objects.RUN in f"{step.test}{step.apply}" for step in steps)
    assert [host.name for host in objects.first_scheduler(cluster)] == ["airflow"]


def test_the_title_says_how_many(load):
    title = "Airflow has what airflow.objects describes: "
    assert steps_of(load(SAID))[-1].title == (
        f"{title}4 variables, 2 pools, 2 connections, 1 role, 1 user, no other variables"
    )
    assert steps_of(load({"remove_others": ["pools"]}))[-1].title == f"{title}no other pools"


def test_users_get_a_generated_password_in_secrets_yaml(load, monkeypatch):
    monkeypatch.delenv("RUNBOOK_SECRET_AIRFLOW_USER_JANE")
    cluster = load({"users": {"jane": {"roles": ["Viewer"]}}})
    password = told(cluster)["users"]["jane"]["password"]
    assert len(password) == 32
    assert cluster.vault.keep() == ["airflow_user_jane"]
    assert told(cluster)["users"]["jane"]["password"] == password


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"variables": {"a b": "x"}}, "allowed: name"),
        ({"variables": {"a": None}}, 'variables.a: is empty; write ""'),
        ({"variables": {"a": ["x", "\x1b[2J"]}}, "variables.a: has control characters"),
        ({"variables": {"a": float("inf")}}, "is a number that JSON cannot represent"),
        ({"variables": {"a": "x" * 70_000}}, "has more than 65536 characters"),
        ({"pools": {"gpu": -2}}, "pools.gpu"),
        ({"pools": {"gpu": {"slot": 2}}}, "did you mean slots"),
        ({"connections": {"dw": {"host": "h"}}}, "`conn_type` is missing"),
        ({"connections": {"dw": {"conn_type": "ssh", "extra": {"a": "\x00"}}}}, "control char"),
        ({"connections": {"card1": {"conn_type": "ssh"}}}, "is made by fab airflow.connections"),
        ({"connections": {"smoke": "ssh://h"}}, "is made by fab airflow.connections"),
        ({"roles": {"Viewer": {"DAGs": ["can_read"]}}}, "is one of Airflow's own roles"),
        ({"roles": {"x": {"DAGs": ["read"]}}}, "allowed: can_read, can_edit"),
        ({"users": {"Jane": {"roles": ["Op"]}}}, "allowed: login"),
        ({"users": {"jane": {"roles": []}}}, "this list is empty"),
        ({"users": {"jane": {"roles": ["Op"], "password": "x"}}}, "unknown key"),
        ({"users": {"admin": {"roles": ["Op"]}}}, "is the administrator"),
        (
            {"users": {name: {"roles": ["Op"], "email": "a@b.c"} for name in ("jane", "joe")}},
            "joe.email: is also the address of jane",
        ),
        ({"remove_others": ["dags"]}, "allowed: connections, pools, roles, users, variables"),
    ],
)
@pytest.mark.parametrize("apart", [False, True])
def test_what_cannot_be_is_refused_with_the_file_and_its_line(load, said, words, apart):
    with pytest.raises(InventoryError, match=words) as refused:
        load(said, apart)
    file = "objects.yaml:" if apart else "hosts.yaml:"
    assert all(line.startswith(file) for line in str(refused.value).splitlines())


def test_an_override_may_name_another_file(load, tmp_path):
    load(SAID)
    (tmp_path / "other.yaml").write_text("variables: {bucket: other}\n")
    override = tmp_path / "override.yaml"
    override.write_text("airflow: {objects: other.yaml}\n")
    cluster = CONTENTS.load(tmp_path / "hosts.yaml", override)
    assert told(cluster)["variables"] == {"bucket": "other"}


def test_a_file_that_is_not_there_is_named(hosts_yaml):
    file = hosts_yaml("objects: {} ", "objects: none.yaml ")
    with pytest.raises(InventoryError) as refused:
        CONTENTS.load(file)
    assert f"airflow.objects: the file {file.parent}/none.yaml does not exist." in str(
        refused.value
    )


def test_a_password_in_clear_text_is_a_warning_that_names_the_file(load):
    said = {"connections": {"dw": {"conn_type": "ssh", "password": "hunter2-x"}}}
    [warning] = load(said, apart=True).warnings
    assert warning.startswith("objects.yaml:")
    assert "connections.dw.password: is a password in clear text" in warning
    assert "hunter2-x" not in warning


# Who sees it


def test_no_value_is_in_a_command_line_or_shown(load):
    mask = Mask()
    step = steps_of(load(SAID, mask=mask))[-1]
    assert VALUE not in step.test
    command = step.apply.partition("<<")[0]
    assert command.split() == [
        "/usr/libexec/airflow-runbook/as-airflow",
        "python3",
        "/usr/libexec/airflow-runbook/objects",
        "apply",
    ]
    assert VALUE not in mask(step.apply)
    assert json.dumps(VALUE)[1:-1] not in mask(step.apply)
    assert MASK in mask(step.apply)


def test_commands_are_shown_with_placeholders(fab, tmp_path, monkeypatch):
    monkeypatch.setenv("RUNBOOK_SECRET_OWN", VALUE)
    override = tmp_path / "override.yaml"
    data = {**yaml.safe_load(override.read_text()), "airflow": {"objects": SAID}}
    override.write_text(yaml.safe_dump(data))
    shown = fab("--dry", "airflow.objects").text
    assert '"token": "@own@"' in shown
    assert '"password": "@airflow_user_jane@"' in shown
    assert "sup3r" not in shown


@pytest.mark.parametrize("task", [users.user_add, users.user_remove])
def test_a_user_of_hosts_yaml_is_changed_there(load, task):
    cluster = load(SAID)
    known = Facts({USERS: {"sql1": (users.User("jane", "analyst", True, None),)}})
    with pytest.raises(UsageError, match=r"jane is described in airflow\.objects\.users"):
        list(task(list(cluster.hosts.values()), cluster, known, name="jane"))


# The step, with a program of the test's own in place of Airflow


@pytest.fixture
def step(load, tmp_path):
    """The step; the program notes its starts, gets the text, and compares it with a file."""
    program = tmp_path / "program"
    program.write_text(
        f"""#!/bin/bash
echo "$1" >>{tmp_path}/starts
cd {tmp_path}
case $1 in
  compare) cat >asked; [[ ! -e broken ]] || {{ echo 'The database refused it'; exit 1; }}
    cmp -s asked there || echo 'changed: variable bucket' ;;
  apply) cat >there ;;
esac
"""
    )
    program.chmod(0o755)
    whole = steps_of(load(SAID))[-1]
    return replace(
        whole,
        test=whole.test.replace(objects.RUN, str(program)),
        apply=whole.apply.replace(objects.RUN, str(program)),
    )


@pytest.fixture
def ran(step, tmp_path):
    """ran(mode) -> the status, the output, and how often the program was started."""

    def run(mode=DO):
        starts = tmp_path / "starts"
        starts.write_text("")
        [result] = Here(tmp_path).run(step, mode=mode).results
        return str(result.status), result.output, starts.read_text().split()

    return run


def test_a_plan_names_what_differs_and_asks_once(ran, step, tmp_path):
    assert ran(PLAN) == ("differs", ["changed: variable bucket"], ["compare"])
    assert ran(CHECK) == ("differs", [], ["compare"])
    assert (tmp_path / "asked").read_text() == step.text


def test_a_run_changes_it_and_a_second_one_only_asks(ran, step, tmp_path):
    (tmp_path / "there").write_text("x")
    assert ran() == ("changed", [], ["compare", "apply", "compare"])
    assert (tmp_path / "there").read_text() == step.text
    assert ran() == ("ok", [], ["compare"])


def test_what_keeps_it_from_being_compared_is_told(ran, tmp_path):
    (tmp_path / "broken").touch()
    assert ran(PLAN) == ("differs", ["The database refused it"], ["compare"])
    (tmp_path / "program").unlink()
    assert ran(PLAN)[:2] == ("differs", [objects.UNKNOWN])


def test_it_is_part_of_the_section(cluster):
    names = [work.name for work in airflow.section.work if not work.alone]
    assert names.index("airflow.connections") < names.index("airflow.objects")
    assert names.index("airflow.objects") < names.index("airflow.dags")
