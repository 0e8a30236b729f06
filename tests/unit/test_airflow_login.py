"""Logins of a directory and single sign-on: what hosts.yaml may say, and what Airflow gets."""

from __future__ import annotations

import ast
import json
import re
import sys
import types

import pytest
import yaml
from conftest import PROJECT

from fabfile import CONTENTS
from fabfile.airflow import login
from fabfile.airflow.configure import overrides
from runbook.declare.probes import OK, WARN, Answer
from runbook.declare.step import Handler
from runbook.errors import InventoryError, RunbookError
from runbook.secrets.mask import Mask

VALUE = """s'e"c\\r$et"""
LDAP = {
    "url": "ldaps://ldap.example.com",
    "search": "ou=people,dc=example,dc=com",
    "bind": "cn=airflow,dc=example,dc=com",
    "password": {"secret": "own"},
}
OPENID = {
    "metadata": "https://sso.example.com/.well-known/openid-configuration",
    "client_id": "airflow",
    "client_secret": {"secret": "own"},
}
ROLES = {"cn=admins,ou=groups,dc=example,dc=com": ["Admin"]}
PACKAGES = {"packages": ["python-ldap", "authlib"], "source_packages": ["python-ldap"]}
CHANGED = Handler("airflow", "restart")


@pytest.fixture
def load(tmp_path, monkeypatch):
    """load({…}) -> a cluster with these settings of airflow."""
    monkeypatch.setenv("RUNBOOK_SECRET_OWN", VALUE)

    def loaded(settings, mask=None):
        data = yaml.safe_load((PROJECT / "hosts.yaml").read_text())
        data["airflow"].update(settings)
        file = tmp_path / "hosts.yaml"
        file.write_text(yaml.safe_dump(data))
        return CONTENTS.load(file, mask=mask)

    return loaded


@pytest.fixture
def logins(load):
    """logins(ldap=…) -> a cluster with these logins."""
    return lambda **said: load({**PACKAGES, "login": {"roles": ROLES, **said}})


def written(cluster) -> str:
    """webserver_config.py."""
    steps = {step.title: step for step in login.logins(cluster, "/venv/bin/python", CHANGED)}
    return steps["file /etc/airflow/webserver_config.py"].text


def values(text: str) -> dict[str, object]:
    """The constants of a Python file."""
    return {
        target.id: ast.literal_eval(node.value)
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign)
        and isinstance(node.value, (ast.Constant, ast.Dict, ast.List))
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def test_by_default_no_file_is_written_and_none_is_named(cluster):
    assert [*login.logins(cluster, "/venv/bin/python", CHANGED)] == []


def test_airflow_gets_the_directory(logins):
    told = values(written(logins(ldap={**LDAP, "filter": "(memberOf=cn=a,dc=b)"})))
    assert told["AUTH_TYPE"] == 2
    assert told["AUTH_LDAP_SERVER"] == "ldaps://ldap.example.com"
    assert told["AUTH_LDAP_BIND_PASSWORD"] == VALUE
    assert told["AUTH_LDAP_SEARCH_FILTER"] == "(memberOf=cn=a,dc=b)"
    assert told["AUTH_LDAP_TLS_DEMAND"] is True
    assert told["AUTH_ROLES_MAPPING"] == ROLES
    assert told["AUTH_ROLES_SYNC_AT_LOGIN"] is True
    assert told["AUTH_USER_REGISTRATION_ROLE"] == "Public"
    assert told["OWN"] == ["admin"]


def test_airflow_gets_the_provider(logins):
    told = values(written(logins(openid=OPENID, new_users="Viewer")))
    [provider] = told["OAUTH_PROVIDERS"]
    assert told["AUTH_TYPE"] == 4
    assert provider["remote_app"]["client_secret"] == VALUE
    assert provider["remote_app"]["server_metadata_url"] == OPENID["metadata"]
    assert told["AUTH_USER_REGISTRATION_ROLE"] == "Viewer"
    assert told["CLAIMS"] == {"user": "preferred_username", "groups": "groups"}


