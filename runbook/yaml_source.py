"""YAML with the line of each key, so that messages can point to it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Optional, Union

import yaml

from runbook.errors import InventoryError

_Pair = tuple[str, yaml.Node, yaml.Node]
"""A key, and the nodes of key and value."""

KeyPath = tuple[Union[str, int], ...]
"""Keys from the top level down; a number is an index of a list."""

LARGEST = 1_000_000
"""The largest file, in bytes."""
MOST = 100_000
"""The largest number of values in a file, with aliases expanded."""
DEEPEST = 32
"""The deepest nesting: libyaml crashes when it composes tens of thousands of levels."""
SHOWN = 60
"""The number of characters of a key or value that a message shows."""

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_MERGE = f"{_TAG}merge"
_LONGEST_NUMBER = 40


class Source:
    """A YAML file as plain data, plus the line of each key."""

    def __init__(self, file: Path, content: Optional[bytes] = None) -> None:
        """Read `file`; raises InventoryError if it is missing, not YAML, or has a key twice.

        `content` is the file's content, if it is known already. No error repeats a value of
        the file: it may hold passwords.
        """
        self.file = file
        self._content = content
        self._lines: dict[KeyPath, int] = {}
        self.data = self._read()

    def has(self, *path: Union[str, int]) -> bool:
        """Whether this file has that key."""
        return path in self._lines

    def knows(self, path: KeyPath) -> int:
        """The number of leading keys of a path that this file has."""
        return next((n for n in range(len(path), 0, -1) if path[:n] in self._lines), 0)

    def where(self, *path: Union[str, int]) -> str:
        """`hosts.yaml:12: hosts.sql1`, or the line of the closest key above it."""
        return self._at(self._lines.get(path[: self.knows(path)], 1), path)

    def _read(self) -> dict[str, Any]:
        text = self._text()
        loader = None
        try:
            self._refuse_depth(text)
            loader = _Loader(text)
            node = loader.get_single_node()
        except yaml.YAMLError as error:
            line, problem = _told(error)
            raise InventoryError(f"{self._at(line)}: not valid YAML: {problem}.") from None
        finally:
            if loader:
                loader.dispose()
        if node is None:
            return {}
        if not isinstance(node, yaml.MappingNode):
            raise InventoryError(f"{self._at(_line(node))}: expected keys such as `hosts:` here.")
        data: dict[str, Any] = _Plain(self._lines, self._at).value(node, ())
        return data

    def _text(self) -> str:
        content = self._bytes() if self._content is None else self._content
        if len(content) > LARGEST:
            most = LARGEST // 1_000_000
            raise InventoryError(f"{self._at(1)}: the file is larger than {most} MB.")
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise InventoryError(f"{self._at(line)}: not UTF-8; save the file as UTF-8.") from None
        control = yaml.reader.Reader.NON_PRINTABLE.search(text)
        if control:
            line = text.count("\n", 0, control.start()) + 1
            raise InventoryError(f"{self._at(line)}: control characters are not allowed.")
        return text

    def _bytes(self) -> bytes:
        try:
            with self.file.open("rb") as stream:
                return stream.read(LARGEST + 1)
        except FileNotFoundError:
            raise InventoryError(
                f"{self.file} does not exist; run this in the project's folder, "
                "or set RUNBOOK_INVENTORY to the file."
            ) from None
        except OSError as error:
            raise InventoryError(f"{self.file} cannot be read: {error.strerror}.") from None

    def _refuse_depth(self, text: str) -> None:
        """Refuse deep nesting before the composer, which recurses for each level, sees it."""
        depth = 0
        for event in yaml.parse(text, Loader=_Loader):
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                if depth > DEEPEST:
                    place = self._at(_line(event))
                    raise InventoryError(f"{place}: more than {DEEPEST} levels; use fewer.")
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1

    def _at(self, line: int, path: KeyPath = ()) -> str:
        name = ".".join(shown(key) for key in path if isinstance(key, str))
        return f"{self.file.name}:{line}: {name}" if name else f"{self.file.name}:{line}"


class _Plain:
    """Converts nodes to plain data: text, numbers, true, false and null, in lists and mappings.

    Dates stay text. Merge keys are expanded. The line of each key and item is stored in `lines`.
    """

    def __init__(self, lines: dict[KeyPath, int], at: Callable[[int, KeyPath], str]) -> None:
        self._lines = lines
        self._at = at
        self._open: list[yaml.Node] = []
        self._count = 0

    def value(self, node: yaml.Node, path: KeyPath) -> Any:
        with self._inside(node, path):
            if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
                return self._mapping(node, path)
            if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
                return [self._item(item, (*path, place)) for place, item in enumerate(node.value)]
            if not isinstance(node, yaml.ScalarNode):
                raise self._unsupported(node, path)
            return self._scalar(node, path)

    @contextmanager
    def _inside(self, node: yaml.Node, path: KeyPath) -> Iterator[None]:
        if any(node is outer for outer in self._open):
            place = self._place(node, path)
            raise InventoryError(
                f"{place}: an alias makes this value contain itself; write it out."
            )
        self._count += len(node.value) if isinstance(node, yaml.CollectionNode) else 0
        if self._count > MOST:
            place = self._place(node, path)
            raise InventoryError(f"{place}: more than {MOST} values, counting aliases; use fewer.")
        if len(self._open) >= DEEPEST:
            place = self._place(node, path)
            raise InventoryError(
                f"{place}: more than {DEEPEST} levels, counting aliases; use fewer."
            )
        self._open.append(node)
        yield
        self._open.pop()

    def _item(self, node: yaml.Node, path: KeyPath) -> Any:
        self._lines[path] = _line(node)
        return self.value(node, path)

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key, key_node, value_node in self._pairs(node, path):
            self._lines[(*path, key)] = _line(key_node)
            data[key] = self.value(value_node, (*path, key))
        return data

    def _pairs(self, node: yaml.MappingNode, path: KeyPath) -> list[_Pair]:
        """The mapping's own pairs, then those of its merge keys that it does not override."""
        first: dict[str, int] = {}
        own: list[_Pair] = []
        merged: list[_Pair] = []
        for key_node, value_node in node.value:
            key = self._key(key_node, path)
            if key in first:
                place = self._place(key_node, (*path, key))
                raise InventoryError(
                    f"{place}: is defined twice (first in line {first[key]}); keep one."
                )
            first[key] = _line(key_node)
            if key_node.tag == _MERGE:
                merged += self._merged(value_node, (*path, key))
            else:
                own.append((key, key_node, value_node))
        taken = {key for key, *_ in own}
        for pair in merged:
            if pair[0] not in taken:
                taken.add(pair[0])
                own.append(pair)
        return own

    def _merged(self, node: yaml.Node, path: KeyPath) -> Iterator[_Pair]:
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        for source in sources:
            if not isinstance(source, yaml.MappingNode):
                place = self._place(source, path)
                raise InventoryError(f"{place}: merges mappings only, such as `<<: *name`.")
            with self._inside(source, path):
                yield from self._pairs(source, path)

    def _key(self, node: yaml.Node, path: KeyPath) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise InventoryError(f"{self._place(node, path)}: a key must be text.")
        return str(node.value)

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Any:
        kind = node.tag[len(_TAG) :] if node.tag.startswith(_TAG) else ""
        if kind in ("str", "timestamp", "value", "merge"):
            return node.value
        read = _READERS.get(kind)
        if not read:
            raise self._unsupported(node, path)
        # YAML reads 22:22 as a number to base 60; that and very long numbers are meant as text.
        if len(node.value) > _LONGEST_NUMBER or ":" in node.value:
            return node.value
        try:
            return read(node)
        except (ValueError, KeyError, IndexError):
            place = self._place(node, path)
            raise InventoryError(
                f"{place}: does not match its tag !!{kind}; remove the tag."
            ) from None

    def _unsupported(self, node: yaml.Node, path: KeyPath) -> InventoryError:
        place = self._place(node, path)
        return InventoryError(f"{place}: the tag is not supported; remove it.")

    def _place(self, node: yaml.Node, path: KeyPath) -> str:
        return self._at(_line(node), path)


_SAFE = yaml.constructor.SafeConstructor()
_READERS: dict[str, Callable[[yaml.ScalarNode], Any]] = {
    "null": _SAFE.construct_yaml_null,
    "bool": _SAFE.construct_yaml_bool,
    "int": _SAFE.construct_yaml_int,
    "float": _SAFE.construct_yaml_float,
}


def _line(found: Any) -> int:
    return int(found.start_mark.line) + 1


def _told(error: yaml.YAMLError) -> tuple[int, str]:
    """The line and the problem of an error, without the text of that line."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = str(getattr(error, "problem", None) or "it cannot be read")
    if isinstance(error, yaml.composer.ComposerError):
        problem = problem.partition(" '")[0]
    return (mark.line + 1 if mark else 1), problem


def shown(text: str) -> str:
    """A key or value for a message: short, without logins of URLs, control characters escaped."""
    masked = re.sub(r"//[^/@\s]*@", "//…@", text)
    short = masked if len(masked) <= SHOWN else f"{masked[:SHOWN]}…"
    visible = "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in short
    )
    return visible if text and text == text.strip() else f'"{visible}"'
