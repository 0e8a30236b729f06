"""Passwords that the controller knows, and the mask that keeps them off every screen and file."""

from __future__ import annotations

import os
import shlex
import sys
import threading
from typing import Any, Callable

from .errors import SettingsError

MASK = "••••••"


class Mask:
    """Replaces every known secret in a text, as it is and as a shell would quote it."""

    def __init__(self) -> None:
        self._values: set[str] = set()

    def add(self, secret: str) -> str:
        """Learn a secret; returns it."""
        if secret:
            self._values.update({secret, shlex.quote(secret), shlex.quote(secret)[1:-1]} - {""})
        return secret

    def __call__(self, text: str) -> str:
        """`text` with every secret masked, the longest first."""
        for value in sorted(self._values, key=len, reverse=True):
            text = text.replace(value, MASK)
        return text

    def all(self, value: Any) -> Any:
        """`value` with every string in it masked, as deep as lists and mappings go."""
        if isinstance(value, str):
            return self(value)
        if isinstance(value, list):
            return [self.all(item) for item in value]
        if isinstance(value, dict):
            return {key: self.all(item) for key, item in value.items()}
        return value


class Passwords:
    """Passwords for logging in and for sudo: from the environment, or asked once and kept."""

    def __init__(self, mask: Mask, ask: Callable[[str], str]) -> None:
        self._mask = mask
        self._ask = ask
        self._known: dict[str, str] = {}
        self._lock = threading.Lock()

    def get(self, variable: str, question: str) -> str:
        """The value of an environment variable, or else what the user types, once per run."""
        with self._lock:
            if variable not in self._known:
                self._known[variable] = self._mask.add(self._read(variable, question))
            return self._known[variable]

    def _read(self, variable: str, question: str) -> str:
        value = os.environ.get(variable)
        if value:
            return value
        if not sys.stdin.isatty():
            raise SettingsError(
                f"{question.rstrip(': ')} is needed, and there is no terminal to ask on: "
                f"set {variable} in the environment."
            )
        return self._ask(question)
