"""docs/settings.md: every setting of hosts.yaml, from the classes that read it."""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from collections.abc import Iterator, Sequence
from typing import Optional, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import inspect as kinds

from runbook.declare.contents import Contents
from runbook.inventory.cluster import Connection, Host, Vip
from runbook.inventory.document import Document
from runbook.inventory.shape import shape

from .markdown import MADE, code, table

INTRODUCTION = (
    f"{MADE}\n\n# Settings\n\n"
    "Every key of `hosts.yaml`. `inv inventory.check` validates the file without a connection: "
    "it reports unknown keys, values that are not allowed, and conflicts, with file and line. "
    "A key that is left out has the default given here. Passwords are not part of it: they "
    "are in `secrets.yaml` ([security.md](security.md)). A setting of `airflow.settings`, "
    "`rabbitmq.settings`, `postgres.parameters` or `sources.logins` that is itself a password "
    "refers to it: `{secret: NAME}`."
)


def page(contents: Contents) -> str:
    """The whole page."""
    own = [
        (code(key), "mapping, see below", "–", _first_line(kind))
        for key, kind in contents.schema.settings.items()
    ]
    tops = [
        f"## The file\n\n{table(HEADERS, [*rows(Document, ''), *own])}",
        chapter("connection", Connection),
        chapter("hosts", Host, "hosts.NAME", contents.schema.roles),
        chapter("vips", Vip, "vips.NAME", contents.schema.roles),
        *(chapter(name, kind) for name, kind in contents.schema.settings.items()),
    ]
    return "\n\n".join([INTRODUCTION, *tops]) + "\n"


HEADERS = ("key", "allowed values", "default", "meaning")


def chapter(
    name: str, kind: type[msgspec.Struct], prefix: str = "", roles: Sequence[str] = ()
) -> str:
    """A mapping of hosts.yaml."""
    return (
        f"## `{name}`\n\n{_first_line(kind)}\n\n{table(HEADERS, rows(kind, prefix or name, roles))}"
    )


def _first_line(kind: type[msgspec.Struct]) -> str:
    return (inspect.getdoc(kind) or "").partition("\n")[0]


def rows(
    kind: type[msgspec.Struct], prefix: str, roles: Sequence[str] = ()
) -> Iterator[tuple[str, str, str, str]]:
    """A row for each key, with those of mappings within it."""
    meanings, hints = documented(kind), get_type_hints(kind)
    told = kinds.type_info(kind)
    assert isinstance(told, kinds.StructType)
    for field in told.fields:
        if field.name == "name" and prefix.endswith("NAME"):
            continue  # it is the entry's key
        path = f"{prefix}.{field.name}" if prefix else field.name
        inner = hints.get(field.name)
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            yield from rows(inner, path)
            continue
        allowed = "mapping, see below" if not prefix and _mapping(field) else shape(field.type)
        if roles and field.name in ("role", "roles"):
            names = ", ".join(code(role) for role in roles)
            allowed = f"list of ({names})" if field.name == "roles" else names
        yield code(path), allowed, _default(field), meanings.get(field.name, "")
        for one in get_args(inner) if get_origin(inner) is Union else ():
            if isinstance(one, type) and issubclass(one, msgspec.Struct):
                yield from rows(one, path)


def documented(kind: type[msgspec.Struct]) -> dict[str, str]:
    """The text under each field of a class and its base classes, by the field's name."""
    found: dict[str, str] = {}
    for one in reversed(kind.__mro__):
        if issubclass(one, msgspec.Struct) and one is not msgspec.Struct:
            found.update(_documented(one))
    return found


def _documented(kind: type[msgspec.Struct]) -> dict[str, str]:
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(tree, ast.ClassDef)
    found: dict[str, str] = {}
    for field, text in zip(tree.body, tree.body[1:]):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            sentence = _text(text)
            if sentence:
                found[field.target.id] = inspect.cleandoc(sentence)
    return found


def _text(node: ast.stmt) -> Optional[str]:
    constant = node.value if isinstance(node, ast.Expr) else None
    return str(constant.value) if isinstance(constant, ast.Constant) else None


def _mapping(field: kinds.Field) -> bool:
    return isinstance(field.type, kinds.DictType) and field.name != "groups"


def _default(field: kinds.Field) -> str:
    if field.required:
        return "required"
    given = field.default
    if given is msgspec.NODEFAULT:
        given = field.default_factory()
    if given in ("", [], {}):
        return "–"
    return code(given if isinstance(given, str) else json.dumps(given, ensure_ascii=False))
