"""What curl reads from a file or a descriptor, so that no command line holds a password."""

from __future__ import annotations


def login(user: str, password: str) -> str:
    """A line of `curl --config` with a login (curl(1), "--config": escapes in quotes)."""
    escaped = password.replace("\\", "\\\\").replace('"', '\\"')
    return f'user = "{user}:{escaped}"'
