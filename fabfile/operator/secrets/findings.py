"""What is wrong with secrets.yaml, and with the passwords in it."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from runbook.inventory.cluster import Cluster
from runbook.secrets.sealed import kind
from runbook.secrets.vault import Secret

from .needed import declared, needed

COMMON = {
    *("111", "123456", "12345678", "admin", "airflow", "changeme", "default", "guest"),
    *("letmein", "password", "postgres", "qwerty", "rabbitmq", "redhat", "rocky", "root", "secret"),
}
"""Passwords that are easy to guess: the runbook's `111`, and defaults of the software."""

SHORTEST = 12
FEWEST_DIFFERENT = 5


@dataclass(frozen=True)
class Wrong:
    """Something to fix: what it is about, what is wrong, and what to do."""

    about: str
    sentence: str
    fix: str


def all_of(cluster: Cluster) -> Iterator[Wrong]:
    """Problems of the file, then of its content, if that may be read."""
    file = cluster.vault.file
    if file.exists():
        yield from _file(file)
        if not _usable(file):
            return  # nothing reads such a file, not even this
    yield from _values(cluster)


def _usable(file: Path) -> bool:
    return os.access(file, os.R_OK) and not stat.S_IMODE(file.stat().st_mode) & 0o077


def _file(file: Path) -> Iterator[Wrong]:
    found = file.stat()
    mode = stat.S_IMODE(found.st_mode)
    if found.st_uid != os.geteuid():
        yield Wrong(file.name, "belongs to another user", f"chown {os.geteuid()} {file}")
    if mode & 0o077:
        yield Wrong(
            file.name,
            f"is readable by others (mode {mode:04o}); its content was not checked",
            f"chmod 600 {file}, then change every password that others may have read",
        )
    if _plain(file):
        yield from _in_git(file)
    for copy in sorted({*file.parent.glob(f"{file.name}?*"), *file.parent.glob(f".{file.name}*")}):
        if copy.is_file() and _plain(copy):
            yield Wrong(copy.name, "is a copy in plain text", f"shred -u {copy}")


def _plain(file: Path) -> bool:
    """Whether a file is not encrypted, as far as it can be read."""
    try:
        return not kind(file.read_bytes())
    except OSError:
        return True


def _in_git(file: Path) -> Iterator[Wrong]:
    if _git(file, "rev-parse", "--is-inside-work-tree") != "true":
        return
    if _git(file, "ls-files", "--", file.name):
        yield Wrong(
            file.name,
            "is tracked by git, in plain text",
            f"git rm --cached {file.name}, then new passwords: git's history has these",
        )
    elif _git(file, "log", "--all", "-1", "--format=%h", "--", file.name):
        yield Wrong(
            file.name,
            "was committed once; git's history still has it",
            "new passwords for all that were in it",
        )
    elif not _git(file, "check-ignore", "--", file.name):
        yield Wrong(file.name, "is not ignored by git", f"echo /{file.name} >>.gitignore")


def _git(file: Path, *arguments: str) -> str:
    """git's output; empty if git is missing, or if the folder is not in a repository."""
    try:
        answer = subprocess.run(
            ["git", *arguments], cwd=file.parent, capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""


def _values(cluster: Cluster) -> Iterator[Wrong]:
    vault = cluster.vault
    known = {secret.name: secret for secret in needed(cluster) if vault.knows(secret)}
    own = {name: vault.unjudged(secret) for name, secret in known.items()}
    values = {**vault.everything(), **own}
    given = {secret.name: secret for secret in cluster.given_secrets}
    by_name = {**given, **{secret.name: secret for secret in declared()}}
    first: dict[str, str] = {}
    for name, value in values.items():
        secret = by_name.get(name, Secret(name, ""))
        words = secret.broken_by(value)
        sentences = [f"must be {words}"] if words else _weak(name, value, secret.length)
        for sentence in sentences:
            yield Wrong(name, sentence, "inv secrets.edit, then the section that uses it")
        if value in first:
            yield Wrong(name, f"is the same as {first[value]}", "inv secrets.edit: set another one")
        first.setdefault(value, name)
        if not _declared(name) and name not in given:
            yield Wrong(name, "is not used by any section", "inv secrets.edit: remove or rename it")


def _weak(name: str, value: str, length: int) -> Iterator[str]:
    shortest = min(SHORTEST, length)
    if value.lower() in COMMON or value.lower() in name.split("_"):
        yield "is easy to guess"
    elif len(value) < shortest:
        yield f"is too short: {len(value)} characters instead of {shortest}"
    elif len(set(value)) < FEWEST_DIFFERENT:
        yield "is weak: it repeats the same few characters"


def meaning(name: str) -> str:
    """What a password is for; it may be declared only by the beginning of its name."""
    found = _declared(name)
    return found[0].about if found else "no section"


def _declared(name: str) -> list[Secret]:
    return [
        secret
        for secret in declared()
        if name == secret.name or (secret.family and name.startswith(secret.name))
    ]
