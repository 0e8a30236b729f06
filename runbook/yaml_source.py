"""YAML with the line of each key, so that messages can point to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional

import yaml

from runbook.errors import InventoryError

KeyPath = tuple[str, ...]
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Source:
    """A YAML file as plain data, plus the line of each key."""

    def __init__(self, file: Path, content: Optional[bytes] = None) -> None:
        """Read `file`; raises InventoryError if it is missing, not YAML, or has a key twice.

        `content` is the file's content, if it is known already.
        """
        self.file = file
        self._content = content
        self._lines: dict[KeyPath, int] = {}
        self.data = self._read()

    def has(self, *path: str) -> bool:
        """Whether this file has that key."""
        return path in self._lines

    def where(self, *path: str) -> str:
        """`hosts.yaml:12: hosts.sql1`, as precise as the file allows."""
        for length in range(len(path), 0, -1):
            line = self._lines.get(path[:length])
            if line:
                return f"{self.file.name}:{line}: {'.'.join(path)}"
        return f"{self.file.name}: {'.'.join(path)}" if path else self.file.name

    def _read(self) -> dict[str, Any]:
        try:
            content = self.file.read_bytes() if self._content is None else self._content
            text = content.decode("utf-8")
        except FileNotFoundError:
            raise InventoryError(
                f"{self.file} does not exist; run this in the project's folder, "
                "or set RUNBOOK_INVENTORY to the file."
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise InventoryError(f"{self.file} cannot be read: {error}.") from None
        loader = None
        try:
            loader = _Loader(text)
            node = loader.get_single_node()
            data = self._plain(loader, node, ()) if node else {}
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark
            line = f":{mark.line + 1}" if mark else ""
            raise InventoryError(
                f"{self.file.name}{line}: not valid YAML: {error.problem}."
            ) from None
        except yaml.YAMLError as error:
            raise InventoryError(f"{self.file.name}: not valid YAML: {error}.") from None
        finally:
            if loader:
                loader.dispose()
        if not isinstance(data, dict):
            raise InventoryError(f"{self.file.name}: expected keys such as `hosts:` at the top.")
        return data

    def _plain(self, loader: Any, node: yaml.Node, path: KeyPath) -> Any:
        if not isinstance(node, yaml.MappingNode):
            return loader.construct_object(node, deep=True)
        data: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            here = (*path, key)
            line = key_node.start_mark.line + 1
            if key in data:
                raise InventoryError(
                    f"{self.file.name}:{line}: {'.'.join(here)} is defined twice "
                    f"(first in line {self._lines[here]}); keep one."
                )
            self._lines[here] = line
            data[key] = self._plain(loader, value_node, here)
        return data
