"""`{secret: NAME}` in hosts.yaml: the value is in secrets.yaml, and nowhere else.

While the inventory is validated, a text stands in for the value; no other text can be equal to it
by chance. The value takes its place when a section reads the setting.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Callable, Union

import msgspec

Path = tuple[Union[str, int], ...]

NAME = re.compile("[a-z][a-z0-9_]{0,62}")

_MARK = "\ue000"
_STAND_IN = re.compile(f"{_MARK}secret:({NAME.pattern}){_MARK}")


def stand_in(name: str) -> str:
    """The text that stands in for a secret."""
    return f"{_MARK}secret:{name}{_MARK}"


def named(value: Any) -> str:
    """The secret that a value stands for; empty for all other values."""
    match = _STAND_IN.fullmatch(value) if isinstance(value, str) else None
    return match[1] if match else ""


def is_reference(value: Any) -> bool:
    """Whether a value of hosts.yaml is a mapping with the key `secret` alone, and a text."""
    if not isinstance(value, dict) or list(value) != ["secret"]:
        return False
    return isinstance(value["secret"], str)


def with_stand_ins(data: Any) -> Any:
    """`data` with a text in place of each valid reference."""
    if is_reference(data):
        return stand_in(data["secret"]) if NAME.fullmatch(data["secret"]) else data
    if isinstance(data, dict):
        return {key: with_stand_ins(value) for key, value in data.items()}
    if isinstance(data, list):
        return [with_stand_ins(value) for value in data]
    return data


def found(data: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Each reference in plain data or settings: where it is, and the name of its secret."""
    name = named(data)
    if name:
        yield path, name
    for key, value in _parts(data):
        yield from found(value, (*path, key))


def _parts(data: Any) -> Iterator[tuple[Union[str, int], Any]]:
    if isinstance(data, msgspec.Struct):
        yield from ((name, getattr(data, name)) for name in data.__struct_fields__)
    elif isinstance(data, Mapping):
        yield from data.items()
    elif isinstance(data, (list, tuple)):
        yield from enumerate(data)


def resolved(data: Any, value_of: Callable[[str], str]) -> Any:
    """Settings with the value of each secret in its place."""
    name = named(data)
    if name:
        return value_of(name)
    if isinstance(data, msgspec.Struct):
        own = {str(key): resolved(value, value_of) for key, value in _parts(data)}
        return msgspec.structs.replace(data, **own)
    if isinstance(data, dict):
        return {key: resolved(value, value_of) for key, value in data.items()}
    if isinstance(data, list):
        return [resolved(value, value_of) for value in data]
    return data


def written(data: Any) -> Any:
    """Plain data as it is in hosts.yaml, `{secret: NAME}` where a text stands in."""
    name = named(data)
    if name:
        return {"secret": name}
    if isinstance(data, dict):
        return {key: written(value) for key, value in data.items()}
    if isinstance(data, list):
        return [written(value) for value in data]
    return data


_KEY_OF_SECRET = re.compile(
    r"(?:^|[._-])(?:pass|password|passwd|pwd|passphrase|secret|token|dsn|credentials?"
    r"|(?:api|access|secret|fernet|private|account)[._-]?key)$",
    re.I,
)
# Airflow's *_secret name where a value is, instead of the value.
_ELSEWHERE = re.compile(r"_(?:password|key|conn|url|uri|backend|dsn|auth)_secret$", re.I)
_LOGIN = re.compile(r"://[^/@\s:]*:([^/@\s]+)@")
_CONN = re.compile(r"://[^/@\s:]*:(\S+)@")


def in_clear(data: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Passwords in clear text in settings, by their key or within a URL: where, and which."""
    if isinstance(data, str) and data and not named(data):
        key = str(path[-1]) if path else ""
        in_url = (_CONN if key.endswith(("conn", "url")) else _LOGIN).search(data)
        if in_url:
            yield path, in_url[1]
        elif _KEY_OF_SECRET.search(key) and not _ELSEWHERE.search(key):
            yield path, data
    elif isinstance(data, int) and not isinstance(data, bool):
        if path and re.search(r"pass(?:word|wd)?$", str(path[-1]), re.I):
            yield path, str(data)
    elif isinstance(data, (dict, list)):
        for part, value in _parts(data):
            yield from in_clear(value, (*path, part))
