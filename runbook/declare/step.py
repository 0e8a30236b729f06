"""A step: one wanted state of a host, and the bash commands that it consists of."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

RUNTIME = "/run/airflow-runbook"
"""A host's folder for the lock and for notes of restarts still due; a reboot empties it."""


@dataclass(frozen=True)
class Handler:
    """What has to happen once, at the end, if a step that names it changed something.

    Without `apply` it is a note for a later task, such as the one that reboots.
    """

    name: str
    title: str
    apply: str = ""


@dataclass(frozen=True)
class Step:
    """One wanted state of a host.

    `test` says whether the host is in this state; `apply` brings it there, within `timeout`
    seconds. The library's functions compare with `text` and `render`, and inspect `paths`,
    `packages` and `units`. `diff` shows in a plan what would change. `guard` refuses the host if
    the test fails, `waits` changes nothing, `shows_output` shows the output to the user, `masked`
    is shown in place of an `apply` that contains a secret. `installs` are the packages that dnf
    installs, `early` is a guard that a preflight asks before anything is set up.
    """

    title: str
    test: str
    apply: str
    text: str = ""
    render: str = ""
    diff: str = ""
    paths: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    notify: tuple[Handler, ...] = ()
    clears: tuple[Handler, ...] = ()
    timeout: int = 300
    reboots: bool = False
    guard: bool = False
    waits: bool = False
    shows_output: bool = False
    masked: str = ""
    installs: tuple[str, ...] = ()
    early: bool = False

    @property
    def shown(self) -> str:
        """The commands as they may be shown: without secrets."""
        return self.masked or self.apply

    def then(self, *handlers: Handler) -> Step:
        """This step, with handlers to run at the end of the task if it changed something."""
        return replace(self, notify=(*self.notify, *handlers))

    def showing(self, diff: str) -> Step:
        """This step, with commands that print in a plan what would change."""
        return replace(self, diff=diff)

    def with_output(self) -> Step:
        """This step, with its output shown to the user."""
        return replace(self, shows_output=True)

    def clearing(self, *handlers: Handler) -> Step:
        """This step, which also does the work of these handlers when it changes something."""
        return replace(self, clears=(*self.clears, *handlers))


Steps = Iterator[Step]

REBOOT = Handler("reboot", "the host has to reboot")


def quote(text: str) -> str:
    """`text` as one word of shell."""
    return shlex.quote(text)


def path_test(path: str, kind: str, mode: str, owner: str, group: str) -> str:
    """A test: the path is of this kind, mode and owner, and nobody else controls where it leads."""
    return f"path_is {quote(path)} {quote(kind)} {mode} {owner} {group}"


def worker(folder: str, owner: str, missing_ok: bool = False) -> tuple[str, str]:
    """Who works in a folder: a line that finds out, and what each command there begins with.

    Root, if only root can change what is on the way there. Otherwise the owner, whom a link leads
    nowhere that the owner could not go; if the owner is root, nothing is done.
    """
    way = [*reversed(PurePosixPath(folder).parents), folder]
    parts = " ".join(quote(str(part)) for part in way)
    found = f"find -L {parts} -maxdepth 0 '(' ! -user root -o -perm /022 ')'"
    quiet = " 2>/dev/null" if missing_ok else ""
    if owner == "root":
        return f"{found} -print -quit{quiet} | grep . && exit 1", ""
    line = f"as=$({found} -printf 'runuser -u {owner} --' -quit{quiet})"
    return f"{line} || :" if missing_ok else line, "$as "


def parent(path: str) -> str:
    """The folder that a path is in."""
    return str(PurePosixPath(path).parent)


def labelled(target: str, by: str = "") -> str:
    """A command that gives a path the SELinux label of the policy, if SELinux is on."""
    return f"if selinuxenabled 2>/dev/null; then {by}restorecon {target}; fi"


def replacement(
    path: str,
    fill: Callable[[str], str],
    mode: str,
    owner: str,
    group: str,
    validate: str,
) -> str:
    """Commands that replace `path` by a new file atomically.

    `fill` gets what a command of the one who works there begins with; its commands write to $temp.
    """
    who, by = worker(parent(path), owner)
    target = quote(path)
    commands = [
        "(set -euo pipefail",
        who,
        f"temp=$({by}mktemp {quote(f'{parent(path)}/.{PurePosixPath(path).name}.XXXXXX')})",
        f"trap '{by}rm -f \"$temp\"' EXIT",
        fill(by),
        f'{by}chown {owner}:{group} "$temp"',
        f'{by}chmod {mode} "$temp"',
    ]
    if validate:
        commands.append(f'{by}{validate} "$temp"')
    commands += [
        f'{by}sync "$temp"',
        f'{by}mv -fT "$temp" {target}',
        f"{labelled(target, by)})",
    ]
    return "\n".join(commands)


def here(text: str) -> str:
    """`text` as a here-document, under a delimiter that does not occur in it."""
    delimiter = "EOF"
    while re.search(rf"^{delimiter}$", text, re.MULTILINE):
        delimiter += "_"
    return f"<<'{delimiter}'\n{text}{delimiter}"
