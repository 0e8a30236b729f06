"""Steps that run commands, test preconditions or wait."""

from __future__ import annotations

from runbook.declare.step import Handler, Step, here, parent, worker


def command(title: str, apply: str, unless: str, timeout: int = 300) -> Step:
    """Run `apply`, unless the shell test `unless` holds; afterwards it must hold."""
    return Step(title, unless, apply, timeout=timeout)


def precondition(title: str, test: str, otherwise: str, early: bool = False) -> Step:
    """A condition that must hold before anything is done; if it does not, the host is refused.

    `otherwise`: commands that print what was found instead, and what to do.
    `early`: it holds on a fresh server, too, and a preflight asks for it.
    """
    shown = f"{test} || {{\n{otherwise}\n}}"
    return Step(title, test, otherwise, guard=True, masked=shown, early=early)


def action(title: str, apply: str, timeout: int = 300) -> Step:
    """Commands that always run, such as a backup. For procedures only: other steps have a test."""
    return Step(title, "[[ $carried_out ]]", apply, timeout=timeout)


def wait_for(title: str, test: str, timeout: int = 300) -> Step:
    """Wait until `test`, a command without library functions, succeeds; at most `timeout` seconds.

    Waiting changes nothing: its status is ok when it ends, and it is not part of a plan.
    """
    return Step(title, test, f"until {test}; do sleep 1; done", timeout=timeout, waits=True)


def with_stdin(title: str, command: str, text: str, unless: str, diff: str = "") -> Step:
    """Run `command` with `text` on its standard input, unless the shell test `unless` holds.

    In `unless` and `diff`, the text is in `$text`.
    """
    body = text if text.endswith("\n") else f"{text}\n"
    return Step(title, unless, f"{command} {here(body)}", text=body, diff=diff)


def moved_aside(path: str, reason: str, owner: str) -> str:
    """Commands that rename what is at a path; the new name has the reason and the time.

    The owner of the path renames it, unless it is in a folder of root's.
    """
    who, by = worker(parent(path), owner)
    return f'{who}\n{by}mv -T {path} "{path}.{reason}-$(date +%Y%m%d-%H%M%S)"'


def answers(address: str, port: int, seconds: int = 3) -> str:
    """A test without library functions: something listens on this port."""
    return f"timeout {seconds} bash -c '</dev/tcp/{address}/{port}'"


def not_noted(handler: Handler) -> str:
    """A test: no earlier task has noted that this is due."""
    name = handler.name
    return f"[[ ! -e $runtime/notes/{name} && ! ${{noted[{name}]-}} ]]"
