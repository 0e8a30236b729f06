"""The controller's passwords: where they come from, and where they are kept."""

from __future__ import annotations

import os
import re
import secrets as randomness
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from getpass import getpass
from pathlib import Path
from typing import Callable, ClassVar, Optional

from runbook.errors import SettingsError
from runbook.secrets import sealed, sealed_v1
from runbook.secrets.mask import Mask
from runbook.secrets.passwords_file import parse_passwords, sayable
from runbook.secrets.private_file import read_private, write_private

PASSPHRASE_VARIABLE = "RUNBOOK_SECRETS_PASSPHRASE"
KEY_VARIABLE = "RUNBOOK_SECRETS_KEY"


@dataclass(frozen=True)
class Rule:
    """The values that the software behind a secret accepts, as a pattern and in words."""

    pattern: str
    words: str


@dataclass(frozen=True)
class Secret:
    """A password that the cluster needs: its key in secrets.yaml, what it is for, and its length.

    `passing`: it exists only for a time, and is never generated in advance. `family`: it stands for
    several passwords, whose names begin with its name. `rule`: a value that does not match it is
    refused before it reaches a server. `given`: the user supplies it, and nothing generates it.
    `make` generates it, if it is no password but has a form of its own, such as a key.
    """

    name: str
    about: str
    length: int = 32
    passing: bool = False
    family: bool = False
    rule: Optional[Rule] = None
    given: bool = False
    make: Optional[Callable[[], str]] = None

    def generated(self) -> str:
        """A new value."""
        return self.make() if self.make else randomness.token_urlsafe(self.length * 3 // 4)

    def broken_by(self, value: str) -> str:
        """The rule that a value breaks, in words; empty if the value is valid."""
        broken = self.rule and not re.fullmatch(self.rule.pattern, value)
        return self.rule.words if self.rule and broken else ""

    @property
    def variable(self) -> str:
        """The environment variable that overrides the file."""
        return f"RUNBOOK_SECRET_{self.name.upper()}"


class Vault:
    """The cluster's passwords: from the environment, else secrets.yaml, else generated and kept.

    `keep` writes what is generated or changed to the file, before any host gets it; a run that
    changes nothing never calls it. `mask` gets every value. `ask` gets the passphrase of an
    encrypted file; `sealed_by` is what decrypted it.
    """

    def __init__(self, file: Path, mask: Mask) -> None:
        self.file = file
        self.ask = Passwords(mask, getpass).get
        self.sealed_by: Optional[sealed.Opener] = None
        self.mask = mask
        self._kept: dict[str, str] = {}
        self._new: dict[str, str] = {}
        self._changed: set[str] = set()
        self._made_up: list[str] = []
        self._forgotten: set[str] = set()
        self._read = False
        self._lock = threading.Lock()

    def get(self, secret: Secret) -> str:
        """The value of a secret; SettingsError if the file is invalid, or the value unusable."""
        value = self.unjudged(secret)
        words = secret.broken_by(value)
        if words:
            raise SettingsError(
                f"{secret.name} must be {words} ({self.file} or {secret.variable})."
            )
        return value

    def part(self, secret: Secret, function: Callable[[str], str]) -> str:
        """What `function` takes from a secret, such as the certificate that belongs to a key."""
        return function(self.get(secret))

    def unjudged(self, secret: Secret) -> str:
        """The value of a secret, even if its software does not accept it."""
        value = os.environ.get(secret.variable)
        if value:
            return self.mask.add(sayable(value, secret.variable))
        with self._lock:
            self._read_once()
            if secret.name not in self._kept and secret.name not in self._new:
                if secret.given:
                    raise SettingsError(self._not_given(secret))
                self._new[secret.name] = secret.generated()
                self._made_up.append(secret.name)
            return self.mask.add(self._kept.get(secret.name) or self._new[secret.name])

    def _not_given(self, secret: Secret) -> str:
        return (
            f"The secret {secret.name}, which {secret.about} needs, has no value. "
            f"Set it: inv secrets.set {secret.name} (or {secret.variable} in the environment)."
        )

    def learn(self) -> None:
        """Mask every value of the file and the environment, even if no task uses it.

        An encrypted file is opened only if that asks nothing: with a key file, or a passphrase in
        the environment.
        """
        ours = re.compile("RUNBOOK_(SECRET_|.*PASSWORD|.*PASSPHRASE)")
        self.mask.learn(value for name, value in os.environ.items() if ours.match(name))
        with suppress(SettingsError, OSError), self._lock:
            if self.file.exists() and self._opens_by_itself():
                self._read_once()

    def _opens_by_itself(self) -> bool:
        content = self.file.read_bytes()
        needed = {sealed.KeyFile.kind: KEY_VARIABLE, sealed.Passphrase.kind: PASSPHRASE_VARIABLE}
        kind = sealed.kind(content)
        return not kind or bool(os.environ.get(needed[kind]))

    def knows(self, secret: Secret) -> bool:
        """Whether the environment, the file or this run has it, so that none is generated."""
        if os.environ.get(secret.variable):
            return True
        with self._lock:
            self._read_once()
            return secret.name in self._kept or secret.name in self._changed

    def renew(self, secret: Secret) -> str:
        """Generate a new value for a secret; SettingsError if the environment sets it."""
        value = self.put(secret, secret.generated())
        self._made_up.append(secret.name)
        return value

    def put(self, secret: Secret, value: str) -> str:
        """Set a secret to this value; SettingsError if the environment sets it."""
        self.refuse_overridden(secret)
        self.mask.add(value)
        if self.knows(secret):
            self.unjudged(secret)  # the old value stays masked
        with self._lock:
            self._kept.pop(secret.name, None)
            self._forgotten.discard(secret.name)
            self._new[secret.name] = value
            self._changed.add(secret.name)
        return value

    def forget(self, secret: Secret) -> None:
        """Remove a secret from the file; its value stays masked."""
        if not self.knows(secret):
            return
        self.unjudged(secret)
        with self._lock:
            self._kept.pop(secret.name, None)
            self._new.pop(secret.name, None)
            self._changed.discard(secret.name)
            self._forgotten.add(secret.name)

    def refuse_overridden(self, secret: Secret) -> None:
        """Raise SettingsError if the environment sets the secret, so that it cannot be changed."""
        if os.environ.get(secret.variable):
            raise SettingsError(
                f"{secret.variable} is set and overrides {self.file}; "
                "change the variable, or unset it."
            )

    def keep(self) -> list[str]:
        """Write new values to secrets.yaml, for its owner only; returns the generated names."""
        with self._lock:
            if not self._new and not self._forgotten:
                return []
            kept = self._load()
            if kept.keys() & self._new.keys() - self._changed:
                raise SettingsError(f"Another run has just changed {self.file}. Rerun the command.")
            left = {name: kept[name] for name in kept if name not in self._forgotten}
            everything = {**left, **self._new}
            self._store(everything)
            names = list(dict.fromkeys(self._made_up))
            self._kept, self._new, self._made_up = everything, {}, []
            self._changed, self._forgotten = set(), set()
            return names

    def everything(self) -> dict[str, str]:
        """All passwords in the file, by name."""
        with self._lock:
            self._read_once()
            for value in self._kept.values():
                self.mask.add(value)
            return dict(self._kept)

    def text(self) -> bytes:
        """The file's text, decrypted; SettingsError if there is none."""
        with self._lock:
            return self._plain(read_private(self.file))

    def replace(self, text: bytes, before: bytes) -> None:
        """Replace the file's text, encrypted as before; SettingsError if the new text is invalid.

        `before` is the file's text when the change began: a run may have written meanwhile.
        """
        parse_passwords(text, self.file)
        if self.text() != before:
            raise SettingsError(
                f"Another run has just changed {self.file}. Repeat your change there."
            )
        with self._lock:
            self._write(text)
            self._read = False

    def text_of_any_format(self) -> bytes:
        """The file's text, also that of a file which an older release has encrypted."""
        content = read_private(self.file)
        kind = sealed_v1.kind(content)
        if not kind:
            return self.text()
        if kind == sealed.KeyFile.kind:
            secret = sealed_v1.secret_in(self._key_file())
        else:
            secret = sealed_v1.secret_of(self._passphrase())
        return sealed_v1.unseal(content, secret, str(self.file))

    def seal(self, opener: Optional[sealed.Opener]) -> None:
        """Encrypt the file, so that `opener` opens it; without one, decrypt it."""
        text = self.text_of_any_format()
        with self._lock:
            self.sealed_by = opener
            self._write(text)

    def _read_once(self) -> None:
        if not self._read:
            self._kept = self._load()
            self._read = True
            self.mask.learn(self._kept.values())

    def _load(self) -> dict[str, str]:
        if not self.file.exists():
            return {}
        return parse_passwords(self._plain(read_private(self.file)), self.file)

    def _plain(self, content: bytes) -> bytes:
        """A file's content, decrypted if necessary; later writes are encrypted in the same way."""
        if sealed_v1.kind(content):
            raise SettingsError(
                f"{self.file} is encrypted in the format of an older release. Convert it: "
                "inv secrets.encrypt"
            )
        kind = sealed.kind(content)
        self.sealed_by = self.sealed_by or (self._opener(kind) if kind else None)
        if not kind or not self.sealed_by:
            return content
        return sealed.unseal(content, self.sealed_by, str(self.file))

    def _opener(self, kind: str) -> sealed.Opener:
        if kind == sealed.KeyFile.kind:
            return sealed.KeyFile(self._key_file())
        return sealed.Passphrase(self._passphrase())

    def _key_file(self) -> Path:
        name = os.environ.get(KEY_VARIABLE)
        if not name:
            raise SettingsError(f"{self.file} is encrypted; set {KEY_VARIABLE} to its key file.")
        return Path(name).expanduser()

    def _passphrase(self) -> str:
        return self.ask(PASSPHRASE_VARIABLE, f"Passphrase of {self.file}: ")

    def _store(self, everything: dict[str, str]) -> None:
        import yaml

        self._write(yaml.safe_dump(everything, allow_unicode=True, sort_keys=False).encode())

    def _write(self, text: bytes) -> None:
        write_private(self.file, sealed.seal(text, self.sealed_by) if self.sealed_by else text)


class Passwords:
    """Passwords for logging in and for sudo: from the environment, or asked once and kept.

    Workers wait for `answer`, which asks in the main thread: only there does Ctrl-C interrupt.
    `given` has those that were typed before the run began, by variable.
    """

    given: ClassVar[dict[str, str]] = {}

    def __init__(self, mask: Mask, ask: Callable[[str], str]) -> None:
        self._mask = mask
        self._ask = ask
        self._known: dict[str, str] = {}
        self._wanted: dict[str, str] = {}
        self._given_up = False
        self._changed = threading.Condition()

    def get(self, variable: str, question: str) -> str:
        """The value of an environment variable, or else what the user types, once per run."""
        value = os.environ.get(variable) or self.given.get(variable)
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
        """Ask the user what workers wait for; SettingsError if stdin is not a terminal."""
        for variable, question in list(self._wanted.items()):
            if not sys.stdin.isatty():
                raise SettingsError(
                    f"{question.rstrip(': ')} is needed, but stdin is not a terminal. "
                    f"Set {variable} in the environment."
                )
            try:
                password = self._mask.add(self._ask(question))
            except EOFError:
                raise SettingsError("The password was not given.") from None
            with self._changed:
                self._known[variable] = password
                del self._wanted[variable]
                self._changed.notify_all()

    def give_up(self) -> None:
        """Release the workers that wait for an answer that will not come."""
        with self._changed:
            self._given_up = True
            self._changed.notify_all()
