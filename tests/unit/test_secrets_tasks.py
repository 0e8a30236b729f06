"""`inv secrets.*`: what is generated, shown, judged, edited and encrypted; and what never is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from support.inventories import some_hosts
from support.program import answer
from support.sealed_file import PASSPHRASE, WITH_PASSPHRASE

from fabfile import CONTENTS
from runbook.cli.fab import main as fab_program
from runbook.errors import SettingsError
from runbook.secrets.vault import KEY_VARIABLE, PASSPHRASE_VARIABLE, Secret

KEY = "m3Wq0bJ1o5tQy8vX2cZ7nL4kR6sD9fG1hA0eU5iP3xY"
"""A fernet key."""

PROJECT = Path(__file__).resolve().parents[2]
DATABASE = Secret("database", "the database")


@pytest.fixture
def state(tmp_path, monkeypatch):
    """A state folder of its own; the variables of whoever runs the tests do not count."""
    for name in list(os.environ):
        if name.startswith("RUNBOOK_"):
            monkeypatch.delenv(name)
    folder = tmp_path / "state"
    folder.mkdir()
    override = tmp_path / "override.yaml"
    override.write_text("connection: {key: id_ed25519, known_hosts: [known_hosts]}\n")
    monkeypatch.setenv("RUNBOOK_STATE", str(folder))
    monkeypatch.setenv("RUNBOOK_OVERRIDE", str(override))
    monkeypatch.chdir(PROJECT)
    return folder


@pytest.fixture
def call(state, monkeypatch, capfd):
    return lambda program, *arguments: answer(program, arguments, monkeypatch, capfd)


@pytest.fixture
def file(state):
    return state / "secrets.yaml"


@pytest.fixture
def write(file):
    def put(text: str) -> Path:
        file.write_text(text)
        file.chmod(0o600)
        return file

    return put


@pytest.fixture
def editor(tmp_path, monkeypatch):
    """An $EDITOR that is a shell script; it gets the draft as $1."""

    def use(script: str) -> None:
        program = tmp_path / "an editor"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.delenv("VISUAL", raising=False)
        monkeypatch.setenv("EDITOR", f"'{program}'")

    return use


# generate


def test_generate_makes_up_what_is_missing_and_says_names_only(inv, write):
    file = write("postgres_airflow: kept-as-it-is-1234\n")
    answer = inv("secrets.generate")
    kept = yaml.safe_load(file.read_text())
    assert answer.code == 0
    assert "rabbitmq_cookie" in answer.text
    assert "postgres_airflow" not in answer.text
    assert kept["postgres_airflow"] == "kept-as-it-is-1234"
    assert not any(value in answer.text for value in kept.values())
    assert file.stat().st_mode & 0o777 == 0o600
    before = file.read_bytes()
    assert "has all passwords" in inv("secrets.generate").text
    assert file.read_bytes() == before


def test_generate_leaves_out_what_comes_and_goes_and_what_the_environment_says(
    inv, file, monkeypatch
):
    monkeypatch.setenv("RUNBOOK_SECRET_HAPROXY_STATS", "of the environment")
    inv("secrets.generate")
    names = yaml.safe_load(file.read_text())
    assert "airflow_fernet" in names
    assert not {"airflow_fernet_old", "airflow_user_", "haproxy_stats"} & names.keys()


def test_generate_makes_up_only_what_this_inventory_needs(inv, file, tmp_path, monkeypatch):
    own = some_hosts(tmp_path, ("sql1", "sql2", "sql3"), {}, postgres={})
    monkeypatch.setenv("RUNBOOK_INVENTORY", str(own))
    inv("secrets.generate")
    assert not any(name.startswith("rabbitmq") for name in yaml.safe_load(file.read_text()))


def test_generate_refuses_a_cluster_that_had_passwords_before(inv, file, state):
    (state / "journal.jsonl").write_text(
        'cut short\n{"task": "postgres.patroni", "mode": "do", "result": "changed"}\n'
    )
    answer = inv("secrets.generate")
    assert answer.code == 2
    assert "is missing, but this cluster was set up with it" in answer.text
    assert not file.exists()
    assert inv("secrets.generate", "--i-know").code == 0


# show, list


def test_show_asks_and_refuses_without_a_terminal(inv, write):
    write("postgres_airflow: the-value-itself\n")
    refused = inv("secrets.show", "postgres_airflow")
    assert refused.code == 2
    assert "the-value-itself" not in refused.text
    assert inv("secrets.show", "postgres_airflow", "--yes").text == "the-value-itself\n"


@pytest.mark.parametrize(("typed", "code"), [("yes\n", 0), ("no\n", 1), ("", 1)])
def test_show_shows_after_a_yes_only(inv, write, monkeypatch, typed, code):
    import io

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    write("postgres_airflow: the-value-itself\n")
    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    answer = inv("secrets.show", "postgres_airflow")
    assert answer.code == code
    assert ("the-value-itself" in answer.text) == (code == 0)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("postgres_airfow", "did you mean postgres_airflow?"),
        ("rabbitmq_cookie", "has not been generated yet: inv secrets.generate"),
    ],
)
def test_show_of_what_is_not_there(inv, write, name, sentence):
    write("postgres_airflow: the-value-itself\n")
    answer = inv("secrets.show", name, "--yes")
    assert sentence in answer.text
    assert answer.code == 2


def test_list_says_where_from_and_no_value(inv, write, monkeypatch):
    write("postgres_airflow: the-value-itself\nairflow_user_anna: her-own-password\n")
    monkeypatch.setenv("RUNBOOK_SECRET_HAPROXY_STATS", "of-the-environment")
    text = inv("secrets.list").text
    assert "RUNBOOK_SECRET_HAPROXY_STATS" in text
    assert "not generated yet" in text
    assert "airflow_user_anna" in text
    assert not any(
        value in text for value in ("the-value-itself", "her-own-password", "of-the-environment")
    )


# check


def test_check_of_generated_passwords_finds_nothing(inv):
    inv("secrets.generate")
    answer = inv("secrets.check")
    assert answer.code == 0
    assert "is fine" in answer.text


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("postgres_airflow: airflow\n", "is easy to guess"),
        ("rabbitmq_admin: guest\n", "is easy to guess"),
        ("postgres_airflow: S3cr3t!\n", "is too short: 7 characters"),
        ("vrrp_airflow_vip: abc1\n", "is too short: 4 characters instead of 8"),
        ("postgres_airflow: aaaaaaaaaaaaaaaa\n", "is weak"),
        (
            "postgres_airflow: one-and-the-same\nrabbitmq_admin: one-and-the-same\n",
            "rabbitmq_admin: is the same as postgres_airflow",
        ),
        ("postgres_airfow: long-enough-to-be-fine\n", "is not used by any section"),
    ],
)
def test_check_finds_what_is_weak_shared_or_unused(inv, write, text, sentence):
    write(text)
    answer = inv("secrets.check")
    assert sentence in answer.text
    assert answer.code == 1
    assert "one-and-the-same" not in answer.text


def test_check_knows_users_and_keys_that_come_and_go(inv, write):
    write(f"airflow_user_anna: long-enough-for-her\nairflow_fernet_old: {KEY}\n")
    assert inv("secrets.check").code == 0


@pytest.mark.parametrize(
    ("name", "value", "must"),
    [
        ("airflow_fernet", "not-a-key-at-all", "must be a fernet key: 43 characters"),
        ("airflow_fernet", KEY[:-1], "must be a fernet key: 43 characters"),
        ("airflow_flower", "secret,guest:guest", "must be text without $ and commas"),
        ("airflow_flower", "of-the-$HOME-user", "must be text without $ and commas"),
        ("airflow_webserver", "of-the-$HOME-user", "must be text without $"),
        ("airflow_webserver", " space-at-its-end ", "must be text without $"),
        ("rabbitmq_cookie", "a cookie with spaces", "must be at most 255 characters without"),
        ("vrrp_nfs_vip", "nine-long", "must be one to eight letters, digits"),
    ],
)
def test_what_its_software_would_misread_is_found_and_never_sent(inv, write, name, value, must):
    write(f"{name}: '{value}'\n")
    answer = inv("secrets.check")
    assert answer.code == 1
    assert f"{name}: {must}" in answer.text
    assert value not in answer.text
    with pytest.raises(SettingsError, match=f"{name} must be "):
        CONTENTS.configured().secret(declared(name))


def test_what_is_generated_is_what_its_software_takes(inv):
    inv("secrets.generate")
    assert inv("secrets.check").code == 0


def test_a_password_that_cannot_be_used_can_be_replaced(inv, write):
    write("airflow_flower: secret,guest:guest\n")
    vault, flower = CONTENTS.configured().vault, declared("airflow_flower")
    assert vault.renew(flower) == vault.get(flower) != "secret,guest:guest"


def declared(name: str) -> Secret:
    """A password by its name."""
    return next(one for section in CONTENTS.sections for one in section.secrets if one.name == name)


def test_check_of_a_file_that_others_can_read(inv, write):
    write("postgres_airflow: the-value-itself\n").chmod(0o644)
    answer = inv("secrets.check")
    assert "is readable by others (mode 0644)" in answer.text
    assert "chmod 600" in answer.text
    assert answer.code == 1


def test_check_of_a_file_that_belongs_to_somebody_else(inv, write, monkeypatch):
    write("postgres_airflow: the-value-itself\n")
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    answer = inv("secrets.check")
    assert "belongs to another user" in answer.text
    assert answer.code == 1


@pytest.mark.parametrize(
    ("commands", "sentence"),
    [
        (["init"], "is not ignored by git"),
        (["init", "add -f secrets.yaml"], "is tracked by git"),
        (
            ["init", "add -f .", "commit -m x", "rm --cached secrets.yaml", "commit -m y"],
            "was committed once",
        ),
    ],
)
def test_check_of_a_file_in_git(inv, write, state, commands, sentence):
    write("postgres_airflow: the-value-itself\n")
    (state / "other").write_text("x")
    for command in commands:
        subprocess.run(
            ["git", "-c", "user.name=x", "-c", "user.email=x@example.com", *command.split()],
            cwd=state,
            check=True,
            capture_output=True,
        )
    answer = inv("secrets.check")
    assert sentence in answer.text
    assert answer.code == 1


def test_check_finds_copies_in_plain_text(inv, write, state):
    write("postgres_airflow: the-value-itself\n")
    (state / "secrets.yaml~").write_text("postgres_airflow: the-value-itself\n")
    assert "secrets.yaml~: is a copy in plain text" in inv("secrets.check").text


# edit


def test_edit_replaces_the_file_and_names_what_changed(inv, write, editor):
    file = write("# mine\npostgres_airflow: before-it-was-this\nrabbitmq_admin: stays-as-it-is\n")
    editor(
        "sed -i 's/before-it-was-this/after-it-is-that/' \"$1\"; echo 'odd_one: new-here' >>\"$1\""
    )
    answer = inv("secrets.edit")
    assert answer.code == 0
    assert "changed: postgres_airflow" in answer.text
    assert "new: odd_one" in answer.text
    assert "after-it-is-that" not in answer.text
    assert "# mine" in file.read_text()
    assert "after-it-is-that" in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600


def test_the_draft_is_private_and_goes(inv, write, editor, tmp_path):
    write("postgres_airflow: before-it-was-this\n")
    editor(f'stat -c "%a %n" "$1" "$(dirname "$1")" >{tmp_path}/seen; exit 3')
    answer = inv("secrets.edit")
    assert answer.code == 2
    assert "ended with exit code 3. Nothing was changed" in answer.text
    draft, folder = [line.split(" ") for line in (tmp_path / "seen").read_text().splitlines()]
    assert (draft[0], folder[0]) == ("600", "700")
    assert not Path(folder[1]).exists()


@pytest.mark.parametrize(
    ("script", "sentence", "code"),
    [
        ("true", "Nothing was changed", 1),
        ('echo "postgres_airflow: [" >"$1"', "not valid YAML", 2),
        ('echo "postgres_airflow: 12" >"$1"', "must be text; put it in quotes", 2),
        ("kill -TERM $PPID; sleep 5", "", 143),
    ],
)
def test_an_edit_that_is_no_good_leaves_the_file(inv, write, editor, script, sentence, code):
    file = write("postgres_airflow: before-it-was-this\n")
    editor(script)
    answer = inv("secrets.edit")
    assert sentence in answer.text
    assert answer.code == code
    assert file.read_text() == "postgres_airflow: before-it-was-this\n"


def test_an_edit_does_not_go_over_what_a_run_wrote_meanwhile(inv, write, editor):
    file = write("postgres_airflow: before-it-was-this\n")
    editor(f'echo "rabbitmq_admin: of-another-run" >>{file}; echo "x: y" >>"$1"')
    answer = inv("secrets.edit")
    assert "Another run has just changed" in answer.text
    assert "of-another-run" in file.read_text()


# encrypt, decrypt

AGE = "-----BEGIN AGE ENCRYPTED FILE-----"

OLD_WITH_PASSPHRASE = """\
runbook-sealed/1 passphrase scrypt:4:8:1 cEkgpJw3LckT/XPkHEEbFg==
kd52Fy8LP8QfZSTD3V8ld8pQV+ywk8t8OcJ6MQdkA4QMKgnSmXAk4wOIhgac/pSd4IFVHQIEaK3y
8tqHFbHS
"""
OLD_WITH_KEY = """\
runbook-sealed/1 key hkdf-sha256 b+t2hOshCCywRXZhtG+foA==
of8fzMvi3KqirLUZVIzmOS/iAB7WLM5Omlzb2sSL8Xut7qpSvkD6uxPBUL1r35uzKkILHUh/Tsgj
yDev70wC
"""
OLD_KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"


@pytest.fixture
def encrypted(inv, write, tmp_path, monkeypatch):
    """encrypted("name: value") -> secrets.yaml, encrypted with a key file that is at hand."""

    def made(text: str) -> Path:
        file = write(f"{text}\n")
        monkeypatch.setenv(KEY_VARIABLE, str(tmp_path / "keys" / "airflow.key"))
        assert inv("secrets.encrypt").code == 0
        return file

    return made


def test_encrypted_the_file_tells_nothing_and_all_goes_on(inv, encrypted):
    file = encrypted("postgres_airflow: the-value-itself")
    content = file.read_text()
    assert content.startswith(AGE)
    assert "postgres" not in content
    assert file.stat().st_mode & 0o777 == 0o600
    assert inv("secrets.show", "postgres_airflow", "--yes").text == "the-value-itself\n"
    inv("secrets.generate")
    assert file.read_text().startswith(AGE)
    assert "key file" in inv("secrets.check").text
    assert inv("secrets.decrypt").code == 0
    assert yaml.safe_load(file.read_text())["postgres_airflow"] == "the-value-itself"


def test_what_runs_on_hosts_reads_an_encrypted_file_like_a_plain_one(write, state, monkeypatch):
    write(WITH_PASSPHRASE)
    monkeypatch.setenv(PASSPHRASE_VARIABLE, PASSPHRASE)
    assert CONTENTS.configured().secret(DATABASE) == "the-value-itself"
    monkeypatch.setenv(PASSPHRASE_VARIABLE, "another passphrase altogether")
    with pytest.raises(SettingsError, match="wrong passphrase, or the file is damaged"):
        CONTENTS.configured().secret(DATABASE)


def test_commands_are_shown_without_opening_the_passwords(call, encrypted, state, monkeypatch):
    encrypted("rabbitmq_cookie: the-value-itself")
    monkeypatch.delenv(KEY_VARIABLE)
    (state / "id_ed25519.pub").write_text("ssh-ed25519 AAAA controller\n")
    answer = call(fab_program, "--dry", "-H", "mq1", "rabbitmq.configure")
    assert answer.code == 0
    assert "the-value-itself" not in answer.text


def test_a_key_file_is_made_private_and_needed_afterwards(inv, write, tmp_path, monkeypatch):
    write("postgres_airflow: the-value-itself\n")
    key = tmp_path / "keys" / "airflow.key"
    answer = inv("secrets.encrypt", "--key", str(key))
    assert f"export {KEY_VARIABLE}={key}" in answer.text
    assert key.stat().st_mode & 0o777 == 0o600
    without = inv("secrets.show", "postgres_airflow", "--yes")
    assert f"set {KEY_VARIABLE} to its key file" in without.text
    assert without.code == 2
    monkeypatch.setenv(KEY_VARIABLE, str(key))
    assert inv("secrets.show", "postgres_airflow", "--yes").text == "the-value-itself\n"
    key.chmod(0o640)
    assert f"{key} is readable by others" in inv("secrets.show", "postgres_airflow", "--yes").text


def test_an_encrypted_file_is_edited_without_ever_being_plain_beside_itself(
    inv, encrypted, editor, state, tmp_path
):
    file = encrypted("postgres_airflow: the-value-itself")
    editor(f"grep -rl the-value-itself {state} >{tmp_path}/seen; echo 'x_y: z' >>\"$1\"")
    assert inv("secrets.edit").code == 0
    assert (tmp_path / "seen").read_text() == ""
    assert file.read_text().startswith(AGE)


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({}, "stdin is not a terminal"),
        ({PASSPHRASE_VARIABLE: "short"}, "at least 12 characters"),
        ({KEY_VARIABLE: "/proc/nowhere/key"}, "cannot be written"),
    ],
)
def test_encrypting_without_a_usable_key_changes_nothing(
    inv, write, monkeypatch, environment, sentence
):
    file = write("postgres_airflow: the-value-itself\n")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    answer = inv("secrets.encrypt")
    assert sentence in answer.text
    assert answer.code == 2
    assert file.read_text() == "postgres_airflow: the-value-itself\n"


def test_without_a_terminal_and_a_passphrase_the_variable_is_named(inv, write):
    write(WITH_PASSPHRASE)
    answer = inv("secrets.show", "postgres_airflow", "--yes")
    assert f"Set {PASSPHRASE_VARIABLE}" in answer.text
    assert answer.code == 2


def test_what_an_older_release_encrypted_with_a_passphrase_is_converted(inv, write, monkeypatch):
    file = write(OLD_WITH_PASSPHRASE)
    monkeypatch.setenv(PASSPHRASE_VARIABLE, PASSPHRASE)
    assert "Convert it: inv secrets.encrypt" in inv("secrets.show", "postgres_airflow").text
    assert inv("secrets.encrypt").code == 0
    assert file.read_text().startswith(AGE)
    assert inv("secrets.show", "postgres_airflow", "--yes").text == "the-value-itself\n"


def test_what_an_older_release_encrypted_with_a_key_file_is_converted(
    inv, write, tmp_path, monkeypatch
):
    file, old, new = write(OLD_WITH_KEY), tmp_path / "old.key", tmp_path / "new.key"
    old.write_text(OLD_KEY)
    old.chmod(0o600)
    monkeypatch.setenv(KEY_VARIABLE, str(old))
    assert "is not an age key file" in inv("secrets.encrypt").text
    assert file.read_text() == OLD_WITH_KEY
    assert inv("secrets.encrypt", "--key", str(new)).code == 0
    monkeypatch.setenv(KEY_VARIABLE, str(new))
    assert inv("secrets.show", "postgres_airflow", "--yes").text == "the-value-itself\n"


@pytest.mark.parametrize("task", ["edit", "encrypt", "decrypt"])
def test_without_a_file_there_is_a_sentence(inv, task):
    answer = inv(f"secrets.{task}")
    assert "secrets.yaml does not exist" in answer.text
    assert answer.code == 2
