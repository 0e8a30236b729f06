"""Placeholders for passwords in commands that are shown; the reader fills in the passwords."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Callable, Optional

from runbook.secrets.mask import MASK, Mask
from runbook.secrets.vault import Secret, Vault

MARKED = re.compile(r"@([a-z0-9_]+)@")


class Placeholders(Vault):
    """Replaces the vault; in `shown` text each password that it returned becomes `@name@`.

    Its values are random unless `vault` is given, whose values are needed where answers of hosts
    are compared with them. `given`: a vault whose values are used for secrets of the user's own.
    """

    def __init__(self, vault: Optional[Vault] = None, given: Optional[Vault] = None) -> None:
        super().__init__(vault.file if vault else Path("secrets.yaml"), Mask())
        self._vault = vault
        self._of_the_user = given
        self._given: dict[str, tuple[Secret, str, Mask]] = {}

    def get(self, secret: Secret) -> str:
        """A value that `shown` recognises."""
        with self._lock:
            if secret.name not in self._given:
                mask = Mask()
                vault = self._of_the_user if secret.given and self._of_the_user else self._vault
                value = mask.add(vault.get(secret) if vault else secret.generated())
                self._given[secret.name] = secret, value, mask
            return self._given[secret.name][1]

    def part(self, secret: Secret, function: Callable[[str], str]) -> str:
        """What `function` takes from a secret; without a vault, a line that says who knows it."""
        if self._vault:
            return super().part(secret, function)
        return f"# taken from {secret.name}: inv runbook.show --ask prints it\n"

    def knows(self, secret: Secret) -> bool:
        """Without a vault, true unless the password exists only during a rotation."""
        return self._vault.knows(secret) if self._vault else not secret.passing

    def keep(self) -> list[str]:
        """Save nothing: the generated values are not used as passwords."""
        return []

    def shown(self, text: str) -> str:
        """`text` with each password replaced by `@name@`."""
        for secret, _, mask in self._given.values():
            text = mask(text).replace(MASK, f"@{secret.name}@")
        return text

    def named_in(self, text: str) -> list[Secret]:
        """The passwords whose placeholders are in a text that was `shown`."""
        names = set(MARKED.findall(text))
        return [secret for secret, _, _ in self._given.values() if secret.name in names]
