"""Encryption at rest: the format of a sealed file, and the two kinds of keys that open it.

A sealed file is text. Its first line says how the key is made; the rest, in base64, is a nonce of
12 bytes and what AES-256-GCM makes of the content. The first line is authenticated, too.

    runbook-sealed/1 passphrase scrypt:17:8:1 SALT     the key is scrypt's, of the passphrase
    runbook-sealed/1 key hkdf-sha256 SALT              the key is HKDF's, of the key file's bytes

Each time a file is written it gets a new salt, and so a key of its own.
"""

from __future__ import annotations

import binascii
import os
import re
import textwrap
from base64 import b64decode, b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import Union

from runbook.errors import SettingsError
from runbook.secrets.private_file import read_private, write_private

MAGIC = "runbook-sealed/1"
KEY_BYTES = 32
SALT_BYTES = 16
NONCE_BYTES = 12

SCRYPT = (17, 8, 1)
"""log2 of N, r, p: 128 MiB and about half a second for each guess (OWASP's choice)."""

HIGHEST_SCRYPT = (20, 16, 4)
"""A header that asks for more is not ours; it would only eat the machine's memory."""

SHORTEST_PASSPHRASE = 12


@dataclass(frozen=True)
class Passphrase:
    """A passphrase; scrypt makes each guess expensive."""

    text: str
    kind = "passphrase"
    about = "passphrase"

    def method(self) -> str:
        """How a key is made of it, for the header."""
        return "scrypt:" + ":".join(map(str, SCRYPT))

    def key(self, method: str, salt: bytes) -> bytes:
        """The key that a header's method makes of it."""
        from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

        match = re.fullmatch(r"scrypt:(\d{1,2}):(\d{1,2}):(\d{1,2})", method)
        numbers = [int(number) for number in match.groups()] if match else [0]
        if not match or not all(
            1 <= number <= most for number, most in zip(numbers, HIGHEST_SCRYPT)
        ):
            raise ValueError(method)
        cost, block, parallel = numbers
        scrypt = Scrypt(salt=salt, length=KEY_BYTES, n=2**cost, r=block, p=parallel)
        return scrypt.derive(os.fsencode(self.text))


@dataclass(frozen=True)
class KeyFile:
    """A file with 32 random bytes in base64, for its owner only."""

    file: Path
    kind = "key"
    about = "key file"

    def method(self) -> str:
        """How a key is made of it, for the header."""
        return "hkdf-sha256"

    def key(self, method: str, salt: bytes) -> bytes:
        """The key that a header's method makes of it."""
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        if method != self.method():
            raise ValueError(method)
        secret = self._secret()
        return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=salt, info=MAGIC.encode()).derive(
            secret
        )

    def _secret(self) -> bytes:
        try:
            secret = b64decode(read_private(self.file).strip(), validate=True)
        except binascii.Error:
            secret = b""
        if len(secret) != KEY_BYTES:
            raise SettingsError(
                f"{self.file} is no key file: it should hold {KEY_BYTES} bytes in base64."
            )
        return secret

    def make(self) -> None:
        """A new key file; SettingsError if there is one already."""
        if self.file.exists():
            raise SettingsError(f"{self.file} exists already and may be the key of other files.")
        write_private(self.file, b64encode(os.urandom(KEY_BYTES)) + b"\n")


Opener = Union[Passphrase, KeyFile]


def kind(content: bytes) -> str:
    """What opens a file's content: `passphrase`, `key`, or nothing if it is not sealed."""
    words = content.split(b"\n", 1)[0].split(b" ")
    return words[1].decode("ascii", "replace") if words[0] == MAGIC.encode() and words[1:] else ""


def seal(content: bytes, opener: Opener) -> bytes:
    """`content` encrypted, so that only `opener` opens it."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    salt, nonce = os.urandom(SALT_BYTES), os.urandom(NONCE_BYTES)
    method = opener.method()
    header = f"{MAGIC} {opener.kind} {method} {b64encode(salt).decode()}"
    encrypted = AESGCM(opener.key(method, salt)).encrypt(nonce, content, header.encode())
    body = textwrap.fill(b64encode(nonce + encrypted).decode(), 76)
    return f"{header}\n{body}\n".encode()


def unseal(sealed: bytes, opener: Opener, name: str) -> bytes:
    """What `seal` was given; SettingsError that names the file if it cannot be had."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    header, _, body = sealed.partition(b"\n")
    try:
        _, _, method, salt = header.decode("ascii").split(" ")
        text = b64decode(b"".join(body.split()), validate=True)
        if len(text) < NONCE_BYTES + 16 or not body.endswith(b"\n"):
            raise ValueError("too short")
        key = opener.key(method, b64decode(salt, validate=True))
    except ValueError:  # also what is not base64, or not ASCII
        raise SettingsError(
            f"{name} is damaged or cut short; bring back its copy from your backup."
        ) from None
    try:
        return AESGCM(key).decrypt(text[:NONCE_BYTES], text[NONCE_BYTES:], header)
    except InvalidTag:
        raise SettingsError(
            f"{name} cannot be opened: it is another {opener.about}, or the file was changed."
        ) from None
