"""A program works on the checkout that it belongs to, and on no other."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Optional

from invoke.loader import FilesystemLoader

from runbook.declare.templates import PROJECT
from runbook.errors import UsageError


class OwnLoader(FilesystemLoader):
    """Finds the tasks of the checkout that one is in, if it is the program's own.

    The `activate` of a copied checkout puts the original's programs first in PATH, and these read
    the original's hosts.yaml: what is meant for the copy's cluster would be done to the original's.
    """

    def find(self, name: str) -> Optional[ModuleSpec]:
        """Where the tasks are."""
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
    """The checkout that a folder is in; links in it are not followed, as they may leave it."""
    start = start.absolute()
    for folder in (start, *start.parents):
        if (folder / "fabfile").is_dir() and (folder / "tasks.py").exists():
            return folder
    return None
