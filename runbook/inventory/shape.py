"""The kinds of values in words, and the parts of a mapping that do not match their kind."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import inspect as kinds

from runbook.inventory.entry import perhaps
from runbook.secrets import references
from runbook.yaml_source import KeyPath, shown

Fault = tuple[str, KeyPath]
"""A sentence and the key that it is about."""


def faults(hint: Any, value: Any, path: KeyPath = ()) -> Iterator[Fault]:
    """Everything that is wrong with `value` as a value of this kind."""
    if _fits(value, hint):
        return
    inner = list(_inner_faults(_of_shape(hint, value), value, path))
    yield from inner or [(_sentence(hint, value), path)]


def _inner_faults(hint: Any, value: Any, path: KeyPath) -> Iterator[Fault]:
    if isinstance(value, dict) and isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        yield from _struct_faults(hint, value, path)
    elif isinstance(value, dict) and get_origin(hint) is dict:
        key_hint, value_hint = get_args(hint)
        for key, one in value.items():
            yield from faults(key_hint, key, (*path, key))
            yield from faults(value_hint, one, (*path, key))
    elif isinstance(value, list) and get_origin(hint) is list:
        for place, one in enumerate(value):
            yield from faults(get_args(hint)[0], one, (*path, place))


def _struct_faults(
    kind: type[msgspec.Struct], value: dict[str, Any], path: KeyPath
) -> Iterator[Fault]:
    hints = _hints(kind)
    known = [name for name in hints if name != "name"]
    for key in value:
        if key not in hints:
            yield f"unknown key{perhaps(key, known)}; allowed: {', '.join(known)}", (*path, key)
    for field in msgspec.structs.fields(kind):
        if field.name in value:
            yield from faults(hints[field.name], value[field.name], (*path, field.name))
        elif field.required:
            yield f"`{field.name}` is missing", path


@cache
def _hints(kind: type[msgspec.Struct]) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def _fits(value: Any, hint: Any) -> bool:
    try:
        msgspec.convert(value, hint)
    except msgspec.ValidationError:
        return False
    return True


def _of_shape(hint: Any, value: Any) -> Any:
    """The list or mapping among the alternatives of a kind that matches `value`, without bounds."""
    if get_origin(hint) is Annotated:
        return _of_shape(get_args(hint)[0], value)
    if get_origin(hint) is Union:
        wanted = dict if isinstance(value, dict) else list
        parts = [_of_shape(part, value) for part in get_args(hint)]
        return next(
            (part for part in parts if get_origin(part) is wanted or _holds(part, value)), None
        )
    return hint


def _holds(part: Any, value: Any) -> bool:
    """Whether a kind is a mapping with keys of its own, and the value is a mapping."""
    return isinstance(value, dict) and isinstance(part, type) and issubclass(part, msgspec.Struct)


def _sentence(hint: Any, value: Any) -> str:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if number and _fits(str(value), hint):
        return f'{value} is not text; write "{value}", in quotes'
    return f"{_said(value)}; allowed: {in_words(hint)}"


def _said(value: Any) -> str:
    if value is None:
        return "is empty"
    if references.named(value):
        return "a secret is not valid here"
    if references.is_reference(value):
        return f"{shown(value['secret'])} is not a secret's name (a-z, 0-9, _; the first a letter)"
    if isinstance(value, (list, dict)):
        kind = "list" if isinstance(value, list) else "mapping"
        return f"a {kind} is not valid here" if value else f"this {kind} is empty"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"{shown(text)} is not valid" if text else "empty text is not valid"


@cache
def in_words(hint: Any) -> str:
    """The allowed values as a message names them."""
    return shape(kinds.type_info(hint)).replace("`", "")


def shape(kind: kinds.Type) -> str:
    """The allowed values in words, with names as code."""
    if isinstance(kind, kinds.Metadata):
        described = (kind.extra_json_schema or {}).get("description")
        return str(described) if described else shape(kind.type)
    if isinstance(kind, kinds.UnionType):
        return _one_of([shape(one) for one in kind.types])
    if isinstance(kind, kinds.LiteralType):
        return _one_of([f"`{value}`" for value in kind.values])
    if isinstance(kind, kinds.ListType):
        least = ", at least one" if kind.min_length else ""
        return f"list of {_plain(kind.item_type)}{least}"
    if isinstance(kind, kinds.DictType):
        least = ", at least one" if kind.min_length else ""
        return f"mapping{least}: {shape(kind.key_type)} to {shape(kind.value_type)}"
    if isinstance(kind, kinds.StructType):
        return f"mapping with {', '.join(f'`{field.name}`' for field in kind.fields)}"
    if isinstance(kind, (kinds.IntType, kinds.FloatType)):
        return f"{'whole ' if isinstance(kind, kinds.IntType) else ''}number{_bounds(kind)}"
    names = {kinds.StrType: "text", kinds.BoolType: "`true`, `false`", kinds.NoneType: "`null`"}
    return names.get(type(kind), "anything")


def _plain(kind: kinds.Type) -> str:
    """A kind within a list; alternatives are in brackets."""
    text = shape(kind)
    return f"({text})" if isinstance(kind, (kinds.UnionType, kinds.LiteralType)) else text


def _one_of(texts: list[str]) -> str:
    """Alternatives; texts that are equal appear once."""
    return ", ".join(dict.fromkeys(texts))


def _bounds(kind: Any) -> str:
    limits = (("at least", kind.ge), ("above", kind.gt), ("at most", kind.le), ("below", kind.lt))
    told = [f"{word} {limit}" for word, limit in limits if limit is not None]
    return f", {', '.join(told)}" if told else ""
