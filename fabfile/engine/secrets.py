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
            quoted = shlex.quote(secret)
            self._values.update({secret} if quoted == secret else {secret, quoted, quoted[1:-1]})
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
    """Passwords for logging in and for sudo: from the environment, or asked once and kept.

    Workers wait for `answer`, which asks in the main thread: only there does Ctrl-C interrupt.
    """

    def __init__(self, mask: Mask, ask: Callable[[str], str]) -> None:
        self._mask = mask
        self._ask = ask
        self._known: dict[str, str] = {}
        self._wanted: dict[str, str] = {}
        self._given_up = False
        self._changed = threading.Condition()

    def get(self, variable: str, question: str) -> str:
        """The value of an environment variable, or else what the user types, once per run."""
        value = os.environ.get(variable)
        if value:
            return self._mask.add(value)
        with self._changed:
            if variable not in self._known:
                self._wanted[variable] = question
                if threading.current_thread() is threading.main_thread():
                    self.answer()
                self._changed.wait_for(lambda: variable in self._known or self._given_up)
            if self._given_up:
                raise SettingsError("The password was not given.")
            return self._known[variable]

    def answer(self) -> None:
        """Ask the user what workers wait for; SettingsError if nobody is there to answer."""
        for variable, question in list(self._wanted.items()):
            if not sys.stdin.isatty():
                raise SettingsError(
                    f"{question.rstrip(': ')} is needed, and there is no terminal to ask on: "
                    f"set {variable} in the environment."
                )
            password = self._mask.add(self._ask(question))
            with self._changed:
                self._known[variable] = password
                del self._wanted[variable]
                self._changed.notify_all()

    def give_up(self) -> None:
        """Release the workers that wait for an answer that will not come."""
        with self._changed:
            self._given_up = True
            self._changed.notify_all()
