"""`inv reference.*`: write the pages that are made from the code, or say which are out of date."""

from __future__ import annotations

import sys
from pathlib import Path

from invoke import Collection, Context, task

from ...engine.errors import FAILED
from ...engine.session import in_sentences
from ...engine.templates import PROJECT


def pages() -> dict[Path, str]:
    """Each page that is made from the code, wholly or in part, and what it should say."""
    from . import catalogue, errors, passwords, ports, settings
    from .markdown import within

    docs = PROJECT / "docs"
    security = (docs / "security.md").read_text(encoding="utf-8")
    security = within(security, "ports", ports.matrix())
    security = within(security, "passwords", passwords.names())
    return {
        docs / "settings.md": settings.page(),
        docs / "tasks.md": catalogue.page(),
        docs / "errors.md": errors.page(),
        docs / "security.md": security,
    }


@task
@in_sentences
def write(c: Context) -> None:
    """Write docs/settings.md, tasks.md, errors.md and tables of security.md anew."""
    for file, text in _out_of_date().items():
        file.write_text(text, encoding="utf-8")
        print(f"written: {file.relative_to(PROJECT)}")


@task
@in_sentences
def check(c: Context) -> None:
    """Say which of these pages no longer say what the code says."""
    for file in _out_of_date():
        print(f"out of date: {file.relative_to(PROJECT)}; inv reference.write")
    if _out_of_date():
        sys.exit(FAILED)


def _out_of_date() -> dict[Path, str]:
    return {
        file: text
        for file, text in pages().items()
        if not file.exists() or file.read_text(encoding="utf-8") != text
    }


reference = Collection("reference", write, check)
