"""Mappings of hosts.yaml that are in files of their own, which hosts.yaml names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Union

from runbook.errors import InventoryError
from runbook.inventory.cluster import local_path
from runbook.inventory.entry import LocalPath
from runbook.inventory.schema import Schema
from runbook.inventory.shape import faults
from runbook.yaml_source import KeyPath, Source


class PartSource:
    """A YAML file with the mapping that is at `key` of hosts.yaml."""

    def __init__(self, key: KeyPath, file: Path) -> None:
        self.key = key
        self.file = file
        self._source = Source(file)

    @property
    def data(self) -> dict[str, Any]:
        """The mapping."""
        return self._source.data

    def knows(self, path: KeyPath) -> int:
        """The number of leading keys of a path of hosts.yaml that lead to this file, and in it."""
        size = len(self.key)
        return size + self._source.knows(path[size:]) if path[:size] == self.key else 0

    def where(self, *path: Union[str, int]) -> str:
        """The file, the line, and the keys within the file."""
        return self._source.where(*path[len(self.key) :])


AnySource = Union[Source, PartSource]


def place_of(sources: Sequence[AnySource], *path: Union[str, int]) -> str:
    """The place of a key, in the file that has the most of its path."""
    return max(sources, key=lambda one: one.knows(path)).where(*path)


def parts_of(
    data: Mapping[str, Any], sources: Sequence[AnySource], schema: Schema, folder: Path
) -> list[PartSource]:
    """The files that settings name in place of a mapping; relative paths start in `folder`."""
    found = []
    for section, kind in schema.settings.items():
        settings = data.get(section)
        for name in kind.in_files:
            value = settings.get(name) if isinstance(settings, dict) else None
            if not isinstance(value, str) or any(faults(LocalPath, value)):
                continue  # a mapping, or what is refused later
            file = local_path(value, folder)
            if not file.is_file():
                where = place_of(sources, section, name)
                raise InventoryError(f"{where}: the file {file} does not exist.")
            found.append(PartSource((section, name), file))
    return found


def with_parts(data: Mapping[str, Any], parts: list[PartSource]) -> dict[str, Any]:
    """`data` with the mappings of the files in place of their names."""
    whole = dict(data)
    for part in parts:
        section, name = map(str, part.key)
        whole[section] = {**whole[section], name: part.data}
    return whole