@pytest.mark.parametrize("said", [{"ldap": LDAP}, {"openid": OPENID}])
def test_a_diff_shows_no_secret(logins, said):
    hidden = re.compile(login.HIDDEN)
    written_value = json.dumps(VALUE)
    lines = [line for line in written(logins(**said)).splitlines() if written_value in line]
    assert lines
    for line in lines:
        assert written_value not in line[: hidden.search(line).end()]


@pytest.mark.parametrize("said", [{"ldap": LDAP}, {"openid": OPENID}])
def test_shown_commands_have_no_secret(load, said):
    mask = Mask()
    text = written(load({**PACKAGES, "login": {"roles": ROLES, **said}}, mask=mask))
    assert json.dumps(VALUE) in text
    assert json.dumps(VALUE)[1:-1] not in mask(text)


@pytest.mark.parametrize(
    "value",
    ["plain", "quo'te\" \\ $x %s {{ x }}", "ümläut 😀 \u2028", True, None, [1, "a"], {"a": ["b"]}],
)
def test_a_value_is_what_python_reads(value):
    assert ast.literal_eval(login.literal(value)) == value


def test_a_value_cannot_become_code(logins):
    evil = """'); import os; os.abort() #"""
    told = values(written(logins(ldap={**LDAP, "search": evil})))
    assert told["AUTH_LDAP_SEARCH"] == evil


def test_the_ca_comes_from_a_file_beside_hosts_yaml(logins, tmp_path):
    cluster = logins(ldap={**LDAP, "ca": "ca.pem"})
    with pytest.raises(RunbookError, match=r"airflow\.login\.ldap\.ca: .*ca\.pem cannot be read"):
        written(cluster)
    (tmp_path / "ca.pem").write_text("-----BEGIN PRIVATE KEY-----")
    with pytest.raises(RunbookError, match="not a certificate"):
        written(cluster)
    (tmp_path / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\nx\n")
    assert values(written(cluster))["AUTH_LDAP_TLS_CACERTFILE"] == "/etc/airflow/ldap-ca.pem"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"login": {"ldap": LDAP, "roles": ROLES}}, "needs the package python-ldap; add it"),
        ({"login": {"openid": OPENID, "roles": ROLES}}, "needs the package authlib; add it"),
        ({**PACKAGES, "login": {"ldap": LDAP}}, "nobody would have a role"),
        ({"login": {"roles": ROLES}}, "is for ldap or openid only"),
        ({**PACKAGES, "login": {"ldap": LDAP, "openid": OPENID, "roles": ROLES}}, "one too many"),
    ],
)
def test_what_does_not_work_is_said_before_anything_is_done(load, settings, words):
    with pytest.raises(InventoryError, match=words):
        load(settings)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"url": "ldap://ldap.example.com"}, "in clear text; set start_tls"),
        ({"start_tls": True}, "is for ldap:// only"),
        ({"password": None}, "bind and password belong together"),
        ({"filter": "memberOf=x"}, "is not a filter"),
        ({"url": "https://ldap.example.com"}, "URL of a directory"),
        ({"uid": "uid)(x=*"}, "attribute"),
    ],
)
def test_a_directory_that_is_described_wrongly_is_refused(logins, changed, words):
    with pytest.raises(InventoryError, match=re.escape(words)):
        logins(ldap={**LDAP, **changed})


def test_a_password_in_clear_text_is_told(logins):
    [warning] = logins(ldap={**LDAP, "password": "hunter2"}).warnings
    assert "airflow.login.ldap.password" in warning


@pytest.mark.parametrize(
    ("said", "title"),
    [
        ({"ldap": LDAP}, "ldap.example.com answers on port 636"),
        (
            {"ldap": {**LDAP, "url": "ldap://ldap.example.com:1389", "start_tls": True}},
            "ldap.example.com answers on port 1389",
        ),
        ({"openid": OPENID}, "sso.example.com answers on port 443"),
    ],
)
def test_a_check_asks_whether_it_is_reached(logins, said, title):
    [probe] = login.reachable(logins(**said))
    assert probe.title == title
    assert login.reached(Answer("")).level == OK
    assert login.reached(Answer("", 1)).level == WARN


