"""The picture as one HTML file that needs nothing else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ...engine.errors import UsageError
from ...engine.templates import render
from .drawing import Drawing
from .lines import ago


def page(told: dict[str, Any], drawn: Drawing) -> str:
    """The page of a status document and its drawing; everything in it is escaped."""
    return render("operator/status.html.j2", {"told": told, "drawn": drawn, "ago": ago})


def write(path: Path, text: str) -> None:
    """Put the file there in one instant; UsageError if that cannot be."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        _removed(temporary)
        raise UsageError(f"{path} cannot be written: {error.strerror}.") from None


def _removed(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return
