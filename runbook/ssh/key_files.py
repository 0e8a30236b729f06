"""Private key files, and the reasons why one cannot be used directly."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, cast

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm

from runbook.errors import SettingsError
from runbook.ssh.certificates import SUFFIX

ARMOUR = re.compile(rb"-----BEGIN OPENSSH PRIVATE KEY-----(.+)-----END", re.DOTALL)
MAGIC = b"openssh-key-v1\0"


class Trouble(Enum):
    """The reasons why a key file cannot be used directly."""

    MISSING = "it does not exist"
    LOCKED = "it has a passphrase"
    ONLY_BY_AGENT = "it is a security key or another key that only an agent can use"
    UNUSABLE = "it cannot be read"


@dataclass(frozen=True)
class KeyFile:
    """A key file after reading: its key, or the problem with it. `public`: its public key."""

    path: Path
    public: bytes
    key: paramiko.PKey | None = None
    trouble: Trouble | None = None
    reason: str = ""

    def unlocked(self, passphrase: str) -> KeyFile:
        """Return the file with its key decrypted; SettingsError if the passphrase is wrong."""
        try:
            key = paramiko.PKey.from_path(self.path, cast("Any", passphrase.encode()))
        except (paramiko.SSHException, ValueError, TypeError):
            raise SettingsError(f"The passphrase of {self.path} is wrong; rerun.") from None
        return KeyFile(self.path, self.public, key)


def key_file(path: Path) -> KeyFile:
    """Read a key file and the certificate beside it, if any."""
    public = public_half(path)
    security_key = b"sk-" in public[:7]
    try:
        return KeyFile(path, public, paramiko.PKey.from_path(path))
    except FileNotFoundError:
        return KeyFile(path, public, trouble=Trouble.MISSING)
    except (TypeError, paramiko.PasswordRequiredException):
        trouble = Trouble.ONLY_BY_AGENT if security_key else Trouble.LOCKED
        return KeyFile(path, public, trouble=trouble)
    except (UnsupportedAlgorithm, paramiko.pkey.UnknownKeyType):
        return KeyFile(path, public, trouble=Trouble.ONLY_BY_AGENT)
    except (paramiko.SSHException, ValueError, OSError) as error:
        if security_key:
            return KeyFile(path, public, trouble=Trouble.ONLY_BY_AGENT)
        reason = str(error).rstrip(".")
        return KeyFile(path, public, trouble=Trouble.UNUSABLE, reason=reason)


def public_half(path: Path) -> bytes:
    """Return the public key, from the .pub file or the key file itself; empty if unknown."""
    try:
        words = path.with_name(f"{path.name}.pub").read_bytes().split()
        return base64.b64decode(words[1])
    except (OSError, IndexError, ValueError):
        pass
    try:
        armoured = ARMOUR.search(path.read_bytes())
        data = base64.b64decode(armoured[1]) if armoured else b""
    except (OSError, ValueError):
        return b""
    if not data.startswith(MAGIC):
        return b""
    message = paramiko.Message(data[len(MAGIC) :])
    for _ in ("cipher", "kdf", "its options"):
        message.get_binary()
    message.get_int()
    return message.get_binary()


def plain(blob: bytes) -> bytes:
    """Return the public key in a certificate; any other public key is returned unchanged."""
    kind = paramiko.Message(blob).get_text()
    if not kind.endswith(SUFFIX):
        return blob
    try:
        return paramiko.PKey.from_type_string(kind[: -len(SUFFIX)], blob).asbytes()
    except (paramiko.SSHException, paramiko.pkey.UnknownKeyType):
        return blob
