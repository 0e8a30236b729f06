"""Public keys of SSH, as servers answer with them: each is validated before it is used."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable

from runbook.errors import RunbookError

KINDS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
)
LONGEST = 6000
"""Characters; an RSA key of 16384 bits has 2800."""


def public_key(text: str, source: str) -> str:
    """The type and the base64 of a text that is one public key, without its comment.

    `source`, such as `worker1: /etc/airflow/ssh/id_ed25519.pub`, begins the sentence of a refusal,
    which does not repeat the text.
    """
    lines = text.strip("\n").split("\n")
    why = f"has {len(lines)} lines" if len(lines) > 1 else _objection(lines[0])
    if why:
        raise RunbookError(
            f"{source} {why}; one public key is expected there, as ssh-keygen writes it "
            f"({', '.join(KINDS)}; no options). Nothing was done with it. Find out who changed it."
        )
    kind, blob = lines[0].split(" ")[:2]
    return f"{kind} {blob}"


def public_keys(lines: Iterable[str], source: str) -> list[str]:
    """The types and the base64 of several public keys, such as the host keys of a server."""
    return [public_key(line, source) for line in lines]


def _objection(line: str) -> str:
    kind, _, rest = line.partition(" ")
    text = rest.partition(" ")[0]
    if kind not in KINDS or not line.isprintable() or len(line) > LONGEST:
        return "does not begin with the type of a key"
    try:
        blob = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return "is not a key in base64"
    name = len(kind).to_bytes(4, "big") + kind.encode()
    return "" if blob.startswith(name) and len(blob) > len(name) + 4 else f"is not a {kind} key"
