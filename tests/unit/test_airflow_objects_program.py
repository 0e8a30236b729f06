"""The program that compares and changes Airflow's objects, with a real Airflow and SQLite.

Only where AIRFLOW_PYTHONS names the Pythons of installations: a path, or several with colons. An
installation comes from a lock: pip install --no-deps --require-hashes -r files/airflow/….lock.
"""

from __future__ import annotations

import copy
import json
import os
import subprocess
from pathlib import Path

import pytest
from conftest import PROJECT

PYTHONS = [one for one in os.environ.get("AIRFLOW_PYTHONS", "").split(":") if one]
PROGRAM = PROJECT / "files/airflow/objects"
KEY, OTHER_KEY = "81HqDtbqAywKSOumSha3BhWNOdQ26slT6K0YaZeZyPs=", "A" * 43 + "="
SECRETS = ("s3cr3t-dw", "s3cr3t-token", "s3cr3t-uri", "s3cr3t-var", "s3cr3t-jane", "s3cr3t-joe")

pytestmark = pytest.mark.skipif(not PYTHONS, reason="AIRFLOW_PYTHONS names no Python")

BEGIN = """
from airflow.models import Connection, Pool, Variable
from airflow.utils.session import create_session
def said(*words): print("SAID", *words)
"""

NONE = {"variables": {}, "pools": {}, "connections": {}, "roles": {}, "users": {}}
WANTED = {
    "variables": {
        "bucket": "exports",
        "number": 5,
        "empty": "",
        "json": {"b": [1, True, None], "a": "x'\"$\\ \n\té"},
        "token": "s3cr3t-var",
    },
    "pools": {
        "default_pool": {"slots": 64},
        "dw": {"slots": 8, "description": "warehouse", "include_deferred": True},
        "gpu": {"slots": 2},
    },
    "connections": {
        "dw": {
            "conn_type": "postgres",
            "host": "dw.example.com",
            "login": "etl",
            "password": "s3cr3t-dw",
            "port": 5432,
            "extra": {"sslmode": "require", "token": "s3cr3t-token"},
        },
        "hooks": "https://u:s3cr3t-uri@h.example.com:8443/x?timeout=3",
    },
    "roles": {"analyst": {"DAGs": ["can_read"], "DAG:sales": ["can_read", "can_edit"]}},
    "users": {
        "jane": {"roles": ["analyst", "Viewer"], "password": "s3cr3t-jane"},
        "joe": {"roles": ["Op"], "password": "s3cr3t-joe", "email": "joe@example.com"},
    },
    "remove_others": [],
    "kept": {
        "variables": [],
        "pools": ["default_pool"],
        "connections": ["card1", "smoke"],
        "roles": ["Admin", "Op", "User", "Viewer", "Public"],
        "users": ["admin"],
    },
}


class Airflow:
    """An installation with a database of its own."""

    def __init__(self, python: str, home: Path) -> None:
        self.python, self.home = python, home
        self.environment = {
            "PATH": f"{Path(python).parent}:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__EXECUTOR": "SequentialExecutor",
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__FERNET_KEY": KEY,
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
            "AIRFLOW__DATABASE__LOAD_DEFAULT_CONNECTIONS": "False",
        }

    def __call__(self, mode: str, wanted: dict, **environment: str) -> list[str]:
        """What the program says, line by line."""
        done = self.run([str(PROGRAM), mode], json.dumps(wanted), **environment)
        assert not any(secret in done.stdout + done.stderr for secret in SECRETS)
        self.code = done.returncode
        return done.stdout.splitlines()

    def run(self, arguments: list[str], text: str, **environment: str):
        return subprocess.run(
            [self.python, *arguments],
            input=text,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
        )

    def does(self, code: str) -> str:
        """What a few lines of Python with Airflow print."""
        done = self.run(["-c", f"{BEGIN}\n{code}"], "")
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        return "\n".join(line[5:] for line in lines if line.startswith("SAID "))

    def is_changed(self, wanted: dict, *lines: str) -> None:
        """The lines announce the change, a run makes it, and then nothing is left to do."""
        assert self("compare", wanted) == list(lines)
        assert self("apply", wanted) == list(lines)
        assert self("compare", wanted) == []


@pytest.fixture(scope="module", params=PYTHONS)
def airflow(request, tmp_path_factory) -> Airflow:
    made = Airflow(request.param, tmp_path_factory.mktemp("airflow"))
    done = made.run(["-m", "airflow", "db", "migrate"], "")
    assert done.returncode == 0, done.stderr
    return made


