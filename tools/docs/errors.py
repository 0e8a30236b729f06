"""docs/errors.md: exit codes, the statuses of a host, and the text of every error."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

from runbook import errors
from runbook.declare.templates import PROJECT
from runbook.results import Status

from .markdown import MADE, code, table

INTRODUCTION = (
    f"{MADE}\n\n# When something goes wrong\n\n"
    "Every error ends in a message that names the problem and what to do, and in one of "
    "these exit codes. (Only `inv cluster.status` has exit codes of its own: "
    "[status.md](status.md).) What each finding of a `check` means is on the page of its "
    "subsystem: [postgres.md](postgres.md), [rabbitmq.md](rabbitmq.md), [nfs.md](nfs.md), "
    "[haproxy.md](haproxy.md), [airflow.md](airflow.md).\n\n"
    "A traceback is a bug in this software. It is saved to a file, which the last line names. "
    "Rerunning the command is safe then, too."
)

MEANING = {
    "unreachable": (
        "no usable connection; the other hosts continued",
        "look at the host, then rerun",
    ),
    "failed": (
        "a step or a command on it failed; its later steps were not started",
        "read the command and its last lines, fix the cause, rerun",
    ),
    "refused": (
        "nothing was done there, because it could overwrite or lose something",
        "read the message: it says what was found, and what to do",
    ),
    "error": ("a check found a fault", "run the command in the line below it"),
    "unknown": (
        "could not be checked or planned, because something does not exist yet",
        "first run the task that creates it, or bring that host up",
    ),
    "differs": (
        "a check or a plan found a state that differs from hosts.yaml",
        "`fab SECTION --plan` shows how; `fab SECTION` changes it",
    ),
    "warn": ("a check found what may become a fault; exit code 0", "look at it when there is time"),
    "changed": ("it differed from the wanted state, and was changed", "nothing"),
    "ran": ("a command that always runs has run", "nothing"),
    "ok": ("everything is in the wanted state", "nothing"),
}
"""The statuses of a host, the most serious first, and what to do."""


def page() -> str:
    """The whole page."""
    kinds = [
        kind
        for kind in vars(errors).values()
        if inspect.isclass(kind) and issubclass(kind, errors.RunbookError)
    ]
    parts = [
        INTRODUCTION,
        f"## Exit codes\n\n{table(('code', 'meaning'), exit_codes())}",
        "## Statuses of a host\n\n"
        + table(
            ("word", "meaning", "what to do"),
            [(str(word), *MEANING[word]) for word in Status if word in MEANING],
        ),
        "## Kinds of errors\n\n"
        + table(
            ("kind", "code", "meaning", "what to do"),
            [kind_row(kind) for kind in kinds if kind is not errors.RunbookError],
        ),
        "## Every message\n\n`…` stands for the parts that vary. The number in brackets after a "
        "heading is the exit code.",
    ]
    said = sentences()
    for kind in kinds:
        if said.get(kind.__name__):
            lines = "\n".join(f"- {sentence}" for sentence in sorted(said[kind.__name__]))
            parts.append(f"### {kind.__name__} ({kind.exit_code})\n\n{lines}")
    return "\n\n".join(parts) + "\n"


def exit_codes() -> Iterator[tuple[str, str]]:
    """A row for each exit code, from the text under its name."""
    yield code("0"), "All is well."
    body = ast.parse(inspect.getsource(errors)).body
    for assignment, text in zip(body, body[1:]):
        if (
            isinstance(assignment, ast.Assign)
            and isinstance(assignment.value, ast.Constant)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
        ):
            yield code(str(assignment.value.value)), str(text.value.value)


def kind_row(kind: type[errors.RunbookError]) -> tuple[str, str, str, str]:
    """A row for a kind of error: meaning and advice are its class's docstring."""
    meaning, _, remedy = (inspect.getdoc(kind) or "").partition("\n\n")
    return code(kind.__name__), code(str(kind.exit_code)), meaning, remedy


def sentences() -> dict[str, set[str]]:
    """All messages that are raised anywhere in the product, by the kind of error."""
    said: dict[str, set[str]] = {}
    for file in sorted((*PROJECT.glob("runbook/**/*.py"), *PROJECT.glob("fabfile/**/*.py"))):
        for kind, sentence in _raised(file):
            said.setdefault(kind, set()).add(sentence)
    return said


def _raised(file: Path) -> Iterator[tuple[str, str]]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        call = node.exc if isinstance(node, ast.Raise) else None
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.args:
            sentence = " ".join(_said(call.args[0]).split())
            if sentence.strip("… "):
                yield call.func.id, sentence


def _said(node: ast.expr) -> str:
    """A text of the source with `…` in place of what is filled in."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_said(part) for part in node.values)
    if isinstance(node, ast.BinOp):
        return _said(node.left) + _said(node.right)
    return "…"
