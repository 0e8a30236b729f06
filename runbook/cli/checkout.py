"""Makes sure that a program is used only in the checkout that it belongs to."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Optional

from invoke.loader import FilesystemLoader

from runbook.declare.templates import PROJECT
from runbook.errors import UsageError


class OwnLoader(FilesystemLoader):
    """Loads the tasks of the current checkout, and refuses one that the program does not belong to.

    The `activate` of a copied checkout still puts the original's programs first in PATH. They read
    the original's hosts.yaml: a command meant for the copy's cluster would change the original's.
    """

    def find(self, name: str) -> Optional[ModuleSpec]:
        """The module of the tasks."""
        program, here = Path(sys.argv[0]).name, _checkout(Path(self.start))
        if not here:
            raise UsageError(f"Run {program} in its checkout: cd {PROJECT}")
        if not here.samefile(PROJECT):
            raise UsageError(
                f"This {program} belongs to {PROJECT} and does not use the hosts.yaml of {here}. "
                f"In {here}, run: make setup && source .venv/bin/activate"
            )
        own: Optional[ModuleSpec] = FilesystemLoader(str(PROJECT), config=self.config).find(name)
        return own


def _checkout(start: Path) -> Optional[Path]:
    """The checkout that contains a folder; links are not followed, as they may lead out of it."""
    start = start.absolute()
    for folder in (start, *start.parents):
        if (folder / "fabfile").is_dir() and (folder / "tasks.py").exists():
            return folder
    return None
