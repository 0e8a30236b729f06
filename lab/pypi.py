"""Files from PyPI, as pip fetches them for the hosts' Python."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from lab.command import run

PYTHON = "3.11"  # the hosts', whatever Python builds


def fetch(
    pins: str, folder: Path, *options: str, env: Mapping[str, str] | None = None
) -> list[Path]:
    """Fetch what is pinned by version and hashes, without what it depends on."""
    folder.mkdir(parents=True)
    requirements = folder / "requirements.txt"
    requirements.write_text(pins)
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "download")
    pinned = ("--no-deps", "--require-hashes", "--requirement", requirements, "--dest", folder)
    target = ("--python-version", PYTHON, "--implementation", "cp")
    run(*pip, *pinned, *target, *options, env=env)
    return sorted(path for path in folder.iterdir() if path != requirements)
