"""The format of an encrypted file: who opens it, and what happens to one that is damaged."""

from __future__ import annotations

import textwrap
import threading
import time
from base64 import b64decode, b64encode
from concurrent.futures import ThreadPoolExecutor

import pyrage
import pytest
from support.sealed_file import PASSPHRASE, WITH_PASSPHRASE

from runbook.errors import SettingsError
from runbook.secrets import sealed
from runbook.secrets.mask import Mask
from runbook.secrets.vault import PASSPHRASE_VARIABLE, Passwords, Secret, Vault

DATABASE = Secret("database", "the database")


@pytest.fixture
def key(tmp_path) -> sealed.KeyFile:
    """A key file that was just made."""
    made = sealed.KeyFile(tmp_path / "airflow.key")
    made.make()
    return made


def test_what_is_sealed_twice_differs_and_opens_the_same(key):
    one, other = sealed.seal(b"content", key), sealed.seal(b"content", key)
    assert one != other
    assert sealed.unseal(one, key, "x") == sealed.unseal(other, key, "x") == b"content"
    assert sealed.kind(one) == "key"


def test_any_tool_for_age_opens_it(key):
    [identity] = [line for line in key.file.read_text().splitlines() if line.startswith("AGE-")]
    text = sealed.seal(b"content", key)
    assert pyrage.decrypt(text, [pyrage.x25519.Identity.from_str(identity)]) == b"content"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[:-10],
        lambda text: text[:60],
        lambda text: text.split(b"\n")[0],
        lambda text: text.replace(b"\n", b"\n\xff", 1),
        lambda text: text[:-60] + (b"B" if text[-60:-59] == b"A" else b"A") + text[-59:],
    ],
)
def test_a_damaged_file_is_one_sentence(key, spoil):
    with pytest.raises(SettingsError, match=r"file cannot be decrypted"):
        sealed.unseal(spoil(sealed.seal(b"content" * 20, key)), key, "file")


def test_another_key_is_one_sentence(key, tmp_path):
    other = sealed.KeyFile(tmp_path / "other.key")
    other.make()
    with pytest.raises(SettingsError, match="file cannot be decrypted: wrong key file"):
        sealed.unseal(sealed.seal(b"content", key), other, "file")


def test_a_passphrase_that_takes_too_much_work_here_is_not_called_wrong():
    """As on a machine that is busy, or much slower than the one that encrypted the file."""
    begin, *lines, end = WITH_PASSPHRASE.splitlines()
    file = b64decode("".join(lines)).replace(b" 4\n", b" 30\n", 1)
    with pytest.raises(SettingsError, match=r"file was not decrypted: .* too long"):
        sealed.unseal(armored(file, begin, end), sealed.Passphrase(PASSPHRASE), "file")


def armored(file: bytes, begin: str, end: str) -> bytes:
    text = b64encode(file).decode()
    return "\n".join([begin, *textwrap.wrap(text, 64), end, ""]).encode()


def test_a_vault_asks_for_the_passphrase_once(tmp_path, monkeypatch):
    monkeypatch.delenv(PASSPHRASE_VARIABLE, raising=False)
    file = tmp_path / "secrets.yaml"
    file.write_text(WITH_PASSPHRASE)
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
    monkeypatch.delenv(PASSPHRASE_VARIABLE, raising=False)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    file = tmp_path / "secrets.yaml"
    file.write_text(WITH_PASSPHRASE)
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
    with pytest.raises(SettingsError, match="is not an age key file"):
        sealed.seal(b"content", sealed.KeyFile(key))
