"""Lines for `curl --config`, which keeps passwords out of command lines."""

from __future__ import annotations


def login(user: str, password: str) -> str:
    """A line for `curl --config` with a login (curl(1), "--config": escapes in quotes)."""
    escaped = password.replace("\\", "\\\\").replace('"', '\\"')
    return f'user = "{user}:{escaped}"'
