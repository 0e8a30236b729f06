"""The files of a commit in a git repository elsewhere, of which this machine keeps a mirror."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Optional

from runbook.errors import SettingsError
from runbook.inventory.entry import Entry, Text, named, perhaps
from runbook.secrets.mask import MASK

from .git import PATIENCE, GitFailed, bare, run
from .tree import FILE, LINK, PROGRAM, SKIPPED, File, Tree

_HOST = r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?"
_PLACE = r"[A-Za-z0-9._~/@%+,=-]{1,500}"
GitUrl = Annotated[
    str,
    named(
        "URL of a repository: `https://HOST/PATH`, `ssh://USER@HOST/PATH`, `USER@HOST:PATH`, "
        "`file:///PATH`",
        rf"https?://{_HOST}(?::[0-9]{{1,5}})?/{_PLACE}"
        rf"|ssh://(?:[A-Za-z0-9._-]+@)?{_HOST}(?::[0-9]{{1,5}})?/{_PLACE}"
        rf"|[A-Za-z0-9._]+@{_HOST}:{_PLACE}|file:///{_PLACE}",
    ),
]
GitRef = Annotated[
    str,
    named(
        "branch, tag or commit (letters, digits, `.`, `_`, `/`, `+`, `-`)",
        r"(?!.*(?:\.\.|//|/\.|\.lock\Z|[./]\Z))[A-Za-z0-9_][A-Za-z0-9._/+-]{0,199}",
    ),
]
GitPath = Annotated[
    str,
    named(
        "path in a repository (letters, digits, `.`, `_`, `-`)",
        r"(?!.*(?:^|/)\.\.?(?:/|\Z))[A-Za-z0-9._-]+(?:/[A-Za-z0-9._-]+){0,20}",
    ),
]
COMMIT = re.compile("[0-9a-f]{40}(?:[0-9a-f]{24})?")


class Git(Entry, frozen=True):
    """Files in a git repository, which the controller fetches."""

    git: GitUrl
    """The repository's URL."""
    ref: GitRef = "main"
    """The branch, tag or commit."""
    path: Optional[GitPath] = None
    """The folder in the repository; null: all of it."""
    user: Annotated[str, named("user (no spaces, quotes or `:`)", "[A-Za-z0-9._@+-]{1,100}")] = (
        "git"
    )
    """The user that goes with the token; most servers accept any."""
    token: Optional[Text] = None
    """The token or password for https: `{secret: NAME}`, which secrets.yaml has."""


