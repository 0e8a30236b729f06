"""`python -m tools.docs`: write the pages that are out of date."""

from __future__ import annotations

from fabfile import CONTENTS
from runbook.declare.templates import PROJECT

from .pages import pages

for file, text in pages(CONTENTS).items():
    if not file.exists() or file.read_text(encoding="utf-8") != text:
        file.write_text(text, encoding="utf-8")
        print(f"written: {file.relative_to(PROJECT)}")
