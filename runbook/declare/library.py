"""The bash functions that tests of steps may use, and the environment of all commands."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

ENVIRONMENT = "cd /; umask 022; export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin"
"""The environment of all commands on all hosts, whatever umask the administrator has there."""


@lru_cache(maxsize=1)
def library() -> str:
    """What a root shell on a host reads once, before its first script."""
    folder = Path(__file__).parent
    texts = [(folder / name).read_text(encoding="utf-8") for name in ("library.sh", "paths.sh")]
    lines = "".join(texts).splitlines()
    code = [line for line in lines if line and not line.lstrip().startswith("#")]
    return "\n".join([ENVIRONMENT, *code, ""])
