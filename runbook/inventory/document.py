"""hosts.yaml as a document: its top level, and messages for entries of the wrong shape."""

from __future__ import annotations

import re
from typing import Any, Literal, cast

import msgspec

from runbook.inventory.entry import perhaps
from runbook.inventory.schema import Schema


class Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole of hosts.yaml; its entries are validated later, one by one."""

    cluster: str
    """The cluster's name, which is also Patroni's scope."""
    hosts: dict[str, Any]
    """The servers, by name: a-z, 0-9 and -, at most 63 characters."""
    connection: dict[str, Any] = {}
    """How the controller connects to the servers."""
    vips: dict[str, Any] = {}
    """Addresses that move between servers, by name."""
    groups: dict[str, Any] = {}
    """Groups of your own for -H @name, each a list of hosts."""
    timezone: str = "Asia/Tehran"
    """The time zone of all servers: Area/City."""
    selinux: Literal["disabled", "permissive", "enforcing"] = "disabled"
    """SELinux's mode on all servers."""


def document_of(schema: Schema) -> type[Document]:
    """Document, with the mappings that the schema adds."""
    own: list[tuple[str, Any, Any]] = [
        (key, dict[str, Any], msgspec.field(default_factory=dict)) for key in schema.settings
    ]
    made = msgspec.defstruct(
        "Document", own, bases=(Document,), frozen=True, forbid_unknown_fields=True, kw_only=True
    )
    return cast("type[Document]", made)


def explained(
    error: msgspec.ValidationError, kind: type[Any], path: tuple[str, ...]
) -> tuple[str, ...]:
    """msgspec's message as (sentence, path of the key it is about)."""
    message, _, place = str(error).partition(" - at ")
    tail = tuple(re.findall(r"[A-Za-z_][\w-]*", place))
    fields = [name for name in kind.__struct_fields__ if name != "name"]
    unknown = re.fullmatch(r"Object contains unknown field `(.+)`", message)
    if unknown:
        key = unknown[1]
        return (
            f"unknown key{perhaps(key, fields)}; allowed: {', '.join(fields)}",
            *path,
            *tail,
            key,
        )
    missing = re.fullmatch(r"Object missing required field `(.+)`", message)
    if missing:
        return (f"`{missing[1]}` is missing", *path, *tail)
    literal = re.fullmatch(r"Invalid enum value '(.+)'", message)
    if literal:
        allowed = ("disabled", "permissive", "enforcing")
        return (
            f"{literal[1]} is not known{perhaps(literal[1], allowed)}; "
            f"allowed: {', '.join(allowed)}",
            *path,
            *tail,
        )
    return (message[0].lower() + message[1:].replace("`", ""), *path, *tail)


def merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Two mappings as one, key by key; where both have a value, `above` wins."""
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        result[key] = (
            merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
        )
    return result
