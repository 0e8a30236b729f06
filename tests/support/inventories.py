"""Other inventories than the one that is shipped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from support.controller import PROJECT

NEED_ALL = {"scheduler", "triggerer", "worker", "flower"}
"""Roles that are of no use without all others, which hosts.yaml must then have."""


def some_hosts(
    folder: Path, names: tuple[str, ...], more: dict[str, dict[str, Any]], **changed: Any
) -> Path:
    """The shipped hosts.yaml with these of its hosts, and of `more`, and what else has changed.

    They run no scheduler and nothing else that needs the whole cluster.
    """
    data = yaml.safe_load((PROJECT / "hosts.yaml").read_text())
    known = {**data["hosts"], **more}
    data.update({"vips": {}, "nfs": {}, "ssh": {"key_host": names[-1]}, **changed})
    data["hosts"] = {name: _apart(known[name]) for name in names}
    file = folder / f"hosts-{'-'.join(names)}.yaml"
    file.write_text(yaml.safe_dump(data))
    return file


def _apart(host: dict[str, Any]) -> dict[str, Any]:
    return {**host, "roles": [role for role in host["roles"] if role not in NEED_ALL]}
