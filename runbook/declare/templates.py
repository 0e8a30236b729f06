"""Files of `files/`: templates, in which an undefined name is an error, and bash for steps."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .step import quote

if TYPE_CHECKING:
    from jinja2 import Environment

PROJECT = Path(__file__).resolve().parents[2]
FILES = PROJECT / "files"


def render(source: str, context: Mapping[str, Any]) -> str:
    """The text of `files/SOURCE`; only one that ends in .j2 is a template.

    Filters besides Jinja2's own: `yaml` writes a value as one line of YAML.
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


_PARAMETERS = re.compile(r'(^: ("\$\{\w+:\?\}" ?)+\n)+', re.M)


def script(source: str, **values: object) -> str:
    """The bash of `files/SOURCE` as one command: a subshell that begins with assignments.

    Its first line is for shellcheck. Lines such as `: "${name:?}" "${other:?}"` name parameters;
    the assignments replace them. ValueError if `values` are not exactly these parameters.
    """
    text = (FILES / source).read_text(encoding="utf-8").partition("\n")[2]
    found = _PARAMETERS.match(text)
    names = re.findall(r"\w+", found.group()) if found else []
    if sorted(names) != sorted(values):
        raise ValueError(f"files/{source} takes {names}, not {sorted(values)}")
    # One line: a failure shows the first lines of a command, which should be what it does.
    assignments = " ".join(f"{name}={quote(str(values[name]))}" for name in names)
    body = text[found.end() if found else 0 :].strip()
    return f"({assignments}\n{body})" if names else f"({body})"