class Repository:
    """A repository elsewhere, and its mirror in `state`; `setting` is its place in hosts.yaml."""

    def __init__(self, wanted: Git, setting: str, state: Path) -> None:
        self.wanted, self.setting = wanted, setting
        digest = hashlib.sha256(wanted.git.encode()).hexdigest()[:16]
        self.mirror = state / "git" / f"{digest}.git"

    def tree(self) -> Tree:
        """The files of the commit that the ref names now, as they are committed."""
        bare(self.mirror, self.wanted.git)
        commit = self._commit()
        if not self._has(commit):
            self._fetch(commit)
        source = f"commit {commit[:12]} of {self.wanted.git}"
        return Tree(dict(self._files(commit, source)), source, commit)

    def _git(self, *words: str, given: bytes = b"") -> bytes:
        return run([f"--git-dir={self.mirror}", *words], self.wanted.git, given=given)

    def _asked(self, *words: str, patience: int = PATIENCE) -> bytes:
        """What git prints after it has asked the server; SettingsError if that fails."""
        try:
            with self._login() as environment:
                return run(
                    [f"--git-dir={self.mirror}", *words],
                    f"{self.wanted.git} ({self.setting})",
                    environment=environment,
                    patience=patience,
                )
        except GitFailed as error:
            raise SettingsError(
                f"{self.wanted.git} cannot be read: {self._said(str(error))}. Correct "
                f"{self.setting}, or check the network and what you may read there."
            ) from None

    def _said(self, text: str) -> str:
        """The line of git's errors that says what is wrong, without the token."""
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        fatal = [line for line in lines if line.startswith(("fatal:", "ERROR:", "remote:"))]
        said = next(iter(fatal or lines[-1:]), "git failed").partition(": ")[2] or "git failed"
        token = self.wanted.token
        return (said.replace(token, MASK) if token else said).rstrip(".")

    @contextmanager
    def _login(self) -> Iterator[dict[str, str]]:
        """The environment in which git finds the token, and no other process does."""
        if not self.wanted.token:
            yield {}
            return
        with tempfile.TemporaryDirectory(prefix="askpass-") as folder:
            program = Path(folder, "askpass")
            program.write_text(
                "#!/bin/sh\ncase $1 in\n"
                f"Username*) echo {shlex.quote(self.wanted.user)} ;;\n"
                'Password*) printf "%s\\n" "$RUNBOOK_GIT_TOKEN" ;;\nesac\n'
            )
            program.chmod(0o700)
            yield {"GIT_ASKPASS": str(program), "RUNBOOK_GIT_TOKEN": self.wanted.token}

    def _commit(self) -> str:
        """The commit that the ref names at the server."""
        ref = self.wanted.ref
        if COMMIT.fullmatch(ref):
            return ref
        told = self._asked("ls-remote", "--heads", "--tags", "--", self.wanted.git, patience=60)
        lines = (line.partition("\t") for line in told.decode().splitlines())
        known = {name: sha for sha, _, name in lines}
        names = [ref] if ref.startswith("refs/") else [f"refs/heads/{ref}", f"refs/tags/{ref}"]
        found = {known.get(f"{name}^{{}}", known[name]): name for name in names if name in known}
        if len(found) > 1:
            raise SettingsError(
                f"{self.wanted.git} has a branch and a tag {ref}. Write refs/heads/{ref} or "
                f"refs/tags/{ref} as ref of {self.setting}."
            )
        if not found:
            short = [re.sub("^refs/(heads|tags)/", "", name) for name in known]
            raise SettingsError(
                f"{self.wanted.git} has no branch or tag {ref}{perhaps(ref, short)}. Correct ref "
                f"of {self.setting}; a commit is named by all its 40 digits."
            )
        return next(iter(found))

    def _has(self, commit: str) -> bool:
        """Whether the mirror has all of a commit; a fetch that was cut off leaves no reference."""
        try:
            self._git("rev-parse", "--verify", "-q", f"refs/runbook/{commit}^{{commit}}")
        except GitFailed:
            return False
        return True

    def _fetch(self, commit: str) -> None:
        """Fetch one commit without its history; with it, if the server gives nothing else."""
        common = ("fetch", "-q", "--no-tags", "--no-write-fetch-head", "--force")
        one = f"{commit}:refs/runbook/{commit}"
        url = self.wanted.git
        try:
            self._asked(*common, "--depth=1", "--", url, one)
        except SettingsError:
            everything = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
            self._asked(*common, "--", url, *everything)
            try:
                self._git("update-ref", f"refs/runbook/{commit}", commit)
            except GitFailed:
                raise SettingsError(
                    f"{url} has no commit {commit}. Correct ref of {self.setting}."
                ) from None

    def _files(self, commit: str, source: str) -> Iterator[tuple[str, File]]:
        """The committed files of the folder, without attributes and filters."""
        path = self.wanted.path
        start = f"{commit}:{path}" if path else f"{commit}^{{tree}}"
        try:
            told = self._git("ls-tree", "-r", "-z", start)
        except GitFailed:
            raise SettingsError(
                f"{source} has no folder {path}. Correct path of {self.setting}."
            ) from None
        listed = [_listed(line) for line in told.split(b"\0") if line]
        chosen = [one for one in listed if not _skipped(one[2])]
        for mode, _, name in chosen:
            if mode not in (FILE, PROGRAM, LINK):
                raise SettingsError(
                    f"{source}: {name} is a submodule, which is not fetched. Commit its files, or "
                    f"choose another path in {self.setting}."
                )
        contents = self._contents([sha for _, sha, _ in chosen])
        for mode, sha, name in chosen:
            yield name, File(mode, contents[sha])

    def _contents(self, shas: list[str]) -> dict[str, bytes]:
        """The content of objects, by their names."""
        asked = "".join(f"{sha}\n" for sha in dict.fromkeys(shas))
        told = self._git("cat-file", "--batch", given=asked.encode())
        found, place = {}, 0
        while place < len(told):
            end = told.index(b"\n", place)
            sha, _, size = told[place:end].decode().split()
            found[sha] = told[end + 1 : end + 1 + int(size)]
            place = end + 2 + int(size)
        return found


def _listed(line: bytes) -> tuple[str, str, str]:
    """Mode, object and path of a line of ls-tree."""
    about, _, path = line.partition(b"\t")
    mode, _, sha = about.decode().split()
    return mode, sha, os.fsdecode(path)


def _skipped(path: str) -> bool:
    return path.endswith(".pyc") or any(part in SKIPPED for part in path.split("/"))
