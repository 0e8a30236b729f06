"""The mask finds a secret in whatever form a program prints it, and journals keep none."""

from __future__ import annotations

import html
import json
import shlex
from base64 import b64encode, urlsafe_b64encode
from urllib.parse import quote, quote_plus

import pytest

from runbook.execute.journal import Journal
from runbook.secrets.mask import MASK, Mask
from runbook.secrets.patterns import typed_without_passwords
from runbook.secrets.vault import PASSPHRASE_VARIABLE, Secret, Vault

VALUE = "p/l4n?t&e'd <ß%20".replace("ß", '"') + "x1"


@pytest.fixture
def mask():
    mask = Mask()
    mask.add(VALUE)
    return mask


@pytest.mark.parametrize(
    "form",
    [
        str,
        shlex.quote,
        json.dumps,
        quote,
        quote_plus,
        html.escape,
        lambda value: quote(value, safe=""),
        lambda value: json.dumps({"body": json.dumps({"x": value})}),
        lambda value: value.replace("'", "''"),
        lambda value: value.replace("%", "%%"),
        lambda value: value.encode().hex(),
    ],
)
def test_a_value_is_masked_however_it_is_written(mask, form):
    text = mask(f"before {form(VALUE)} after")
    assert MASK in text
    assert text.startswith("before ")
    assert text.endswith(" after")
    assert "l4n" not in text.replace(MASK, "")


@pytest.mark.parametrize("encode", [b64encode, urlsafe_b64encode])
@pytest.mark.parametrize("before", ["", "a", "ab", "admin:", "user:"])
@pytest.mark.parametrize("after", ["", "\n", ", and more"])
def test_a_value_is_masked_within_any_base64(mask, encode, before, after):
    text = encode(f"{before}{VALUE}{after}".encode()).decode()
    assert text not in mask(f"Basic {text}")
    kept = [len(part) for part in mask(text).split(MASK)]
    assert sum(kept) <= (len(before) + len(after)) * 4 // 3 + 4


def test_short_values_are_masked_only_once_they_are_used():
    mask = Mask()
    mask.learn(["abc", "abcdef"])
    assert mask("abc, abcdef") == f"abc, {MASK}"


def test_every_value_of_the_file_and_the_environment_is_masked(tmp_path, monkeypatch):
    monkeypatch.setenv("RUNBOOK_SECRET_OTHER", "of-the-environment")
    file = tmp_path / "secrets.yaml"
    file.write_text("smtp: never-asked-for\n")
    file.chmod(0o600)
    mask = Mask()
    Vault(file, mask).learn()
    assert mask("never-asked-for of-the-environment") == f"{MASK} {MASK}"


def test_an_encrypted_file_is_not_opened_for_the_mask_if_that_asks(tmp_path, monkeypatch):
    monkeypatch.delenv(PASSPHRASE_VARIABLE, raising=False)
    file = tmp_path / "secrets.yaml"
    file.write_text("-----BEGIN AGE ENCRYPTED FILE-----\nLT4gc2NyeXB0IA==\n")
    file.chmod(0o600)
    vault = Vault(file, Mask())
    vault.ask = lambda *question: pytest.fail("it asked")
    vault.learn()


def test_a_secret_that_is_given_is_never_generated(tmp_path):
    vault = Vault(tmp_path / "secrets.yaml", Mask())
    with pytest.raises(Exception, match=r"x needs, has no value. Set it: inv secrets.set smtp"):
        vault.get(Secret("smtp", "x", given=True))
    assert vault.keep() == []


@pytest.mark.parametrize(
    "command",
    [
        "mysql -ppl4nted -h db",
        "psql -c \"alter role x password 'pl4nted'\"",
        "curl -u admin:pl4nted http://127.0.0.1:15672/api/whoami",
        "curl -H 'Authorization: Bearer pl4nted' http://x",
        "thing --password=pl4nted",
        "thing --password pl4nted",
        "git clone https://user:pl4nted@example.com/x",
        "scp user:pl4nted@example.com x",
        "TOKEN=pl4nted ./deploy",
        "sshpass -p pl4nted ssh x",
        "echo rocky:pl4nted | sudo chpasswd",
        "rabbitmqctl change_password airflow pl4nted",
    ],
)
def test_the_journal_gets_commands_without_passwords(command, tmp_path):
    typed = typed_without_passwords(command)
    assert "pl4nted" not in typed
    assert typed.split()[0].startswith(command.split()[0][:5])
    journal = Journal(tmp_path, Mask())
    journal.write(task="command", step=typed)
    assert "pl4nted" not in journal.file.read_text()


@pytest.mark.parametrize(
    "command",
    ["uptime", "systemctl status patroni", "mkdir -p /x/y", "ssh -p 2222 x", "dnf -y install vim"],
)
def test_other_commands_are_journalled_as_they_are(command):
    assert typed_without_passwords(command) == command


def test_the_journal_masks_what_errors_say(tmp_path):
    journal = Journal(tmp_path, Mask())
    journal.write(task="x", why="cannot connect to postgresql://u:pl4nted@h/db")
    assert "pl4nted" not in journal.file.read_text()
    assert "cannot connect" in journal.file.read_text()
