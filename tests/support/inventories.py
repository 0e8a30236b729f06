"""Other inventories than the one that is shipped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from support.controller import PROJECT


def some_hosts(
    folder: Path, names: tuple[str, ...], more: dict[str, dict[str, Any]], **changed: Any
) -> Path:
    """The shipped hosts.yaml with these of its hosts, and of `more`, and what else has changed."""
    data = yaml.safe_load((PROJECT / "hosts.yaml").read_text())
    known = {**data["hosts"], **more}
    data.update({"vips": {}, "nfs": {}, "ssh": {"key_host": names[-1]}, **changed})
    data["hosts"] = {name: known[name] for name in names}
    file = folder / f"hosts-{'-'.join(names)}.yaml"
    file.write_text(yaml.safe_dump(data))
    return file
