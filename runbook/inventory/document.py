"""hosts.yaml as a document: its top level, and how two of them become one."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Literal, cast

import msgspec

from runbook.inventory.entry import named
from runbook.inventory.schema import Schema

ClusterName = Annotated[
    str,
    named(
        "name (letters, digits, `_`, `-`; at most 63)",
        "[A-Za-z0-9][A-Za-z0-9_-]{0,62}",
    ),
]
_PART = "[A-Za-z][A-Za-z0-9_+-]{0,30}"
TimeZone = Annotated[
    str, named("time zone: Area/City, such as `Asia/Tehran`", f"{_PART}(?:/{_PART}){{0,3}}")
]


class Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole of hosts.yaml; its entries are validated later, one by one."""

    cluster: ClusterName
    """The cluster's name; it is also Patroni's scope and pgBackRest's stanza."""
    hosts: dict[str, Any]
    """The servers, by name: a-z, 0-9 and -, at most 63 characters, one of them a letter."""
    connection: dict[str, Any] = {}
    """How the controller connects to the servers."""
    vips: dict[str, Any] = {}
    """Addresses that move between servers, by name."""
    groups: dict[str, Any] = {}
    """Groups of your own for -H @name, each a list of hosts."""
    timezone: TimeZone = "Asia/Tehran"
    """The time zone of all servers: Area/City."""
    selinux: Literal["disabled", "permissive", "enforcing"] = "disabled"
    """SELinux's mode on all servers."""


def document_of(schema: Schema) -> type[Document]:
    """Document, with the mappings that the schema adds."""
    return _with_mappings(tuple(schema.settings))


@cache
def _with_mappings(keys: tuple[str, ...]) -> type[Document]:
    own: list[tuple[str, Any, Any]] = [
        (key, dict[str, Any], msgspec.field(default_factory=dict)) for key in keys
    ]
    made = msgspec.defstruct(
        "Document", own, bases=(Document,), frozen=True, forbid_unknown_fields=True, kw_only=True
    )
    return cast("type[Document]", made)


def merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Two mappings as one, key by key; where both have a value, `above` wins."""
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        result[key] = (
            merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
        )
    return result
