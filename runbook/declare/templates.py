"""Files of `files/`, rendered with Jinja2; a name that is not there is an error, not a gap."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment

PROJECT = Path(__file__).resolve().parents[2]
FILES = PROJECT / "files"


def render(source: str, context: Mapping[str, Any]) -> str:
    """The text of `files/SOURCE`; only one that ends in .j2 is a template.

    Filters beside Jinja2's own: `yaml` writes a value as one line of YAML.
    """
    if not source.endswith(".j2"):
        return (FILES / source).read_text(encoding="utf-8")
    return _environment().get_template(source).render(context)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FILES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=lambda name: bool(name) and str(name).endswith((".html.j2", ".svg.j2")),
    )
    environment.filters["yaml"] = _yaml
    return environment


def _yaml(value: Any) -> str:
    import json

    return json.dumps(value, ensure_ascii=False)
