"""The encrypted format of the first release, which is only read: `inv secrets.encrypt` converts it.

The first line says how the key is derived; the rest, in base64, is a nonce of 12 bytes and the
content encrypted with AES-256-GCM. The first line is authenticated, too.

    runbook-sealed/1 passphrase scrypt:17:8:1 SALT     the key is scrypt's, of the passphrase
    runbook-sealed/1 key hkdf-sha256 SALT              the key is HKDF's, of the key file's bytes
"""

from __future__ import annotations

import os
import re
from base64 import b64decode
from pathlib import Path

from runbook.errors import SettingsError
from runbook.secrets.private_file import read_private

MAGIC = b"runbook-sealed/1"
KEY_BYTES, NONCE_BYTES = 32, 12

HIGHEST_SCRYPT = (20, 16, 4)
"""The largest accepted parameters of scrypt; more would only use up the machine's memory."""


def kind(content: bytes) -> str:
    """What decrypts a file of this format: `passphrase` or `key`; empty for another format."""
    words = content.split(b"\n", 1)[0].split(b" ")
    return words[1].decode("ascii", "replace") if words[0] == MAGIC and words[1:] else ""


def unseal(sealed: bytes, secret: bytes, name: str) -> bytes:
    """The content; SettingsError that names the file if it cannot be decrypted.

    `secret` is the passphrase, or what the key file holds.
    """
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    header, _, body = sealed.partition(b"\n")
    try:
        _, _, method, salt = header.decode("ascii").split(" ")
        text = b64decode(b"".join(body.split()), validate=True)
        key = _key(method, b64decode(salt, validate=True), secret)
        return AESGCM(key).decrypt(text[:NONCE_BYTES], text[NONCE_BYTES:], header)
    except ValueError:  # also what is not base64, or not ASCII
        raise SettingsError(f"{name} is damaged. Restore it from your backup.") from None
    except InvalidTag:
        raise SettingsError(
            f"{name} cannot be decrypted: wrong passphrase or key, or the file was changed."
        ) from None


def _key(method: str, salt: bytes, secret: bytes) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    if method == "hkdf-sha256":
        return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=salt, info=MAGIC).derive(secret)
    match = re.fullmatch(r"scrypt:(\d{1,2}):(\d{1,2}):(\d{1,2})", method)
    numbers = [int(number) for number in match.groups()] if match else [0]
    if not match or not all(1 <= number <= most for number, most in zip(numbers, HIGHEST_SCRYPT)):
        raise ValueError(method)
    cost, block, parallel = numbers
    return Scrypt(salt=salt, length=KEY_BYTES, n=2**cost, r=block, p=parallel).derive(secret)


def secret_of(passphrase: str) -> bytes:
    """The `secret` of `unseal` that belongs to a passphrase."""
    return os.fsencode(passphrase)


def secret_in(key_file: Path) -> bytes:
    """The `secret` of `unseal` that belongs to a key file."""
    try:
        return b64decode(read_private(key_file).strip(), validate=True)
    except ValueError:
        raise SettingsError(f"{key_file} is not a key file of {MAGIC.decode()}.") from None
