"""The kinds of values in hosts.yaml, which are validated as they are read.

Every text has a pattern, and every number has bounds.
"""

from __future__ import annotations

import difflib
import ipaddress
from collections.abc import Iterable
from typing import Annotated, Optional, Union

import msgspec

from runbook.errors import UsageError
from runbook.yaml_source import shown

NUMBER = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
IPV4 = rf"{NUMBER}(?:\.{NUMBER}){{3}}"
# No control character, line separator or half of a surrogate pair.
CHARACTER = "[^\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029\\ud800-\\udfff]"
LONGEST_NAME = 100


def named(description: str, pattern: Optional[str] = None) -> msgspec.Meta:
    """A kind of text: its name, and a pattern that matches all of it."""
    whole = None if pattern is None else rf"^(?:{pattern})\Z"
    return msgspec.Meta(pattern=whole, description=description)


def between(low: float, high: float) -> msgspec.Meta:
    """Bounds of a number."""
    return msgspec.Meta(ge=low, le=high)


Positive = Annotated[int, between(1, 1_000_000)]
Port = Annotated[int, between(1, 65535)]
Text = Annotated[str, named("one line of text (at most 1000 characters)", f"{CHARACTER}{{1,1000}}")]
Address = Annotated[str, named("IPv4 address", IPV4)]
Network = Annotated[str, named("network: `10.20.0.0/24`", rf"{IPV4}/(?:3[0-2]|[12][0-9]|[0-9])")]
Size = Annotated[str, named("size: `4GB`, `512MB`", "[1-9][0-9]{0,5}(?:MB|GB|TB)")]
# sudo ignores files in sudoers.d with a dot in their name.
Account = Annotated[
    str,
    named(
        "account (a-z, 0-9, `_`, `-`; at most 32, the first a letter or `_`)",
        "[a-z_][a-z0-9_-]{0,31}",
    ),
]
UnitName = Annotated[
    str, named("unit: `kdump.service`", r"[A-Za-z0-9@:_.*\\-]{1,200}\.[a-z]{1,20}")
]
GroupName = Annotated[
    str, named("name (a-z, 0-9, `_`, `-`; at most 63)", "[a-z0-9][a-z0-9_-]{0,62}")
]
HostName = Annotated[
    str, named("host name or address", "[A-Za-z0-9](?:[A-Za-z0-9.:-]{0,251}[A-Za-z0-9])?")
]
PackageName = Annotated[
    str, named("package (letters, digits, `.`, `_`, `+`, `-`)", "[A-Za-z0-9][A-Za-z0-9._+-]{0,127}")
]
AbsolutePath = Annotated[
    str,
    named(
        "absolute path (letters, digits, `.`, `_`, `-`)",
        r"(?=.{2,200}\Z)(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)+",
    ),
]
_FINGERPRINT = "SHA256:[A-Za-z0-9+/]{43}"
Fingerprints = Annotated[
    str,
    named(
        "fingerprint: `SHA256:` and 43 characters (`ssh-keygen -lf`), or several with spaces",
        f"{_FINGERPRINT}(?: {_FINGERPRINT}){{0,9}}",
    ),
]
LocalPath = Annotated[
    str,
    named(
        "path on this machine (`~/` is your home)",
        rf"(?!~(?!/))(?!.*[^/]{{256}})(?!.*/\Z)(?!.*(?:^|/)\.\.?\Z){CHARACTER}{{1,1000}}",
    ),
]
_URL = r"https?://[A-Za-z0-9._~:/@%+,=?&{0}-]{{1,1000}}"
Url = Annotated[str, named("URL (`https://…`, `http://…`; no spaces or quotes)", _URL.format(""))]
REPOSITORY_URL = "URL (`https://…`, `http://…`, `ftp://…`, `file:///…`; no spaces or quotes)"
RepositoryUrl = Annotated[
    str,
    named(REPOSITORY_URL, _URL.format("${}").replace("https?", "(?:https?|ftp|file)")),
]
ParameterName = Annotated[
    str,
    named(
        "name (a-z, 0-9, `_`, `.`; the first a letter)",
        "[a-z][a-z0-9_.]{0,99}",
    ),
]
Parameter = Union[
    Annotated[str, named("one line of text", f"{CHARACTER}{{0,1000}}")],
    Annotated[int, msgspec.Meta(ge=-(2**62), le=2**62, description="whole number")],
    Annotated[float, msgspec.Meta(ge=-1e15, le=1e15, description="number")],
    bool,
]
"""The value of a setting that other software reads."""
_PORT = "[1-9][0-9]{0,3}|[1-5][0-9]{4}|6([0-4][0-9]{3}|5([0-4][0-9]{2}|5([0-2][0-9]|3[0-5])))"
_LOGIN = r"[A-Za-z0-9_][A-Za-z0-9_.@+-]*(\\[A-Za-z0-9_.@+-]+)?"
_HOP = rf"({_LOGIN}@)?([A-Za-z0-9][A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\])(:({_PORT}))?"
Gateway = Annotated[
    str,
    named("gateway: `user@host:port`, several with commas, or `none`", rf"^{_HOP}(,{_HOP})*\Z"),
]


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A mapping of hosts.yaml: a key that is not a field here is a typo."""


def network_of(text: str) -> str:
    """A network as it is written: 10.20.0.0/24, also for 10.20.0.7/24."""
    return str(ipaddress.IPv4Network(text, strict=False))


def no_such(sentence: str, word: str, known: Iterable[str]) -> UsageError:
    """The error for an unknown name: the sentence, the most similar name, and all known names."""
    names = list(known)
    return UsageError(f"{sentence}{perhaps(word, names)}; available: {', '.join(names)}.")


def perhaps(word: str, known: Iterable[str]) -> str:
    """` (did you mean …?)`, if one of the known words is close."""
    if len(word) > LONGEST_NAME:
        return ""
    names = [name for name in known if len(name) <= LONGEST_NAME]
    close = difflib.get_close_matches(word, names, n=1)
    return f" (did you mean {shown(close[0])}?)" if close else ""
