"""What a tired operator should not have to read: phrases that have a plain word instead."""

from __future__ import annotations

import re

import pytest
from conftest import PROJECT

PLAIN = {
    r"\b[Mm]end(s|ed|ing)?\b": "fix",
    r"error of its own": "Internal error",
    r"loses? its office": "lease expires",
    r"\bhangs? on\b": "depends on",
    r"finds nobody": "connections fail",
    r"[Nn]obody is there to": "stdin is not a terminal",
    r"may well be": "may be",
    r"what it costs\b": "impact",
    r"can lose next": "survives the loss of",
    r"when mended": "then rerun",
    r"made up\b(?! for)": "generated",
}
"""A phrase, and what to say instead."""

MADE_BEFORE = {"docs/status-transcripts.md", "docs/test-long.md"}
"""What a run wrote; the next one writes it anew."""


ROOTS = ("docs", "runbook", "fabfile", "lab", "tools", "files")


def files() -> list[str]:
    found = [PROJECT / "README.md"]
    for root in ROOTS:
        found += [path for path in (PROJECT / root).rglob("*") if path.is_file()]
    names = [str(path.relative_to(PROJECT)) for path in found if "__pycache__" not in path.parts]
    return [name for name in names if name not in MADE_BEFORE and not name.endswith(".lock")]


@pytest.mark.parametrize("phrase", PLAIN)
def test_a_phrase_has_a_plain_word_instead(phrase):
    found = [
        f"{name}:{number}: {line.strip()}"
        for name in files()
        for number, line in enumerate((PROJECT / name).read_text("utf-8").splitlines(), 1)
        if re.search(phrase, line)
    ]
    assert not found, f"say {PLAIN[phrase]!r}:\n" + "\n".join(found)
