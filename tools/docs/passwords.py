"""The table of passwords in docs/security.md, from the sections that declare them."""

from __future__ import annotations

from runbook.declare.contents import Contents
from runbook.secrets.vault import Secret

from .markdown import code, table


def names(contents: Contents) -> str:
    """The table."""
    rows = [
        (code(_name(secret)), section.name, secret.about + _when(secret))
        for section in contents.sections
        for secret in section.secrets
    ]
    return table(("name in secrets.yaml", "section", "what for"), rows)


def _name(secret: Secret) -> str:
    return f"{secret.name}NAME" if secret.family else secret.name


def _when(secret: Secret) -> str:
    return " (set by a rotation)" if secret.passing else ""
