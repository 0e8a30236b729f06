"""The picture as one HTML file that needs nothing else."""

from __future__ import annotations

from typing import Any

from runbook.declare.templates import render
from runbook.output.quantities import duration
from runbook.visible import visible

from .drawing import Drawing


def page(told: dict[str, Any], drawn: Drawing) -> str:
    """The page of a status document and its drawing; everything in it is escaped."""
    about = {"told": told, "drawn": drawn, "ago": duration}
    return visible(render("operator/status.html.j2", about))
