"""The kinds of values in hosts.yaml, which are validated as they are read."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Annotated, Optional

import msgspec

from runbook.errors import UsageError


def named(description: str, pattern: Optional[str] = None) -> msgspec.Meta:
    """A kind of text: its name, and what it looks like."""
    return msgspec.Meta(pattern=pattern, description=description)


Positive = Annotated[int, msgspec.Meta(ge=1)]
Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Text = Annotated[str, msgspec.Meta(min_length=1)]
AtLeastOne = Annotated[list[str], msgspec.Meta(min_length=1)]
# What these two are is judged with the inventory as a whole.
Address = Annotated[str, named("IPv4 address")]
Size = Annotated[str, named("size: `4GB`, `512MB`")]
# sudo ignores files in sudoers.d with a dot in their name.
Account = Annotated[str, named("account", "^[a-z_][a-z0-9_-]{0,31}$")]
PackageName = Annotated[str, named("package", "^[A-Za-z0-9][A-Za-z0-9._+-]*$")]
AbsolutePath = Annotated[str, named("absolute path", "^/[A-Za-z0-9._/-]*[A-Za-z0-9]$")]
ParameterName = Annotated[str, named("name", "^[a-z][a-z0-9_.]*$")]
Network = Annotated[str, named("network: `10.20.0.0/24`", r"^[0-9.]+/[0-9]+$")]
UnitName = Annotated[str, named("unit: `kdump.service`", r"^[A-Za-z0-9@:_.*\\-]+\.[a-z]+$")]
HostName = Annotated[str, named("host name or address", "^[A-Za-z0-9][A-Za-z0-9.:-]*$")]


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A mapping of hosts.yaml: a key that is not a field here is a typo."""


def no_such(sentence: str, word: str, known: Iterable[str]) -> UsageError:
    """The error for an unknown name: the sentence, the most similar name, and all known names."""
    names = list(known)
    return UsageError(f"{sentence}{perhaps(word, names)}; available: {', '.join(names)}.")


def perhaps(word: str, known: Iterable[str]) -> str:
    """` (did you mean …?)`, if one of the known words is close."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""
