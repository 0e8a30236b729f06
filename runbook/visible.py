"""What other machines print, shown as text: no character of it moves a cursor or hides another."""

from __future__ import annotations

import json
import re
from typing import Any

# C0 but newline and tab, DEL, C1, separators, marks that change the direction of text, surrogates,
# and tags, which no terminal shows.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def visible(text: str) -> str:
    """`text` with control characters written as escapes, such as `\\x1b`."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def in_json(value: Any, indent: int | None = None) -> str:
    """`value` as JSON that is safe to print: a program reads exactly the same from it."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return _UNSEEN.sub(lambda found: json.dumps(found[0])[1:-1], text)
