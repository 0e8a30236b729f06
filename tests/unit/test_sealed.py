"""The format of an encrypted file: who opens it, and what happens to one that is damaged."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from runbook.errors import SettingsError
from runbook.secrets import sealed
from runbook.secrets.vault import PASSPHRASE_VARIABLE, Mask, Passwords, Secret, Vault

PASSPHRASE = "correct horse battery staple"
DATABASE = Secret("database", "the database")
OPENER = sealed.Passphrase(PASSPHRASE)


def test_what_is_sealed_twice_differs_and_opens_the_same(monkeypatch):
    monkeypatch.setattr(sealed, "SCRYPT", (4, 8, 1))
    one, other = sealed.seal(b"content", OPENER), sealed.seal(b"content", OPENER)
    assert one != other
    assert sealed.unseal(one, OPENER, "x") == sealed.unseal(other, OPENER, "x") == b"content"


def test_the_shipped_cost_is_owasps():
    assert sealed.SCRYPT >= (17, 8, 1)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[:-10],
        lambda text: text[:40],
        lambda text: text.split(b"\n")[0],
        lambda text: text.replace(b"scrypt:4:", b"scrypt:30:"),
        lambda text: text.replace(b"scrypt:4:", b"scrypt:0:"),
        lambda text: text.replace(b"\n", b"\n\xff", 1),
    ],
)
def test_a_damaged_file_is_one_sentence(monkeypatch, spoil):
    monkeypatch.setattr(sealed, "SCRYPT", (4, 8, 1))
    with pytest.raises(SettingsError, match=r"file is damaged or cut short|cannot be opened"):
        sealed.unseal(spoil(sealed.seal(b"content" * 20, OPENER)), OPENER, "file")


def test_the_header_is_authenticated_too(monkeypatch):
    monkeypatch.setattr(sealed, "SCRYPT", (4, 8, 1))
    text = sealed.seal(b"content", OPENER).replace(b"passphrase scrypt", b"passphrasE scrypt")
    with pytest.raises(SettingsError, match="cannot be opened"):
        sealed.unseal(text, OPENER, "file")


def test_a_vault_asks_for_the_passphrase_once(tmp_path, monkeypatch):
    monkeypatch.setattr(sealed, "SCRYPT", (4, 8, 1))
    monkeypatch.delenv(PASSPHRASE_VARIABLE, raising=False)
    file = tmp_path / "secrets.yaml"
    file.write_bytes(sealed.seal(b"database: the-value-itself\n", OPENER))
    file.chmod(0o600)
    mask = Mask()
    vault = Vault(file, mask)
    asked = []
    vault.ask = lambda variable, question: asked.append(variable) or PASSPHRASE
    assert vault.get(DATABASE) == "the-value-itself"
    vault.get(Secret("another", "generated"))
    vault.keep()
    assert asked == [PASSPHRASE_VARIABLE]
    assert b"the-value-itself" not in file.read_bytes()
    assert "the-value-itself" not in mask("the-value-itself")


def test_workers_wait_for_a_passphrase_that_is_asked_once_in_the_main_thread(tmp_path, monkeypatch):
    monkeypatch.setattr(sealed, "SCRYPT", (4, 8, 1))
    monkeypatch.delenv(PASSPHRASE_VARIABLE, raising=False)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    file = tmp_path / "secrets.yaml"
    file.write_bytes(sealed.seal(b"database: the-value-itself\n", OPENER))
    file.chmod(0o600)
    mask, asked = Mask(), []

    def ask(question):
        asked.append(threading.current_thread())
        return PASSPHRASE

    passwords = Passwords(mask, ask)
    vault = Vault(file, mask)
    vault.ask = passwords.get
    with ThreadPoolExecutor() as workers:
        waiting = [workers.submit(vault.get, DATABASE) for _ in range(4)]
        while not all(worker.done() for worker in waiting):
            passwords.answer()
            time.sleep(0.01)
    assert [worker.result() for worker in waiting] == ["the-value-itself"] * 4
    assert asked == [threading.main_thread()]


def test_a_text_that_is_no_key_is_named(tmp_path):
    key = tmp_path / "key"
    key.write_text("hello\n")
    key.chmod(0o600)
    with pytest.raises(SettingsError, match="is no key file"):
        sealed.seal(b"content", sealed.KeyFile(key))
