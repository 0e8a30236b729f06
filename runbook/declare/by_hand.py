"""Steps by hand: the commands of a run in the form in which a person types them as root."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from runbook.declare.library import ENVIRONMENT, library
from runbook.declare.probes import Probe
from runbook.declare.step import Handler, Step

SHELL = f"set +H; unset HISTFILE; {ENVIRONMENT}"
"""First commands in such a shell: `!` is an ordinary character, and no history is kept."""

RUNS_OWN = re.compile(r"\$\{?(text|runtime|noted|carried_out|current)\b")
"""Variables that exist only in the script of a run."""

STATES = {
    "active": "ActiveState=active",
    "inactive": "ActiveState=inactive",
    "enabled": "UnitFileState=enabled",
    "disabled": "UnitFileState=disabled",
    "read": "NeedDaemonReload=no",
}
"""The words of `unit_is`, as `systemctl show` prints them."""


ZONES = "firewall-cmd --list-all-zones; firewall-cmd --permanent --list-all-zones"
"""A command that shows what is open, now and after the next boot."""


@dataclass(frozen=True)
class Look:
    """A command that shows the current state, and what it should print."""

    command: str
    expected: str
    title: str = ""


@dataclass(frozen=True)
class Typed:
    """A step by hand: commands, when they are needed, what follows, how to verify the result."""

    title: str
    commands: str
    when: str = ""
    entails: tuple[str, ...] = ()
    looks: tuple[Look, ...] = ()


def typed(steps: Iterable[Step]) -> list[Typed]:
    """The steps in order, then the restarts that they require."""
    steps = list(steps)
    handlers = {handler.name: handler for step in steps for handler in step.notify}
    return [
        *map(_step, steps),
        *(_handler(handler, steps) for handler in handlers.values() if handler.apply),
    ]


def asked(probes: Iterable[Probe]) -> list[Look]:
    """Probes in the form in which a person carries them out."""
    return [Look(alone(one.command), one.expected, one.title) for one in probes]


def alone(commands: str) -> str:
    """Commands that neither end the person's shell nor read what is pasted after them."""
    return _aside(commands, "")


def _step(step: Step) -> Typed:
    return Typed(
        step.title,
        _commands(step),
        _when(step),
        tuple(f"If this changes anything: {_due(handler)}." for handler in step.notify),
        () if step.guard or step.waits else tuple(looks(step.test)),
    )


def _commands(step: Step) -> str:
    if step.guard:
        return _aside(step.shown, "", always=True)
    if step.waits:
        return alone(step.apply)
    commands = _aside(step.apply, "set -euo pipefail\n")
    if not is_plain(step.test):
        return commands
    reads = re.search(r"(?<![\w./-])(ssh|runuser)\s", step.test)
    return (
        f"{{ {step.test}; }} </dev/null ||\n{commands}" if reads else f"{step.test} ||\n{commands}"
    )


def _aside(commands: str, options: str, always: bool = False) -> str:
    """Several commands in a shell of their own, so that `exit` ends only that shell.

    It does not read what is pasted after them and, as in a run, stops at the first failure.
    """
    simple = "\n" not in commands and not re.search(r"(?<![\w./-])(ssh|exit)(\s|$)", commands)
    replaced = commands.startswith("(set -euo pipefail\n") and commands.endswith("fi)")
    if (simple or replaced) and not always:
        return commands
    return f"({options}{commands}\n) </dev/null"


def _when(step: Step) -> str:
    if step.guard:
        return "Check only: if this prints anything, stop here and do what it says."
    if step.waits:
        return f"Waits; give up after {step.timeout} seconds."
    if "$runtime/notes/" not in step.test:
        return ""
    due = [handler.title for handler in step.clears] or ["the host has to reboot"]
    return f"Only if an earlier change requires it: {', '.join(due)}."


def _handler(handler: Handler, steps: Sequence[Step]) -> Typed:
    because = [step.title for step in steps if handler in step.notify]
    when = f"Only if one of these steps changed something: {'; '.join(dict.fromkeys(because))}."
    return Typed(handler.title, _aside(handler.apply, "set -euo pipefail\n"), when)


def _due(handler: Handler) -> str:
    return f"{handler.title}, at the end" if handler.apply else f"{handler.title}, later"


def is_plain(test: str) -> bool:
    """Whether the test works in a person's shell, which does not have the library."""
    return not _library_call().search(test) and not RUNS_OWN.search(test)


def looks(test: str) -> Iterator[Look]:
    """What a test checks, as commands for a shell without the library."""
    if is_plain(test):
        yield Look(alone(test), "exit code 0")
        return
    for call in _library_call().finditer(test):
        name, words = call[1], shlex.split(call[2])
        if name in QUESTIONS:
            yield QUESTIONS[name](words)


def _path(words: list[str]) -> Look:
    path, kind, mode, owner, group = words
    command = f"stat -c '%F, %a, %U:%G' {shlex.quote(path)}"
    return Look(command, f"{kind}, {mode.lstrip('0')}, {owner}:{group}")


def _content(words: list[str]) -> Look:
    return Look(f"cat {shlex.quote(words[0])}", "the content that the commands above wrote")


def _packages(words: list[str]) -> Look:
    return Look(shlex.join(["rpm", "-q", "--whatprovides", *words]), "one package for each name")


def _unit(words: list[str]) -> Look:
    command = f"systemctl show -p ActiveState -p UnitFileState -p NeedDaemonReload {words[0]}"
    return Look(command, ", ".join(STATES[state] for state in words[1:]))


def _firewall(words: list[str]) -> Look:
    return Look(ZONES, f"in both, in the zone of {words[0]}: {'; '.join(words[2:])}")


def _lets(words: list[str]) -> Look:
    address, sources, ports = words
    return Look(ZONES, f"in both, in the zone of {address}: {ports} for {sources}")


def _lists(words: list[str]) -> Look:
    return Look(ZONES, f"in both, in the zone of {words[0]}: nothing else for these ports")


QUESTIONS = {
    "path_is": _path,
    "holds_text": _content,
    "holds_rendered": _content,
    "text_of": _content,
    "packages_installed": _packages,
    "unit_is": _unit,
    "firewall_has": _firewall,
    "firewall_lets": _lets,
    "firewall_lists": _lists,
}
"""What the library's functions check, as commands that every server has."""


@lru_cache(maxsize=1)
def _library_call() -> re.Pattern[str]:
    names = "|".join(re.findall(r"^(\w+)\(\)", library(), re.MULTILINE))
    word = r"(?:'[^']*'|[^\s;&|()'])+"
    return re.compile(rf"(?<![\w./-])({names})((?: {word})*)(?![\w-])")