def changed(**kinds: dict) -> dict:
    """WANTED with other objects of some kinds."""
    return {**copy.deepcopy(WANTED), **kinds}


def test_all_of_them_are_added_to_an_airflow_whose_webserver_never_ran(airflow):
    airflow.is_changed(
        WANTED,
        *(f"added: variable {name}" for name in WANTED["variables"]),
        "changed: pool default_pool (slots)",
        *("added: pool dw", "added: pool gpu"),
        *("added: connection dw", "added: connection hooks"),
        "added: role analyst",
        *("added: user jane", "added: user joe"),
    )


def test_dags_and_people_find_them(airflow):
    said = airflow.does(
        """
said(repr(Variable.get("empty")), Variable.get("number"), Variable.get("token"))
said(Variable.get("json", deserialize_json=True))
dw = Connection.get_connection_from_secrets("dw")
said(dw.get_uri().partition("@")[0], dw.extra_dejson["token"], dw.port)
hooks = Connection.get_connection_from_secrets("hooks")
said(hooks.login, hooks.password, hooks.host, hooks.port, hooks.extra_dejson)
with create_session() as session:
    for row in session.execute("select val, is_encrypted from variable where key = 'token'"):
        said(row[0][:5], row[1])
    for row in session.execute("select pool, slots, description from slot_pool order by 1"):
        said(*row)
    query = "select username, email, active, password from ab_user order by 1"
    for row in session.execute(query):
        said(*row[:3], row[3].partition(":")[0])
"""
    )
    assert said.splitlines() == [
        "'' 5 s3cr3t-var",
        str(WANTED["variables"]["json"]),
        "postgres://etl:s3cr3t-dw s3cr3t-token 5432",
        "u s3cr3t-uri h.example.com 8443 {'timeout': '3'}",
        "gAAAA 1",
        "default_pool 64 Default pool",
        "dw 8 warehouse",
        "gpu 2 ",
        "jane jane@localhost 1 pbkdf2",
        "joe joe@example.com 1 pbkdf2",
    ]


def test_a_webserver_that_starts_changes_nothing_of_it(airflow):
    """Airflow syncs its roles then, and lets every role see the first page."""
    airflow.does(
        """
try:
    from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder
except ImportError:
    from airflow.utils.cli_app_builder import get_application_builder
with get_application_builder() as builder:
    builder.add_permissions(update_perms=True)
    builder.sm.sync_roles()
    names = [str(one) for one in builder.sm.find_role("analyst").permissions]
    assert "can read on Website" in names, names
"""
    )
    assert airflow("compare", WANTED) == []


def test_what_differs_is_named_and_nothing_else_is_touched(airflow):
    """A secret, a part that is not said any more, permissions, a role, and a new password."""
    wanted = changed()
    wanted["variables"]["json"]["b"] = [1, 1, None]
    wanted["pools"]["gpu"]["slots"] = 3
    wanted["connections"]["dw"].update(host="other.example.com")
    del wanted["connections"]["dw"]["password"]
    wanted["connections"]["dw"]["extra"]["token"] = "s3cr3t-uri"
    wanted["roles"]["analyst"] = {"DAGs": ["can_read"], "DAG:new": ["can_read"]}
    wanted["users"]["jane"] = {"roles": ["analyst"], "password": "s3cr3t-joe", "last_name": "D."}
    airflow.is_changed(
        wanted,
        "changed: variable json",
        "changed: pool gpu (slots)",
        "changed: connection dw (host, password, extra)",
        "changed: role analyst (+ can_read on DAG:new, - can_edit on DAG:sales, "
        "- can_read on DAG:sales)",
        "changed: user jane (last_name, roles, password)",
    )
    said = airflow.does(
        'said(Connection.get_connection_from_secrets("dw").password)\nsaid(Variable.get("bucket"))'
    )
    assert said == "None\nexports"
    assert len(airflow("apply", WANTED)) == 5


def test_what_somebody_changed_in_the_web_ui_is_set_back(airflow):
    airflow.does(
        """
with create_session() as session:
    session.execute("update ab_user set active = false, last_name = 'Doe' where username = 'jane'")
    session.execute("update connection set password = 'gAAAAnonsense' where conn_id = 'dw'")
    session.execute("update variable set description = 'mine' where key = 'bucket'")
    session.execute("update slot_pool set description = 'mine' where pool = 'gpu'")
"""
    )
    airflow.is_changed(
        WANTED, "changed: connection dw (cannot be decrypted)", "changed: user jane (not active)"
    )


