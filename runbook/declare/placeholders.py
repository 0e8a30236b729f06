"""Placeholders for passwords in commands that are shown; the reader fills in the passwords."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Optional

from runbook.secrets.mask import MASK, Mask
from runbook.secrets.vault import Secret, Vault

MARKED = re.compile(r"@([a-z0-9_]+)@")


class Placeholders(Vault):
    """Replaces the vault; in `shown` text each password that it returned becomes `@name@`.

    Its values are random unless `vault` is given, whose values are needed where answers of hosts
    are compared with them. `given`: a vault whose values are used for secrets of the user's own,
    and for those of which a public part is shown, such as the certificate of a CA.
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
                vault = self._vault_of(secret)
                value = mask.add(vault.get(secret) if vault else secret.generated())
                self._given[secret.name] = secret, value, mask
            return self._given[secret.name][1]

    def _vault_of(self, secret: Secret) -> Optional[Vault]:
        own = secret.given or secret.make
        return self._of_the_user if own and self._of_the_user else self._vault

    def knows(self, secret: Secret) -> bool:
        """Without a vault, true unless the password exists only during a rotation."""
        vault = self._vault_of(secret)
        return vault.knows(secret) if vault else not secret.passing

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
