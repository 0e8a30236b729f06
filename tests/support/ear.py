"""What somebody hears who listens on the lab's network."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lab.machine import Lab

PROGRAM = Path(__file__).with_name("listener.py")


@contextmanager
def listening(lab: Lab, folder: Path, words: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Listens for these regular expressions; what was heard, and where, is there at the end."""
    file = folder / "words.json"
    file.write_text(json.dumps(dict(words)))
    argv = lab.inside([sys.executable, str(PROGRAM), str(file)])
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as ear:
        found: dict[str, str] = {}
        assert ear.stdout
        assert ear.stdout.readline() == "listening\n"
        try:
            yield found
        finally:
            ear.terminate()
            found.update(json.loads(ear.stdout.read() or "{}"))


def in_any_form(secrets: Mapping[str, str], users: tuple[str, ...] = ("admin",)) -> dict[str, str]:
    """Words for passwords as they pass in clear: as they are, and in the header of a login."""
    words = {}
    for name, value in secrets.items():
        forms = [value, *(basic(user, value) for user in users)]
        words[name] = "|".join(re.escape(form) for form in forms)
    return words


def basic(user: str, password: str) -> str:
    """A login as HTTP's basic authentication has it."""
    return base64.b64encode(f"{user}:{password}".encode()).decode()
