"""Passwords in commands that are shown: for a person to fill in, and on no screen or page."""

from __future__ import annotations

import re
import secrets as randomness
from pathlib import Path
from typing import Optional

from runbook.secrets.vault import MASK, Mask, Secret, Vault

MARKED = re.compile(r"@([a-z0-9_]+)@")


class Placeholders(Vault):
    """Stands in for the vault; in `shown` text each password that it gave is `@name@`.

    Values are made up for the moment. Only where answers of hosts are compared with them do they
    have to be those of `vault`.
    """

    def __init__(self, vault: Optional[Vault] = None) -> None:
        super().__init__(vault.file if vault else Path("secrets.yaml"), Mask())
        self._vault = vault
        self._given: dict[str, tuple[Secret, str, Mask]] = {}

    def get(self, secret: Secret) -> str:
        """A value that `shown` recognises."""
        with self._lock:
            if secret.name not in self._given:
                mask = Mask()
                made_up = randomness.token_urlsafe(secret.length * 3 // 4)
                value = mask.add(self._vault.get(secret) if self._vault else made_up)
                self._given[secret.name] = secret, value, mask
            return self._given[secret.name][1]

    def knows(self, secret: Secret) -> bool:
        """What is shown is for a person who has secrets.yaml, and is not amid a rotation."""
        return self._vault.knows(secret) if self._vault else not secret.passing

    def keep(self) -> list[str]:
        """Nothing: what was generated here is no password of anything."""
        return []

    def shown(self, text: str) -> str:
        """`text` with `@name@` in the place of each password."""
        for secret, _, mask in self._given.values():
            text = mask(text).replace(MASK, f"@{secret.name}@")
        return text

    def named_in(self, text: str) -> list[Secret]:
        """The passwords whose placeholders are in a text that was `shown`."""
        names = set(MARKED.findall(text))
        return [secret for secret, _, _ in self._given.values() if secret.name in names]
