"""Steps for authorized_keys: keys that are added, and taken back when they are no longer wanted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from runbook.declare.step import Steps, quote
from runbook.declare.steps.files import directory, edited

PROGRAM = Path(__file__).with_name("keys.awk").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Authorised:
    """A public key (type and base64), whose it is (`user@host`), and what it may do."""

    key: str
    of: str
    options: str = ""

    @property
    def line(self) -> str:
        """The line of authorized_keys."""
        return " ".join(filter(None, (self.options, self.key, self.of)))


def authorised_keys(
    user_name: str,
    home: str,
    label: str,
    keys: Sequence[Authorised],
    former: str = "",
    kept: Iterable[str] = (),
    never: str = "",
) -> Steps:
    """These keys open the account; others that a run has added under this label no longer do.

    The lines are in a block of their own; lines outside it are left alone, except for other lines
    with the same keys, and those that match `former`, an extended regular expression: lines that
    an earlier version has written. `kept`: whose keys in the block stay, although they cannot be
    asked now. `never`: a key whose lines are not touched, whatever they match.
    """
    yield directory(f"{home}/.ssh", "0700", user_name, user_name)
    path = f"{home}/.ssh/authorized_keys"
    values = {
        "begin": f"# BEGIN {label}",
        "end": f"# END {label}",
        "lines": "\n".join(key.line for key in keys),
        "own": " ".join(key.key.split()[1] for key in keys),
        "former": former,
        "kept": " ".join(kept),
        "never": " ".join(never.split()[1:2]),
    }
    given = " \\\n".join(f"{name}={quote(value)}" for name, value in values.items())
    yield edited(
        path,
        f"{path} has the keys of {label!r}",
        f"{given} awk '{PROGRAM}'",
        "0600",
        user_name,
        user_name,
    )


def unmarked(options: str, accounts: Iterable[str]) -> str:
    """An expression for lines that earlier versions wrote, for `former`.

    `accounts`: expressions for their comments, such as `rocky@sql1`.
    """
    begin = f"{options} " if options else ""
    return f"^{begin}ssh-ed25519 [A-Za-z0-9+/=]+ ({'|'.join(accounts)})$"
