"""The mask: it keeps every known secret out of all output and files, however it is encoded."""

from __future__ import annotations

import html
import json
import re
import shlex
import threading
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote, quote_plus

MASK = "••••••"

SHORTEST = 6
"""Characters from which a secret is also found encoded, and before a task uses it."""


class Mask:
    """Replaces every known secret in a text: as it is, quoted, escaped or encoded."""

    def __init__(self) -> None:
        self._learned: set[str] = set()
        self._plain: list[str] = []
        self._encoded: list[tuple[str, re.Pattern[str]]] = []
        self._lock = threading.Lock()

    def add(self, secret: str) -> str:
        """Learn a secret; returns it."""
        if secret and secret not in self._learned:
            with self._lock:
                plain = {*self._plain, secret, *_escaped(secret)}
                self._plain = sorted(plain, key=len, reverse=True)
                if len(secret) >= SHORTEST:
                    self._encoded = [*self._encoded, *_encoded(secret)]
                self._learned.add(secret)
        return secret

    def learn(self, secrets: Iterable[str]) -> None:
        """Learn secrets that no task has used yet; short ones could be part of any word."""
        for secret in secrets:
            if len(secret) >= SHORTEST:
                self.add(secret)

    def __call__(self, text: str) -> str:
        """`text` with every secret masked, the longest first."""
        for value in self._plain:
            text = text.replace(value, MASK)
        for core, pattern in self._encoded:
            if core in text:
                text = pattern.sub(MASK, text)
        return text

    def all(self, value: Any) -> Any:
        """`value` with every string in it masked, including those in lists and mappings."""
        if isinstance(value, str):
            return self(value)
        if isinstance(value, (list, tuple)):
            return type(value)(self.all(item) for item in value)
        if isinstance(value, dict):
            return {self.all(key): self.all(item) for key, item in value.items()}
        return value


def _escaped(secret: str) -> Iterator[str]:
    """A secret as shells, JSON, YAML, SQL, ini files, HTML and URLs write it."""
    for text in (
        shlex.quote(secret),
        shlex.quote(secret).strip("'"),
        json.dumps(secret)[1:-1],
        json.dumps(json.dumps(secret)[1:-1])[1:-1],
        secret.replace("'", "''"),
        secret.replace("%", "%%"),
        html.escape(secret),
        quote(secret),
        quote(secret, safe=""),
        quote_plus(secret),
        re.sub("%[0-9A-F]{2}", lambda match: match[0].lower(), quote(secret, safe="")),
    ):
        if len(text) >= len(secret):
            yield text


def _encoded(secret: str) -> Iterator[tuple[str, re.Pattern[str]]]:
    """Base64 of any text that contains the secret, and its hexadecimal digits.

    Three bytes make four characters, so it looks different at each of three offsets; characters
    that also depend on the text around it are masked with it.
    """
    data = secret.encode()
    for encode in (b64encode, urlsafe_b64encode):
        for offset in range(3):
            whole = encode(b"\0" * offset + data).decode()
            first, last = -(-8 * offset // 6), 8 * (offset + len(data)) // 6
            core = whole[first:last]
            around = "[A-Za-z0-9+/_-]?" if offset else ""
            yield core, re.compile(f"{around}{re.escape(core)}[A-Za-z0-9+/_-]?=*")
    for digits in (data.hex(), data.hex().upper()):
        yield digits, re.compile(digits)
