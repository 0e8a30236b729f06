"""Encryption at rest: a file in the age format, and the two kinds of keys that open it.

Any tool for age (age-encryption.org/v1) opens it, too: `age -d secrets.yaml` with the passphrase,
or `age -d -i KEYFILE secrets.yaml`.
"""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as NotBase64
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

from runbook.errors import SettingsError
from runbook.secrets.private_file import read_private, write_private

BEGIN = b"-----BEGIN AGE ENCRYPTED FILE-----"

SHORTEST_PASSPHRASE = 12


@dataclass(frozen=True)
class Passphrase:
    """A passphrase; scrypt makes each guess expensive, so that opening the file takes a second."""

    text: str
    kind = "passphrase"
    about = "passphrase"

    def encrypt(self, content: bytes) -> bytes:
        """The encrypted file."""
        from pyrage import passphrase

        return bytes(passphrase.encrypt(content, self.text, armored=True))

    def decrypt(self, sealed: bytes) -> bytes:
        """The content of the file."""
        from pyrage import passphrase

        return bytes(passphrase.decrypt(sealed, self.text))


@dataclass(frozen=True)
class KeyFile:
    """A file with an age identity, as age-keygen writes it, which only its owner may read."""

    file: Path
    kind = "key"
    about = "key file"

    def encrypt(self, content: bytes) -> bytes:
        """The encrypted file."""
        import pyrage

        return bytes(pyrage.encrypt(content, [self._identity().to_public()], armored=True))

    def decrypt(self, sealed: bytes) -> bytes:
        """The content of the file."""
        import pyrage

        return bytes(pyrage.decrypt(sealed, [self._identity()]))

    def _identity(self) -> Any:
        from pyrage import IdentityError, x25519

        lines = read_private(self.file).decode("ascii", "replace").splitlines()
        keys = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
        try:
            [key] = keys
            return x25519.Identity.from_str(key)
        except (ValueError, IdentityError):
            raise SettingsError(
                f"{self.file} is not an age key file. To create one: --key with a new file name, "
                "or age-keygen."
            ) from None

    def make(self) -> None:
        """Create the key file; SettingsError if it exists already."""
        from pyrage import x25519

        if self.file.exists():
            raise SettingsError(f"{self.file} already exists and may be the key of other files.")
        key = x25519.Identity.generate()
        write_private(self.file, f"# public key: {key.to_public()}\n{key}\n".encode())


Opener = Union[Passphrase, KeyFile]


def kind(content: bytes) -> str:
    """What decrypts a file's content: `passphrase`, `key`, or empty if it is not encrypted."""
    if not content.startswith(BEGIN):
        return ""
    try:
        header = b64decode(b"".join(content.split(b"\n")[1:3]))
    except NotBase64:
        header = b""
    return Passphrase.kind if b"-> scrypt " in header else KeyFile.kind


def seal(content: bytes, opener: Opener) -> bytes:
    """`content` encrypted, so that only `opener` opens it."""
    return opener.encrypt(content)


def unseal(sealed: bytes, opener: Opener, name: str) -> bytes:
    """The decrypted content; SettingsError that names the file if it cannot be decrypted."""
    from pyrage import DecryptError

    try:
        return opener.decrypt(sealed)
    except DecryptError as error:
        if "Excessive work" in str(error):  # by what the machine can do at this moment
            raise SettingsError(
                f"{name} was not decrypted: it would take this machine too long. The machine is "
                "busy, or much slower than the one that encrypted the file. Try again later, or on "
                "a faster machine."
            ) from None
        raise SettingsError(
            f"{name} cannot be decrypted: wrong {opener.about}, or the file is damaged. If the "
            f"{opener.about} is right, restore the file from your backup."
        ) from None