def test_a_check_asks_nothing_without_logins(cluster):
    assert [*login.reachable(cluster)] == []


# The file, as Airflow loads it


class Manager:
    """Airflow's own security manager, as far as the file uses it."""

    def __init__(self, claims=None):
        self.asked = []
        remote = types.SimpleNamespace(userinfo=lambda token: claims)
        self.oauth_remotes = {"sso": remote}

    def auth_user_ldap(self, username, password):
        self.asked.append(("ldap", username))
        return username

    def auth_user_db(self, username, password):
        self.asked.append(("db", username))
        return username


@pytest.fixture
def manager(monkeypatch):
    """manager(text) -> the class that the file defines."""

    def made(text, **options):
        name = "airflow.providers.fab.auth_manager.security_manager.override"
        parts = name.split(".")
        for place in range(1, len(parts) + 1):
            module = types.ModuleType(".".join(parts[:place]))
            module.FabAirflowSecurityManagerOverride = Manager
            monkeypatch.setitem(sys.modules, ".".join(parts[:place]), module)
        space: dict = {}
        exec(compile(text, "webserver_config.py", "exec"), space)
        return space["SECURITY_MANAGER_CLASS"](**options)

    return made


def test_the_administrator_needs_no_directory(logins, manager):
    one = manager(written(logins(ldap=LDAP)))
    assert one.auth_user_ldap("admin", "x") == "admin"
    assert one.auth_user_ldap("jane", "x") == "jane"
    assert one.asked == [("db", "admin"), ("ldap", "jane")]


@pytest.mark.parametrize(
    ("name", "password"), [("*", "x"), ("ja*", "x"), ("a)(uid=b", "x"), ("jane", ""), ("", "x")]
)
def test_a_login_that_is_a_search_or_has_no_password_fails(logins, manager, name, password):
    one = manager(written(logins(ldap=LDAP)))
    assert one.auth_user_ldap(name, password) is None
    assert one.asked == []


def test_claims_say_who_has_logged_in(logins, manager):
    text = written(logins(openid={**OPENID, "user": "email", "groups": "teams"}))
    claims = {"email": "mary@x.org", "given_name": "Mary", "teams": "admins"}
    assert manager(text, claims=claims).get_oauth_user_info("sso", {}) == {
        "username": "mary@x.org",
        "email": "mary@x.org",
        "first_name": "Mary",
        "last_name": "",
        "role_keys": ["admins"],
    }


@pytest.mark.parametrize("claims", [{"preferred_username": "admin"}, {"sub": "1"}])
def test_nobody_becomes_the_administrator_by_single_sign_on(logins, manager, claims):
    one = manager(written(logins(openid=OPENID)), claims=claims)
    assert one.get_oauth_user_info("sso", {}) == {}


# The examples of the documentation


def example(name: str) -> dict:
    page = (PROJECT / "docs/airflow.md").read_text()
    [text] = re.findall(rf"<!-- example: {name} -->\n```yaml\n(.*?)```", page, re.S)
    return yaml.safe_load(text)["airflow"]


@pytest.mark.parametrize("name", ["ldap", "openid", "settings"])
def test_the_examples_are_accepted(load, monkeypatch, name):
    for secret in ("LDAP_BIND", "SSO_CLIENT", "SMTP", "S3_KEY"):
        monkeypatch.setenv(f"RUNBOOK_SECRET_{secret}", "a value")
    mask = Mask()
    cluster = load(example(name), mask=mask)
    if name == "settings":
        told = dict(overrides(cluster))
        assert told["AIRFLOW__SMTP__SMTP_PASSWORD"] == "a value"
        assert told["AIRFLOW__METRICS__STATSD_ON"] == "True"
        assert told["AIRFLOW__LOGGING__REMOTE_BASE_LOG_FOLDER"] == "s3://logs/airflow"
        assert mask("a value") != "a value"
    else:
        assert cluster[CONTENTS.schema.settings["airflow"]].login.used
