"""Secrets stay secret, and host keys are trusted only when somebody said so."""

from __future__ import annotations

import io
import json
import stat
from concurrent.futures import ThreadPoolExecutor

import paramiko
import pytest

from runbook.errors import SettingsError
from runbook.execute.journal import Journal
from runbook.output.report import Report
from runbook.results import DO, HostResult, Status, StepResult
from runbook.secrets.mask import MASK, Mask
from runbook.secrets.vault import Passwords, Secret, Vault
from runbook.ssh.known_hosts import KnownHosts, lookup_name

SECRET = 'it\'s; 100% "quoted" @secret'


@pytest.fixture
def mask():
    mask = Mask()
    mask.add(SECRET)
    return mask


def test_a_secret_is_masked_plain_and_quoted(mask):
    import shlex

    assert mask(f"password is {SECRET}!") == f"password is {MASK}!"
    assert SECRET not in mask(f"echo {shlex.quote(SECRET)}")
    assert "100%" not in mask(f"echo {shlex.quote(SECRET)}")


def test_a_simple_secret_masks_nothing_but_itself():
    mask = Mask()
    mask.add("111")
    assert mask("1 of 11 hosts, 111") == f"1 of 11 hosts, {MASK}"


def test_a_secret_reaches_neither_report_nor_json_nor_journal(mask, tmp_path):
    part = StepResult("step", f"echo {SECRET}", Status.FAILED, code=1, output=[f"said {SECRET}"])
    result = HostResult("task", "sql1", DO, sentence=f"because {SECRET}", parts=[part])
    for as_json in (False, True):
        stream = io.StringIO()
        report = Report(mask, as_json=as_json, stream=stream)
        report.task_begins("task", "doc", [], DO)
        report.host_done(result)
        report.task_ends()
        report.recap([result], 1)
        assert "because" in stream.getvalue()
        assert SECRET not in stream.getvalue()
        assert json.dumps(SECRET)[1:-1] not in stream.getvalue()
    journal = Journal(tmp_path, mask)
    journal.write(task="task", why=f"because {SECRET}")
    text = journal.file.read_text()
    assert "because" in text
    assert SECRET not in text
    assert json.dumps(SECRET)[1:-1] not in text


def test_journal_is_for_its_owner_only(mask, tmp_path):
    journal = Journal(tmp_path, mask)
    journal.write(task="task")
    assert stat.S_IMODE(journal.file.stat().st_mode) == 0o600


def test_a_password_is_asked_once(mask, monkeypatch):
    monkeypatch.delenv("RUNBOOK_X", raising=False)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    asked = []
    passwords = Passwords(mask, ask=lambda question: asked.append(question) or "typed")
    assert [passwords.get("RUNBOOK_X", "X? ") for _ in range(3)] == ["typed"] * 3
    assert asked == ["X? "]
    assert mask("typed") == MASK


def test_without_a_terminal_the_variable_is_named(mask, monkeypatch):
    monkeypatch.delenv("RUNBOOK_X", raising=False)
    monkeypatch.setattr("sys.stdin.isatty", lambda: False)
    with pytest.raises(SettingsError, match="Set RUNBOOK_X in the environment"):
        Passwords(mask, ask=str).get("RUNBOOK_X", "X: ")


def test_workers_get_the_password_that_the_main_thread_asked_for(mask, monkeypatch):
    monkeypatch.delenv("RUNBOOK_X", raising=False)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    asked = []
    passwords = Passwords(mask, ask=lambda question: asked.append(question) or "typed")
    with ThreadPoolExecutor(5) as workers:
        waiting = [workers.submit(passwords.get, "RUNBOOK_X", "X? ") for _ in range(5)]
        while not all(future.done() for future in waiting):
            passwords.answer()
    assert {future.result() for future in waiting} == {"typed"}
    assert asked == ["X? "]


def test_workers_are_released_if_there_is_no_answer(mask, monkeypatch):
    monkeypatch.delenv("RUNBOOK_X", raising=False)
    passwords = Passwords(mask, ask=str)
    with ThreadPoolExecutor(1) as workers:
        waiting = workers.submit(passwords.get, "RUNBOOK_X", "X? ")
        passwords.give_up()
        with pytest.raises(SettingsError):
            waiting.result()


@pytest.fixture(scope="module")
def keys():
    return [paramiko.ECDSAKey.generate() for _ in range(2)]