def test_values_that_no_key_decrypts_are_written_again(airflow):
    lines = airflow("compare", WANTED, AIRFLOW__CORE__FERNET_KEY=OTHER_KEY)
    assert "changed: variable token" in lines
    assert "changed: connection dw (cannot be decrypted)" in lines


def test_others_stay_unless_their_kind_is_to_be_removed(airflow):
    airflow.does(
        """
with create_session() as session:
    session.add(Variable(key="other", val="x"))
    session.add(Pool(pool="other", slots=1, description="", include_deferred=False))
    session.add_all([Connection("other", conn_type="ssh"), Connection("card1", conn_type="ssh")])
"""
    )
    assert airflow("compare", WANTED) == []
    more = changed(variables={**WANTED["variables"], "late": "x"})
    assert airflow("compare", more) == [
        "added: variable late",
        "left alone: variables other",
        "left alone: pools other",
        "left alone: connections other",
    ]
    kinds = ["variables", "pools", "connections", "roles", "users"]
    less = changed(remove_others=kinds, roles={}, pools={"dw": WANTED["pools"]["dw"]})
    less["users"] = {"joe": WANTED["users"]["joe"]}
    airflow.is_changed(
        less,
        "removed: variable other",
        *("removed: pool gpu", "removed: pool other"),
        "removed: connection other",
        "removed: role analyst (of jane)",
        "removed: user jane",
    )
    assert "card1" in airflow.does(
        "with create_session() as session:\n"
        "    said([one.conn_id for one in session.query(Connection)])"
    )


def test_a_user_goes_before_another_one_gets_the_address_and_the_notes_stay(airflow):
    airflow.does(
        """
from airflow.models.dagrun import DagRun, DagRunNote
try:  # the table of users, to which a note refers
    import airflow.providers.fab.auth_manager.models
except ImportError:
    import airflow.auth.managers.fab.models
with create_session() as session:
    [[user_id]] = session.execute("select id from ab_user where username = 'joe'")
    run = DagRun("dag", run_id="noted", run_type="manual")
    run.dag_run_note = DagRunNote("by joe", user_id)
    session.add(run)
"""
    )
    joseph = {"users": {"joseph": WANTED["users"]["joe"]}, "remove_others": ["users"]}
    airflow.is_changed({**WANTED, **NONE, **joseph}, "added: user joseph", "removed: user joe")
    said = airflow.does(
        """
with create_session() as session:
    said(*session.execute("select content, user_id from dag_run_note").one())
"""
    )
    assert said == "by joe None"


@pytest.mark.parametrize(
    ("kinds", "words"),
    [
        (
            {"users": {"ann": {"roles": ["none"], "password": "s3cr3t-joe"}}},
            "user ann: there is no role none",
        ),
        (
            {"users": {"ann": {"roles": ["Op"], "password": "x", "email": "JOE@example.com"}}},
            "user ann: joseph has that e-mail address",
        ),
        ({"roles": {"r": {"Dags": ["can_read"]}}}, "role r: Airflow has no resource Dags"),
        ({"roles": {"r": {"DAGs": ["can_fly"]}}}, "role r: Airflow has no action can_fly"),
        (
            {"connections": {"c": "s3cr3t-uri"}},
            "connection c: this is not a URI such as postgresql://user:password@host",
        ),
        (
            {
                "roles": {},
                "users": {"ann": {"roles": ["gone"], "password": "x"}},
                "remove_others": ["roles"],
            },
            "user ann: there is no role gone",
        ),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_changed(airflow, kinds, words):
    wanted = {**WANTED, **NONE, "variables": {"late": "x"}, **kinds}
    for mode in ("compare", "apply"):
        assert airflow(mode, wanted) == [words, "Nothing was changed."]
        assert airflow.code == 1
    late = {**WANTED, **NONE, "variables": {"late": "x"}}
    assert "added: variable late" in airflow("compare", late)


def test_an_error_of_the_database_shows_no_values(airflow):
    wanted = {**WANTED, **NONE, "variables": {"late": "s3cr3t-var"}}
    said = airflow("apply", wanted, AIRFLOW__DATABASE__SQL_ALCHEMY_CONN="sqlite:////none/x.db")
    assert airflow.code == 1
    assert said == ["The database refused it: unable to open database file. Nothing was changed."]
