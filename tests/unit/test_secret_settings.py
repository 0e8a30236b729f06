"""`{secret: NAME}` in hosts.yaml: the value comes from secrets.yaml, and is shown nowhere."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from fabfile import CONTENTS
from fabfile.airflow.configure import overrides
from fabfile.airflow.settings import Airflow
from fabfile.base import epel
from fabfile.operator import sources as operator_sources
from fabfile.shared.sources import Sources
from runbook.errors import InventoryError, SettingsError
from runbook.secrets.mask import MASK, Mask

VALUE = "sup3r-smtp-value"
SMTP = ("settings: {}   ", "settings: {smtp: {smtp_password: {secret: smtp}, smtp_port: 25}}   ")
LOGIN = (
    "sources: {}",
    "sources: {epel: {packages: https://mirror.example.com/epel}, "
    "logins: {mirror.example.com: {user: build, password: {secret: mirror}}}}",
)


@pytest.fixture
def load(hosts_yaml, monkeypatch):
    monkeypatch.setenv("RUNBOOK_SECRET_SMTP", VALUE)
    monkeypatch.setenv("RUNBOOK_SECRET_MIRROR", VALUE)
    return lambda *change, mask=None: CONTENTS.load(hosts_yaml(*change), mask=mask)


def changed(text: str) -> tuple[str, str]:
    return ("settings: {}   ", f"settings: {text}   ")


def test_the_value_takes_its_place_where_a_section_reads_it(load):
    mask = Mask()
    cluster = load(*SMTP, mask=mask)
    assert dict(overrides(cluster))["AIRFLOW__SMTP__SMTP_PASSWORD"] == VALUE
    assert cluster[Airflow].settings["smtp"]["smtp_port"] == 25
    assert mask(VALUE) == MASK


def test_the_inventory_is_shown_with_the_reference(load):
    plain = load(*SMTP).plain()
    assert plain["airflow"]["settings"]["smtp"]["smtp_password"] == {"secret": "smtp"}
    assert VALUE not in json.dumps(plain)


def test_a_secret_without_a_value_is_named_with_the_way_out(load, monkeypatch):
    monkeypatch.delenv("RUNBOOK_SECRET_SMTP")
    cluster = load(*SMTP)
    way_out = "airflow.settings.smtp.smtp_password needs, has no value. Set it: inv secrets.set"
    with pytest.raises(SettingsError, match=way_out):
        list(overrides(cluster))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (changed("{smtp: {x: {secret: Not-A-Name}}}"), "Not-A-Name is not a secret's name"),
        (("uid: 50000", "uid: {secret: smtp}"), "airflow.uid: a secret is not valid here"),
        (("database: vip", "database: {secret: smtp}"), "a secret is not valid here"),
        (("user: rocky ", "user: {secret: smtp} "), "connection.user"),
    ],
)
def test_it_stands_only_where_a_setting_is_a_text(load, change, complaint):
    with pytest.raises(InventoryError, match=complaint):
        load(*change)


@pytest.mark.parametrize(
    ("change", "key", "password"),
    [
        (changed("{smtp: {smtp_password: hunter2-x}}"), "smtp.smtp_password", "hunter2-x"),
        (changed("{core: {fernet_key: hunter2-x}}"), "core.fernet_key", "hunter2-x"),
        (changed("{sentry: {sentry_dsn: 'https://a:hunter2-x@h/1'}}"), "sentry_dsn", "hunter2-x"),
        (changed("{database: {sql_alchemy_conn: 'postgresql://u:hu/nter2@h/d'}}"), "conn", "hu/n"),
        (
            ("sources: {}", "sources: {epel: {packages: 'https://u:hunter2-x@h/epel'}}"),
            "sources.epel.packages",
            "hunter2-x",
        ),
    ],
)
def test_a_password_in_clear_text_is_a_warning_that_does_not_show_it(load, change, key, password):
    mask = Mask()
    [warning] = load(*change, mask=mask).warnings
    assert key in warning
    assert "is a password in clear text. Better: " in warning
    assert password not in warning
    assert password not in mask(f"x {password}{'' if len(password) > 5 else 'ter2'} x")


@pytest.mark.parametrize(
    "text",
    [
        "{smtp: {smtp_password_secret: smtp}}",
        "{core: {max_active_runs_per_dag: 4, hide_sensitive_var_conn_fields: true}}",
        "{smtp: {smtp_password: {secret: smtp}}}",
    ],
)
def test_what_is_no_password_is_no_warning(load, text):
    assert load(*changed(text)).warnings == []


def test_commands_are_shown_with_a_placeholder(fab, tmp_path):
    override = tmp_path / "override.yaml"
    override.write_text(f"{override.read_text()}airflow: {{{SMTP[1].strip()}}}\n")
    answer = fab("-H", "worker1", "--dry", "airflow.configure")
    assert 'AIRFLOW__SMTP__SMTP_PASSWORD="@smtp@"' in answer.text


def test_a_repository_with_a_login_is_readable_by_root_alone(load):
    cluster = load(*LOGIN)
    *_, step = epel(cluster)
    assert f"username=build\npassword={VALUE}\n" in step.text
    assert "chmod 0600" in step.apply
    [*_, plain] = epel(load())
    assert "chmod 0644" in plain.apply
    assert "password" not in plain.text


def test_curl_and_pip_get_the_login_of_the_servers_they_ask(load):
    own = load(*LOGIN)[Sources]
    assert own.netrc("https://mirror.example.com:8443/x", "https://pypi.org/simple") == (
        f"machine mirror.example.com login build password {VALUE}"
    )
    assert own.netrc("https://other.example.com", None) == ""


def test_a_password_that_netrc_cannot_hold_is_refused(load, monkeypatch):
    monkeypatch.setenv("RUNBOOK_SECRET_MIRROR", "two words")
    with pytest.raises(SettingsError, match=r"sources.logins.mirror.example.com: the password"):
        load(*LOGIN)[Sources].netrc("https://mirror.example.com/x")


def test_mirrors_with_different_logins_are_refused(load):
    text = LOGIN[1].replace(
        "https://mirror.example.com/epel", "[https://mirror.example.com/e, https://x.example.com/e]"
    )
    with pytest.raises(InventoryError, match=r"sources.epel.packages: dnf sends one login"):
        load("sources: {}", text)


def test_the_controller_logs_in_too(load, monkeypatch):
    asked = []

    def refuse(request, timeout):
        asked.append(request)
        raise OSError("refused")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    operator_sources.from_here(["https://mirror.example.com/x"], load(*LOGIN)[Sources])
    assert asked[0].unredirected_hdrs["Authorization"].startswith("Basic ")


def test_a_file_with_settings_is_for_its_service_alone(load):
    from fabfile.rabbitmq.configure import configure
    from runbook.declare.facts import Facts

    cluster = load(
        "settings: {}                   # rabbitmq.conf",
        "settings: {ssl_options.password: {secret: smtp}} # rabbitmq.conf",
    )
    steps = configure(cluster.hosts["mq1"], cluster, Facts({}))
    [step] = [one for one in steps if one.paths == ("/etc/rabbitmq/rabbitmq.conf",)]
    assert f"ssl_options.password = {VALUE}" in step.text
    assert "chmod 0640" in step.apply
    assert "ssl_options" in step.diff


def test_the_users_own_secrets_are_listed_and_set(inv, tmp_path, monkeypatch):
    override = tmp_path / "override.yaml"
    override.write_text(f"{override.read_text()}airflow: {{{SMTP[1].strip()}}}\n")
    assert "yours to set" in inv("secrets.list").text
    assert "smtp (airflow.settings.smtp.smtp_password) is yours" in inv("secrets.generate").text
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{VALUE}\n"))
    answer = inv("secrets.set", "smtp")
    assert "smtp is set in" in answer.text
    assert VALUE not in answer.text
    assert VALUE in Path(tmp_path / "secrets.yaml").read_text()
    assert inv("secrets.check").code == 0
    assert "not a secret's name" in inv("secrets.set", "Not-One").text