def test_a_pinned_key_is_found_by_address_and_a_new_one_replaces_it(cluster, tmp_path, keys):
    file = tmp_path / "state" / "known_hosts"
    known = KnownHosts([file])
    host = cluster.hosts["sql1"]
    known.pin(cluster.hosts["sql2"], "192.168.83.147", keys[0])
    known.pin(host, host.address, keys[0])
    known.pin(host, host.address, keys[1])
    again = KnownHosts([file])
    assert again.keys("192.168.83.148") == [keys[1]]
    assert again.keys("192.168.83.147") == [keys[0]]
    assert len(file.read_text().splitlines()) == 2
    assert file.read_text().splitlines()[1].startswith("sql1,192.168.83.148 ecdsa")


def test_another_port_has_its_own_name():
    assert lookup_name("10.0.0.1", 22) == "10.0.0.1"
    assert lookup_name("10.0.0.1", 2222) == "[10.0.0.1]:2222"


# The vault


DATABASE = Secret("database", "the database")


def test_a_password_is_made_up_once_and_kept_for_its_owner_only(tmp_path):
    vault = Vault(tmp_path / "secrets.yaml", Mask())
    first = vault.get(DATABASE)
    assert len(first) >= 32
    assert not vault.file.exists()
    assert vault.keep() == ["database"]
    assert vault.file.stat().st_mode & 0o777 == 0o600
    assert Vault(vault.file, Mask()).get(DATABASE) == first
    assert vault.keep() == []


def test_passwords_that_are_there_stay(tmp_path):
    file = tmp_path / "secrets.yaml"
    file.write_text("other: kept\n")
    file.chmod(0o600)
    vault = Vault(file, Mask())
    vault.get(DATABASE)
    vault.keep()
    assert "other: kept" in file.read_text()


def test_the_environment_goes_over_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("RUNBOOK_SECRET_DATABASE", "of the environment")
    vault = Vault(tmp_path / "secrets.yaml", Mask())
    assert vault.get(DATABASE) == "of the environment"
    assert vault.keep() == []


def test_a_password_from_the_vault_is_masked(tmp_path):
    mask = Mask()
    secret = Vault(tmp_path / "secrets.yaml", mask).get(DATABASE)
    assert mask(f"x {secret} y") == f"x {MASK} y"


@pytest.mark.parametrize(
    ("text", "mode", "complaint"),
    [
        ("database: x\n", 0o644, "chmod 600"),
        ("database: 12\n", 0o600, "put it in quotes"),
        ("database: ''\n", 0o600, "must be text"),
        ("database: pässword\n", 0o600, "printable ASCII"),
    ],
)
def test_an_unsafe_or_odd_file_is_refused(tmp_path, text, mode, complaint):
    file = tmp_path / "secrets.yaml"
    file.write_text(text)
    file.chmod(mode)
    with pytest.raises(SettingsError, match=complaint):
        Vault(file, Mask()).get(DATABASE)


def test_a_password_is_renewed_on_request_only(tmp_path):
    vault = Vault(tmp_path / "secrets.yaml", Mask())
    first = vault.get(DATABASE)
    vault.keep()
    second = vault.renew(DATABASE)
    assert second != first
    assert Vault(vault.file, Mask()).get(DATABASE) == first
    assert vault.keep() == ["database"]
    assert Vault(vault.file, Mask()).get(DATABASE) == second


def test_a_secret_takes_another_ones_value_and_leaves_the_file(tmp_path):
    mask = Mask()
    vault = Vault(tmp_path / "secrets.yaml", mask)
    old = Secret("old", "the one before")
    first = vault.get(DATABASE)
    vault.keep()
    vault.put(old, first)
    vault.renew(DATABASE)
    assert vault.knows(old)
    assert vault.keep() == ["database"]
    again = Vault(vault.file, mask)
    assert again.get(old) == first
    again.forget(old)
    assert not again.knows(old)
    assert first in vault.file.read_text()
    assert again.keep() == []
    assert first not in vault.file.read_text()
    assert mask(first) == MASK


def test_asking_whether_a_secret_is_known_makes_none_up(tmp_path):
    vault = Vault(tmp_path / "secrets.yaml", Mask())
    assert not vault.knows(DATABASE)
    vault.forget(DATABASE)
    assert vault.keep() == []


def test_two_runs_do_not_both_make_up_the_same_password(tmp_path):
    one, other = (Vault(tmp_path / "secrets.yaml", Mask()) for _ in range(2))
    one.get(DATABASE)
    other.get(DATABASE)
    one.keep()
    with pytest.raises(SettingsError, match="has just changed"):
        other.keep()


def test_a_secret_is_masked_as_sql_and_yaml_quote_it(mask):
    assert "quoted" not in mask(SECRET.replace("'", "''"))
    assert "quoted" not in mask(json.dumps(SECRET))
